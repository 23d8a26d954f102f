"""The list of backbones states what the architectures have, and the docs show the same list."""

import json
import runpy
from itertools import chain

import pytest
import torch
from commands import orbitune
from pages import DOCS
from timm_models import import_timm
from transformers import AutoConfig

from orbitune.models.families.checkpoints import EXAMPLES, describe_backbones
from orbitune.models.families.classifiers import empty_classifier
from orbitune.models.families.family import body_of, head_names, vision_config
from orbitune.models.families.table import FAMILIES

# What the config.json of each checkpoint states besides the defaults of its architecture.
_SMALL = {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536}
_LARGE = {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096, "num_hidden_layers": 24}
_BASE = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
_REGISTERS = {"num_register_tokens": 4}
_DINOV2 = {"image_size": 518, "patch_size": 14}
STATED = {
    "WinKawaks/vit-tiny-patch16-224": {
        "hidden_size": 192,
        "num_attention_heads": 3,
        "intermediate_size": 768,
    },
    "google/vit-base-patch16-224": {},
    "facebook/deit-small-distilled-patch16-224": _SMALL,
    "facebook/dinov2-small": {**_DINOV2, "hidden_size": 384, "num_attention_heads": 6},
    "facebook/dinov2-base": _DINOV2,
    "facebook/dinov2-with-registers-small": {**_DINOV2, "hidden_size": 384, "num_attention_heads": 6},
    "facebook/dinov3-vits16-pretrain-lvd1689m": _REGISTERS,
    "facebook/dinov3-vitb16-pretrain-lvd1689m": {**_BASE, **_REGISTERS},
    "facebook/dinov3-vitl16-pretrain-sat493m": {**_LARGE, **_REGISTERS},
    "facebook/vit-msn-small": _SMALL,
    "facebook/ijepa_vith14_1k": {
        "hidden_size": 1280,
        "num_attention_heads": 16,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "patch_size": 14,
    },
    "facebook/vit-mae-base": {},
    "google/siglip-base-patch16-224": {},
    "google/siglip2-base-patch16-224": {},
    "openai/clip-vit-large-patch14": {"vision_config": {**_LARGE, "patch_size": 14}},
    "microsoft/beit-base-patch16-224": {"use_relative_position_bias": True},
    "microsoft/swin-tiny-patch4-window7-224": {},
    "microsoft/swinv2-tiny-patch4-window8-256": {"image_size": 256, "window_size": 8},
    "facebook/hiera-tiny-224-in1k-hf": {"depths": [1, 2, 7, 2]},
    "microsoft/resnet-18": {
        "hidden_sizes": [64, 128, 256, 512],
        "depths": [2, 2, 2, 2],
        "layer_type": "basic",
    },
    "timm/convnext_tiny.fb_in22k": {"architecture": "convnext_tiny"},
    "timm/resnet50.a1_in1k": {"architecture": "resnet50"},
    "timm/eva02_tiny_patch14_224.mim_in22k": {"architecture": "eva02_tiny_patch14_224"},
}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name.replace("/", "_"))
def test_a_listed_checkpoint_has_the_parameters_and_sizes_of_its_architecture(example):
    family = FAMILIES[example.model_type]
    if family.name_parts:
        import_timm()
    config = AutoConfig.for_model(example.model_type, **STATED[example.name], num_labels=10, architectures=[])
    encoder = vision_config(config)
    if example.model_type == "siglip":
        encoder.vision_use_head = False
    if family.name_parts:
        family = family.name_parts(family, config)
    with torch.device("meta"):
        model = empty_classifier(config, family)
    heads = {*chain(*(model.get_submodule(name).parameters() for name in head_names(model, family)))}
    body = {*body_of(model, family).parameters()} - heads
    assert sum(parameter.numel() for parameter in body) == example.parameters
    assert (family.step(encoder), family.smallest(encoder)) == (
        example.step,
        example.smallest or example.step,
    )


def test_every_family_has_a_listed_checkpoint():
    assert list(dict.fromkeys(example.model_type for example in EXAMPLES)) == list(FAMILIES)


def test_the_command_lists_every_checkpoint():
    done = orbitune("backbones")
    for each in describe_backbones():
        assert each.checkpoint in done.stdout and f"{each.parameters / 1e6:,.1f} M" in done.stdout
    assert "Hiera is computed by transformers: it attends within mask units" in done.stdout
    assert json.loads(orbitune("backbones", "--json").stdout)["backbones"] == [
        each.to_json() for each in describe_backbones()
    ]


def test_the_docs_have_the_list_that_the_command_prints():
    page = (DOCS / "guides" / "backbone.md").read_text()
    assert runpy.run_path(str(DOCS / "backbone_table.py"))["page_with_table"](page) == page


def test_the_readme_and_the_first_page_have_the_families_that_the_docs_script_writes():
    script = runpy.run_path(str(DOCS / "backbone_table.py"))
    assert [path.name for path in script["FAMILIES"]] == ["README.md", "index.md"]
    for path, link in script["FAMILIES"].items():
        text = path.read_text()
        assert script["page_with_families"](text, link) == text
        assert all(family.title in text for family in FAMILIES.values())
