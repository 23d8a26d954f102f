"""Operations per image are those of the formulas."""

import pytest
from samples import FAMILIES, PATCH, backbone_folder

from orbitune.bench.flops import forward_flops, training_flops
from orbitune.models.backbones import empty_model, find_backbone
from orbitune.recipe import Recipe

CLASSES = 2
WIDTH, MLP, LAYERS, CHANNELS = 32, 64, 2, 3


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return find_backbone(str(backbone_folder(tmp_path_factory.mktemp("b") / "b")))


def parts(size):
    """Operations of linear layers, attention, patches, and the first q, k and v."""
    tokens = (size // PATCH) ** 2 + 1
    linear = LAYERS * tokens * (8 * WIDTH**2 + 4 * WIDTH * MLP)
    attention = LAYERS * 4 * tokens**2 * WIDTH
    return linear, attention, 2 * (tokens - 1) * CHANNELS * PATCH**2 * WIDTH, 6 * tokens * WIDTH**2


HEAD = 2 * WIDTH * CLASSES


def test_the_forward_pass_is_that_of_the_formula(backbone):
    assert forward_flops(backbone, 32) == sum(parts(32)[:3]) + HEAD


def recipe(method, **lora):
    return Recipe(method=method, image_size=48, batch_size=4, lora=lora or {"rank": 1})


def test_training_repeats_the_products_that_need_gradients(backbone):
    linear, attention, patches, entry = parts(48)
    forward = linear + attention + patches + HEAD
    # Every product again for the gradients of its input and its weights; patches need no input gradient.
    assert training_flops(recipe("full"), backbone) == 3 * forward - patches
    assert training_flops(recipe("linear"), backbone) == forward + HEAD
    # Frozen weights need no gradient, and nothing below the first adapter has one.
    expected = forward + linear - entry + 2 * attention
    assert training_flops(recipe("lora"), backbone) == pytest.approx(expected, rel=0.05)


def test_what_lies_below_the_first_trained_layer_has_no_backward_pass(backbone):
    top = recipe("lora", rank=1, top_layers=1)
    assert training_flops(top, backbone) < 0.8 * training_flops(recipe("lora"), backbone)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_counted_without_loading_its_weights(family, tmp_path):
    backbone = find_backbone(str(backbone_folder(tmp_path / "b", family)))
    assert next(empty_model(backbone, ("a", "b")).parameters()).is_meta
    assert forward_flops(backbone, 48) > forward_flops(backbone, 32)
    assert 2.5 < training_flops(recipe("full"), backbone) / forward_flops(backbone, 48) < 3
