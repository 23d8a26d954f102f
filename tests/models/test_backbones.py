import json
import re

import pytest
import torch
from samples import FAMILIES, backbone_folder

from orbitune.errors import ModelError, OrbituneError
from orbitune.models.backbones import empty_model, find_backbone, load_weights
from orbitune.models.factory import resolve
from orbitune.models.families.family import resolve_targets
from orbitune.recipe import Recipe

CLASSES = ("a", "b", "c")


@pytest.mark.parametrize("model_type", FAMILIES)
def test_each_family_loads_under_a_new_head_and_takes_another_image_size(tmp_path, model_type):
    backbone = find_backbone(str(backbone_folder(tmp_path / "b", model_type)))
    model = load_weights(backbone, CLASSES, seed=0)
    logits = model(pixel_values=torch.zeros(2, 3, 48, 48), **backbone.family.forward).logits
    assert logits.shape == (2, 3)
    assert model.config.id2label == {0: "a", 1: "b", 2: "c"}


def test_a_distilled_deit_keeps_both_of_its_heads(tmp_path):
    backbone = find_backbone(str(backbone_folder(tmp_path / "b", "deit", distilled=True)))
    model = load_weights(backbone, CLASSES, seed=0)
    assert model.cls_classifier.out_features == model.distillation_classifier.out_features == 3


def test_the_head_is_drawn_from_the_seed(tmp_path):
    backbone = find_backbone(str(backbone_folder(tmp_path / "b")))
    first, again, other = (load_weights(backbone, CLASSES, seed=seed).classifier.weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_normalisation_and_size_are_the_checkpoints_own(tmp_path):
    backbone = find_backbone(str(backbone_folder(tmp_path / "b")))
    assert backbone.preprocessing.mean == (0.4, 0.5, 0.6)
    assert backbone.image_size == 32
    assert "preprocessor_config.json" in backbone.preprocessing.stated_by


def test_a_cropping_preprocessor_states_the_size_after_the_crop(tmp_path):
    folder = backbone_folder(tmp_path / "b", "dinov2")
    stated = {"do_center_crop": True, "crop_size": {"height": 24, "width": 24}, "size": {"shortest_edge": 32}}
    (folder / "preprocessor_config.json").write_text(json.dumps({**stated, "resample": 3}))
    backbone = find_backbone(str(folder))
    assert (backbone.image_size, backbone.preprocessing.resample) == (24, "bicubic")


def test_without_a_preprocessor_file_the_family_normalises_with_a_note(tmp_path):
    folder = backbone_folder(tmp_path / "b", "dinov2")
    (folder / "preprocessor_config.json").unlink()
    stated = find_backbone(str(folder)).preprocessing
    assert stated.mean == (0.485, 0.456, 0.406)
    assert "DINOv2 family" in stated.stated_by


@pytest.mark.parametrize("model_type", FAMILIES)
@pytest.mark.parametrize(
    "spelling", [("q", "k", "v"), ("query", "key", "value"), ("q_proj", "k_proj", "v_proj")]
)
def test_targets_are_named_by_role_or_as_transformers_4_and_5_spell_them(tmp_path, model_type, spelling):
    backbone = find_backbone(str(backbone_folder(tmp_path / "b", model_type)))
    names = resolve_targets(empty_model(backbone, CLASSES), backbone.family, targets=spelling)
    assert names == ["attention.q_proj", "attention.k_proj", "attention.v_proj"]


def test_a_target_that_matches_nothing_lists_what_there_is(tmp_path):
    backbone = find_backbone(str(backbone_folder(tmp_path / "b")))
    with pytest.raises(ModelError, match=r"'qkv'.*q \(attention\.q_proj\).*fc2 \(mlp\.fc2\)"):
        resolve_targets(empty_model(backbone, CLASSES), backbone.family, targets=("qkv",))


def test_an_image_size_that_does_not_suit_the_patch_names_those_beside_it(tmp_path):
    backbone = find_backbone(str(backbone_folder(tmp_path / "b")))
    with pytest.raises(ModelError, match="use 24 or 32"):
        resolve(Recipe(image_size=30), backbone)


def test_open_settings_are_resolved_by_checkpoint_method_and_processor(tmp_path):
    resolved = resolve(Recipe(method="lora"), find_backbone(str(backbone_folder(tmp_path / "b"))))
    assert resolved.image_size == 32
    assert resolved.learning_rate == 2e-3
    assert resolved.precision in ("bf16", "fp32")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "holds no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json of .* cannot be read"),
        (
            lambda folder: (folder / "config.json").write_text('{"model_type": "vgg"}'),
            "Supported are: vit",
        ),
        (lambda folder: (folder / "preprocessor_config.json").write_text("{"), "not valid JSON"),
    ],
)
def test_a_damaged_folder_is_one_clear_error(tmp_path, damage, message):
    folder = backbone_folder(tmp_path / "b")
    damage(folder)
    with pytest.raises(ModelError, match=message):
        find_backbone(str(folder))


