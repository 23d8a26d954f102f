import pytest
import torch
from samples import FAMILIES, backbone_folder, config_only_folder

from orbitune.errors import ModelError
from orbitune.models.backbones import find_backbone
from orbitune.models.build import build, plan_parameters
from orbitune.models.methods import METHODS, count_parameters, find_method
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
