"""The work of an image, by hand and as torch counts it."""

import pytest
import torch
from samples import FAMILIES, PATCH, backbone_folder
from torch.utils.flop_counter import FlopCounterMode

from orbitune.bench.flops import forward_flop, training_flop
from orbitune.models.backbones import empty_model, find_backbone, labelled_config
from orbitune.models.methods import METHODS
from orbitune.recipe import Recipe

CLASSES = ("a", "b", "c")


@pytest.fixture(scope="module", params=FAMILIES)
def backbone(request, tmp_path_factory):
    return find_backbone(str(backbone_folder(tmp_path_factory.mktemp("b") / "b", request.param)))


def test_the_forward_pass_is_that_of_the_formula(tmp_path):
    backbone = find_backbone(str(backbone_folder(tmp_path / "b")))
    tokens, width, mlp, layers = (32 // PATCH) ** 2 + 1, 32, 64, 2
    forward = forward_flop(backbone, 32)
    assert forward.linear == layers * tokens * (8 * width**2 + 4 * width * mlp)
    assert forward.attention == layers * 4 * tokens**2 * width
    assert forward.entry == 6 * tokens * width**2
    assert forward.patches == 2 * (tokens - 1) * 3 * PATCH**2 * width


@pytest.mark.parametrize("method", ["full", "linear", "lora"])
def test_the_work_is_what_torch_counts_for_every_family(backbone, method):
    from transformers import AutoModelForImageClassification

    recipe = Recipe(method=method, lora={"rank": 1})
    model = AutoModelForImageClassification.from_config(
        labelled_config(backbone, CLASSES), attn_implementation="eager"
    )
    model = METHODS[method].apply(model, backbone.family, recipe)
    with FlopCounterMode(display=False) as counter:
        model(pixel_values=torch.rand(1, 3, 48, 48), **backbone.family.forward).logits.sum().backward()
    counted = training_flop(method, forward_flop(backbone, 48))
    # Torch counts the head and the low-rank updates as well.
    assert counted == pytest.approx(counter.get_total_flops(), rel=0.05)


def test_nothing_is_loaded_to_count(backbone):
    assert next(empty_model(backbone, CLASSES).parameters()).is_meta
    assert forward_flop(backbone, 48).total > forward_flop(backbone, 32).total