def truncate(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])


def drop_a_layer(folder):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    kept = {name: t for name, t in tensors.items() if ".1." not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot be loaded"),
        (truncate, "cannot be loaded"),
        (drop_a_layer, "do not fit its config.json"),
    ],
)
def test_weights_that_would_leave_the_backbone_random_are_refused(tmp_path, damage, message):
    folder = backbone_folder(tmp_path / "b")
    damage(folder)
    with pytest.raises(ModelError, match=message):
        load_weights(find_backbone(str(folder)), CLASSES, seed=0)


def reshape(folder):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if ".1." in name and name.endswith("dense.weight"))
    tensors[name] = tensors[name][:, :-1].contiguous()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("model_type", ["vit", "deit", "dinov2", "dinov2_with_registers", "ijepa"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot be loaded"),
        (truncate, r"model\.safetensors cannot be loaded: .*Restore it"),
        (drop_a_layer, r"fit its config\.json: \d+ tensors, such as \S+\.1\.\S+, are missing"),
        (reshape, r"fit its config\.json: the tensor \S+ is missing or of another shape"),
    ],
)
def test_weights_are_checked_by_their_headers(tmp_path, model_type, damage, message):
    """So that nothing is imported, and no tile decoded, for a checkpoint that was not downloaded whole."""
    folder = backbone_folder(tmp_path / "b", model_type)
    backbone = find_backbone(str(folder))
    backbone.check_weights()
    damage(folder)
    with pytest.raises(ModelError, match=message) as caught:
        backbone.check_weights()
    assert str(caught.value).count("cannot be loaded") <= 1


@pytest.mark.parametrize("model_type", ["clip", "swin", "vit_mae", "dinov3_vit"])
def test_weights_of_families_that_transformers_computes_have_whole_files(tmp_path, model_type):
    folder = backbone_folder(tmp_path / "b", model_type)
    backbone = find_backbone(str(folder))
    backbone.check_weights()
    truncate(folder)
    with pytest.raises(ModelError, match="cannot be loaded"):
        backbone.check_weights()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_numbers_that_are_not_finite_are_found_without_loading_the_model(tmp_path, dtype):
    from safetensors.torch import load_file, save_file

    folder = backbone_folder(tmp_path / "b")
    tensors = {name: t.to(dtype) for name, t in load_file(folder / "model.safetensors").items()}
    tensors["classifier.weight"] = torch.full((2, 32), torch.nan, dtype=dtype)  # a new head replaces it
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    backbone = find_backbone(str(folder))
    backbone.check_weights()
    tensors["vit.layernorm.bias"][3] = torch.inf
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"not finite \(NaN or infinite\), such as in vit\.layernorm\.bias"):
        backbone.check_weights()


@pytest.mark.parametrize(
    ("kind", "unread", "tensor"),
    [
        ("swin", "decoder.0.bias", "swin.layernorm.weight"),
        ("resnet", "classifier.1.bias", "resnet.embedder.embedder.normalization.running_var"),
        ("clip", "text_model.final_layer_norm.bias", "vision_model.pre_layrnorm.bias"),
        ("dinov3_vit", "embeddings.mask_token", "norm.bias"),  # saved without the class with the head
    ],
)
def test_they_are_found_in_the_body_alone_where_transformers_computes_it(tmp_path, kind, unread, tensor):
    from safetensors.torch import load_file, save_file

    folder = backbone_folder(tmp_path / "b", kind)
    tensors = load_file(folder / "model.safetensors")
    tensors[unread] = torch.full_like(tensors.get(unread, torch.zeros(2)), torch.nan)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    backbone = find_backbone(str(folder))
    backbone.check_weights()
    tensors[tensor][0] = torch.nan
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=rf"not finite \(NaN or infinite\), such as in {re.escape(tensor)}"):
        backbone.check_weights()


def test_tensors_under_names_that_are_not_known_are_left_to_transformers(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = backbone_folder(tmp_path / "b")
    renamed = {
        name.replace("vit.", "base."): t for name, t in load_file(folder / "model.safetensors").items()
    }
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    find_backbone(str(folder)).check_weights()


def test_a_missing_folder_is_reported(tmp_path):
    with pytest.raises(ModelError, match="There is no backbone folder"):
        find_backbone(str(tmp_path / "nothing"))


def test_a_name_that_is_neither_path_nor_hub_id_is_one_line():
    with pytest.raises(OrbituneError, match="There is no backbone folder what is this: check it"):
        find_backbone("what is this")


def test_a_mistyped_hub_id_is_answered_with_the_nearest_known_one(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"did you mean facebook/dinov2-base\?"):
        find_backbone("facebok/dinov2-base")
