import re

import pytest
import torch
from peft import get_peft_model_state_dict
from samples import backbone_folder
from torch import nn

from orbitune.adapters.key_mapping import rename_config, rename_tensors
from orbitune.errors import ModelError
from orbitune.models.backbones import find_backbone
from orbitune.models.factory import build
from orbitune.recipe import Recipe

CLASSES = ("a", "b", "c")
PREFIX = "base_model.model."

# What transformers 4 called the parts, by model type; read from its checkpoints.
VIT_4 = {
    r"\.layers\.": ".encoder.layer.",
    r"attention\.q_proj": "attention.attention.query",
    r"attention\.k_proj": "attention.attention.key",
    r"attention\.v_proj": "attention.attention.value",
    r"attention\.o_proj": "attention.output.dense",
    r"mlp\.fc1": "intermediate.dense",
    r"mlp\.fc2": "output.dense",
}
DINOV2_4 = {old: new for old, new in VIT_4.items() if not old.startswith((r"mlp", r"\.layers"))}


def adapter(tmp_path, model_type="vit", **lora):
    """A backbone and the tensors of PEFT's adapter for it, changed as if trained."""
    backbone = find_backbone(str(backbone_folder(tmp_path / model_type, model_type)))
    recipe = Recipe.make({"method": lora.pop("method", "lora"), "lora": {"rank": 2, **lora}})
    model = build(recipe, backbone, classes=CLASSES)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    return backbone, get_peft_model_state_dict(model)


def renamed(tensors, table):
    for old, new in table.items():
        tensors = {re.sub(old, new, name): tensor for name, tensor in tensors.items()}
    return tensors


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("model_type", "table"),
    [("vit", VIT_4), ("deit", VIT_4), ("dinov2", DINOV2_4), ("dinov2_with_registers", DINOV2_4)],
)
@pytest.mark.parametrize("method", ["lora", "dora", "norm"])
def test_names_of_transformers_4_become_those_of_5(tmp_path, model_type, table, method):
    backbone, tensors = adapter(tmp_path, model_type, method=method, targets="all")
    old = renamed(tensors, table)
    assert method == "norm" or old.keys() != tensors.keys()
    assert same(rename_tensors(old, backbone.family), tensors)


def test_names_of_transformers_5_stay_as_they_are(tmp_path):
    backbone, tensors = adapter(tmp_path, "dinov2", method="topk")
    assert same(rename_tensors(tensors, backbone.family), tensors)


def test_the_names_that_other_writers_leave_in_are_taken_out(tmp_path):
    backbone, tensors = adapter(tmp_path)
    raw = {re.sub(r"(lora_[AB])", r"\1.default", name): tensor for name, tensor in tensors.items()}
    raw = {name.replace("classifier.", "classifier.modules_to_save.default."): t for name, t in raw.items()}
    assert same(rename_tensors(raw, backbone.family), tensors)


def test_a_tensor_under_two_names_of_other_writers_is_refused(tmp_path):
    backbone, tensors = adapter(tmp_path)
    head = tensors.pop(f"{PREFIX}classifier.bias")
    wrapped = [f"{PREFIX}classifier.{name}.bias" for name in ("modules_to_save", "modules_to_save.default")]
    with pytest.raises(ModelError, match=r"classifier\.bias twice"):
        rename_tensors({**tensors, wrapped[0]: head, wrapped[1]: head + 1}, backbone.family)


def test_the_fused_layer_of_timm_gives_the_same_outputs_when_it_is_split(tmp_path):
    backbone, _ = adapter(tmp_path)
    width, rank = 32, 2
    fused = nn.Linear(width, 3 * width)
    down, up = torch.randn(rank, width), torch.randn(3 * width, rank)
    timm = {
        f"{PREFIX}blocks.1.attn.qkv.lora_A.weight": down,
        f"{PREFIX}blocks.1.attn.qkv.lora_B.weight": up,
        f"{PREFIX}blocks.1.attn.proj.lora_A.weight": torch.randn(rank, width),
        f"{PREFIX}blocks.1.mlp.fc1.lora_A.weight": torch.randn(rank, width),
        f"{PREFIX}blocks.1.norm1.weight": torch.ones(width),
        f"{PREFIX}norm.weight": torch.ones(width),
        f"{PREFIX}head.weight": torch.randn(3, width),
    }
    split = rename_tensors(timm, backbone.family)
    assert {name.removeprefix(PREFIX) for name in split} == {
        *(f"vit.layers.1.attention.{part}_proj.lora_{factor}.weight" for part in "qkv" for factor in "AB"),
        "vit.layers.1.attention.o_proj.lora_A.weight",
        "vit.layers.1.mlp.fc1.lora_A.weight",
        "vit.layers.1.layernorm_before.weight",
        "vit.layernorm.weight",
        "classifier.weight",
    }
    x = torch.randn(5, width)
    expected = fused(x) + x @ (up @ down).T
    weights, biases = fused.weight.chunk(3), fused.bias.chunk(3)
    parts = []
    for part, weight, bias in zip("qkv", weights, biases, strict=True):
        name = f"{PREFIX}vit.layers.1.attention.{part}_proj.lora_"
        update = split[f"{name}B.weight"] @ split[f"{name}A.weight"]
        parts.append(x @ (weight + update).T + bias)
    assert torch.allclose(torch.cat(parts, 1), expected, atol=1e-5)


def test_the_fused_gates_of_dinov2_in_transformers_4_are_split(tmp_path):
    backbone, _ = adapter(tmp_path, "dinov2")
    name = f"{PREFIX}dinov2.encoder.layer.0.mlp.weights_in.lora_B.weight"
    split = rename_tensors({name: torch.arange(8.0).view(8, 1)}, backbone.family)
    layer = f"{PREFIX}dinov2.encoder.layer.0.mlp."
    assert split[f"{layer}gate_proj.lora_B.weight"].flatten().tolist() == [0, 1, 2, 3]
    assert split[f"{layer}up_proj.lora_B.weight"].flatten().tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit.layers.0.attention.rotary.weight", "attention.rotary.weight, which is not part of a ViT"),
        ("swin.embeddings.weight", "swin.embeddings, which is not part of a ViT"),
        ("blocks.0.attn.qkv.oft_R.weight", "cannot be split into attention.q_proj"),
    ],
)
def test_a_name_that_belongs_to_no_part_is_an_error(tmp_path, name, message):
    backbone, _ = adapter(tmp_path)
    with pytest.raises(ModelError, match=message):
        rename_tensors({PREFIX + name: torch.zeros(3)}, backbone.family)


def test_a_tensor_under_two_names_is_an_error(tmp_path):
    backbone, tensors = adapter(tmp_path)
    with pytest.raises(ModelError, match="twice"):
        rename_tensors({**tensors, **renamed(tensors, VIT_4)}, backbone.family)


def test_the_configuration_names_every_adapted_layer(tmp_path):
    _, tensors = adapter(tmp_path)
    config = rename_config({"r": 2, "target_modules": ["qkv"], "layers_pattern": ["blocks"]}, tensors)
    assert len(config["target_modules"]) == 2 * 3
    assert "vit.layers.0.attention.q_proj" in config["target_modules"]
    assert config["modules_to_save"] == ["classifier"]
    assert config["r"] == 2 and config["layers_pattern"] is None


def test_settings_of_single_layers_are_not_carried_over(tmp_path):
    with pytest.raises(ModelError, match="rank_pattern"):
        rename_config({"rank_pattern": {"blocks.0": 4}}, [])
