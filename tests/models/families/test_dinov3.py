import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from samples import backbone_folder
from transformers import DINOv3ViTModel

from orbitune.models.backbones import find_backbone, load_weights

CLASSES = ("a", "b", "c")
LVD_1689M, SAT_493M = (0.485, 0.456, 0.406), (0.430, 0.411, 0.296)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return backbone_folder(tmp_path_factory.mktemp("dinov3") / "b", "dinov3_vit")


def state_normalisation_of_web_images(folder):
    """Write the normalisation that satellite weights may state by mistake."""
    stated = json.loads((folder / "preprocessor_config.json").read_text())
    stated |= {"image_mean": LVD_1689M, "image_std": (0.229, 0.224, 0.225)}
    (folder / "preprocessor_config.json").write_text(json.dumps(stated))


def test_the_head_reads_the_class_token_and_the_mean_of_the_patches(folder):
    model = load_weights(find_backbone(str(folder)), CLASSES, seed=0).eval()
    pixels = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        tokens = DINOv3ViTModel.from_pretrained(folder).eval()(pixels).last_hidden_state
        expected = model.classifier(torch.cat([tokens[:, 0], tokens[:, 5:].mean(1)], 1))
        torch.testing.assert_close(model(pixel_values=pixels).logits, expected)


def test_a_checkpoint_with_the_names_of_the_hub_loads_the_same_weights(folder, tmp_path):
    tensors = {name.removeprefix("model."): t for name, t in load_file(folder / "model.safetensors").items()}
    assert "layer.0.attention.q_proj.weight" in tensors
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    ours, theirs = (
        load_weights(find_backbone(str(each)), CLASSES, seed=0).state_dict() for each in (tmp_path, folder)
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_positions_are_exact_in_training_too(folder):
    model = load_weights(find_backbone(str(folder)), CLASSES, seed=0)
    pixels = torch.randn(2, 3, 32, 32)
    assert torch.equal(model.train()(pixels).logits, model.train()(pixels).logits)


@pytest.mark.parametrize("name", ["dinov3-vitl16-pretrain-sat493m", "dinov3-vitl16-pretrain-lvd1689m"])
def test_satellite_weights_are_normalised_by_their_own_tiles(folder, tmp_path, name):
    other = backbone_folder(tmp_path / name, "dinov3_vit")
    state_normalisation_of_web_images(other)
    preprocessing = find_backbone(str(other)).preprocessing
    assert (preprocessing.mean == SAT_493M) == ("sat493m" in name)
    if "sat493m" in name:
        assert preprocessing.stated_by == "the tiles of DINOv3's sat493m weights"


def test_the_names_of_the_folders_around_a_checkpoint_do_not_matter(tmp_path):
    other = backbone_folder(tmp_path / "sat493m" / "dinov3-vits16-pretrain-lvd1689m", "dinov3_vit")
    state_normalisation_of_web_images(other)
    assert find_backbone(str(other)).preprocessing.mean == LVD_1689M


def test_a_normalisation_that_satellite_weights_state_themselves_is_kept(tmp_path):
    other = backbone_folder(tmp_path / "my-sat493m", "dinov3_vit")
    assert find_backbone(str(other)).preprocessing.mean == (0.4, 0.5, 0.6)
