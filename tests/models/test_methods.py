import pytest
import torch
from safetensors.torch import load_file
from samples import FAMILIES, backbone_folder, config_only_folder

from orbitune.errors import ModelError
from orbitune.models import reload
from orbitune.models.backbones import find_backbone
from orbitune.models.build import build, plan_parameters
from orbitune.models.methods import METHODS, count_parameters, find_method
from orbitune.models.saving import save_model
from orbitune.recipe import Recipe, preset

CLASSES = tuple("abcdefghij")


@pytest.mark.parametrize(
    ("method", "part", "count"),
    [("full", "trainable", 85_806_346), ("lora", "adapter", 442_368), ("lora", "head", 7_690)],
)
def test_the_original_preset_has_the_published_parameter_counts(tmp_path, method, part, count):
    folder = str(config_only_folder(tmp_path))
    recipe = Recipe.make({**preset("original", method), "backbone": folder})
    assert plan_parameters(recipe, find_backbone(folder), CLASSES)[part] == count


def test_the_original_lora_trains_its_adapter_and_its_head(tmp_path):
    folder = str(config_only_folder(tmp_path))
    recipe = Recipe.make({**preset("original", "lora"), "backbone": folder})
    assert plan_parameters(recipe, find_backbone(folder), CLASSES)["trainable"] == 442_368 + 7_690


@pytest.mark.parametrize("model_type", FAMILIES)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_builds_on_every_family_as_planned(tmp_path, model_type, method):
    backbone = find_backbone(str(backbone_folder(tmp_path / "b", model_type)))
    recipe = Recipe(method=method)
    model = build(recipe, backbone, CLASSES)
    assert count_parameters(model, backbone.family) == plan_parameters(recipe, backbone, CLASSES)


@pytest.mark.parametrize("method", METHODS)
def test_every_trainable_tensor_receives_a_gradient(tmp_path, method):
    backbone = find_backbone(str(backbone_folder(tmp_path / "b", "dinov2")))
    model = build(Recipe(method=method), backbone, CLASSES)
    model(pixel_values=torch.randn(2, 3, 32, 32)).logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


@pytest.fixture(scope="module", params=FAMILIES)
def backbone(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("backbone")
    return find_backbone(str(backbone_folder(folder / "b", request.param)))


def trained_model(method, backbone):
    """A model whose trained tensors are no longer what they were at the start."""
    model = build(Recipe(method=method), backbone, CLASSES).eval()
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model


def logits(model, backbone):
    pixels = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return model(pixel_values=pixels, **backbone.family.forward).logits


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_reloaded_by_plain_peft_or_transformers_on_the_original_weights(
    tmp_path, backbone, method
):
    model = trained_model(method, backbone)
    facts = {
        "classes": list(CLASSES),
        "preprocessing": {"image_size": 32, **backbone.preprocessing.to_json()},
    }
    save_model(model, tmp_path / "saved", backbone, facts)
    again = reload.load(str(tmp_path / "saved"), str(backbone.folder))
    assert (logits(again, backbone) - logits(model, backbone)).abs().max() < 1e-5


@pytest.mark.parametrize("method", METHODS)
def test_every_file_holds_what_was_counted(tmp_path, backbone, method):
    model = trained_model(method, backbone)
    facts = {
        "classes": list(CLASSES),
        "preprocessing": {"image_size": 32, **backbone.preprocessing.to_json()},
    }
    save_model(model, tmp_path / "saved", backbone, facts)
    [file] = (tmp_path / "saved").glob("*.safetensors")
    assert sum(t.numel() for t in load_file(file).values()) == count_parameters(model, backbone.family)["stored"]


@pytest.mark.parametrize("method", [m.name for m in METHODS.values() if m.folder == "adapter"])
def test_every_adapter_merges_into_a_plain_model_of_the_same_outputs(backbone, method):
    model = trained_model(method, backbone)
    expected = logits(model, backbone)
    merged = model.merge_and_unload()
    assert not any("lora" in name or "base_layer" in name for name, _ in merged.named_parameters())
    assert (logits(merged, backbone) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("method", METHODS)
def test_every_method_changes_something_but_a_frozen_layer(backbone, method):
    """A trained tensor that does not reach the logits would be saved for nothing."""
    model = build(Recipe(method=method), backbone, CLASSES).eval()
    assert not torch.allclose(logits(model, backbone), logits(trained_model(method, backbone), backbone))


def test_linear_trains_the_head_alone(tmp_path):
    backbone = find_backbone(str(backbone_folder(tmp_path / "b")))
    counts = count_parameters(build(Recipe(method="linear"), backbone, CLASSES), backbone.family)
    assert counts["trainable"] == counts["head"] == 32 * 10 + 10
    assert counts["adapter"] == 0


def test_lora_settings_reach_peft(tmp_path):
    backbone = find_backbone(str(backbone_folder(tmp_path / "b")))
    lora = {"rank": 3, "alpha": 5, "dropout": 0.2, "targets": ["q", "fc1"], "bias": "lora_only"}
    config = build(Recipe(lora=lora), backbone, CLASSES).peft_config["default"]
    assert (config.r, config.lora_alpha, config.lora_dropout, config.bias) == (3, 5, 0.2, "lora_only")
    assert config.target_modules == {"attention.q_proj", "mlp.fc1"}
    assert config.modules_to_save == ["classifier"]


def test_an_unknown_method_lists_those_there_are():
    with pytest.raises(ModelError, match="full, linear, lora"):
        find_method("lorra")
