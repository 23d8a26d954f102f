"""Every family trains at the sizes that `orbitune backbones` calls tested."""

import pytest
import torch
from timm_models import timm_folder
from transformers import AutoConfig

from orbitune.models.backbones import find_backbone
from orbitune.models.factory import build, resolve
from orbitune.models.families.checkpoints import EXAMPLES, TESTED_SIZES
from orbitune.models.families.classifiers import empty_classifier
from orbitune.models.families.table import FAMILIES
from orbitune.recipe import Recipe

_NARROW = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
_STAGES = {"embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 8]}
# What makes a family's default architecture narrow; patches, windows and stages are those of real ones.
_SIZES = {
    "dinov2": {**_NARROW, "image_size": 518, "patch_size": 14},
    "dinov2_with_registers": {**_NARROW, "image_size": 518, "patch_size": 14},
    "ijepa": {**_NARROW, "patch_size": 14},
    "siglip": {"vision_config": _NARROW},
    "clip": {"vision_config": {**_NARROW, "patch_size": 14}},
    "beit": {**_NARROW, "use_relative_position_bias": True},
    "swin": _STAGES,
    "swinv2": {**_STAGES, "image_size": 256, "window_size": 8},
    "hiera": _STAGES,
    "resnet": {"embedding_size": 16, "hidden_sizes": [16] * 4, "depths": [1] * 4, "layer_type": "basic"},
}


def _narrow_checkpoint(folder, model_type):
    """Write a narrow checkpoint of a family."""
    if model_type == "timm_wrapper":
        return timm_folder(folder, "convnext_tiny", size=224, depths=[1, 1, 1, 1], dims=[16, 16, 16, 32])
    sizes = _SIZES.get(model_type, _NARROW)
    config = AutoConfig.for_model(model_type, **sizes, num_labels=7, architectures=[])
    if model_type == "siglip":
        config.vision_config.vision_use_head = False
    empty_classifier(config, FAMILIES[model_type]).save_pretrained(folder)
    return folder


def test_every_family_has_tested_sizes():
    assert TESTED_SIZES.keys() == FAMILIES.keys()


@pytest.mark.parametrize("model_type", TESTED_SIZES)
def test_a_family_trains_at_its_tested_sizes(tmp_path, model_type):
    family = FAMILIES[model_type]
    backbone = find_backbone(str(_narrow_checkpoint(tmp_path / "b", model_type)))
    example = next(each for each in EXAMPLES if each.model_type == model_type)
    assert (backbone.step, backbone.smallest) == (example.step, example.smallest or example.step)
    for size in TESTED_SIZES[model_type]:
        recipe = resolve(Recipe(image_size=size), backbone)
        model = build(recipe, backbone, classes=("a", "b", "c")).train()
        outputs = model(pixel_values=torch.randn(1, 3, size, size), **family.forward)
        torch.nn.functional.cross_entropy(outputs.logits, torch.tensor([1])).backward()
        assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
