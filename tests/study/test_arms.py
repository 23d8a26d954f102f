"""What a study compares: methods on a backbone, and backbones with a method."""

import pytest

from orbitune.errors import OrbituneError
from orbitune.study.arms import arm_name, backbone_labels, comparisons, split_arm


def test_an_arm_is_a_method_and_with_several_backbones_the_backbone_too():
    assert arm_name("lora") == "lora" and split_arm("lora") == ("lora", None)
    assert arm_name("lora", "small") == "lora@small" and split_arm("lora@small") == ("lora", "small")


@pytest.mark.parametrize(
    ("backbones", "labels"),
    [
        (["facebook/dinov2-small"], [None]),
        (["facebook/dinov2-small", "demo"], ["dinov2-small", "demo"]),
        (["/models/a/vit", "/models/b/vit"], ["a-vit", "b-vit"]),
        (["google/ViT", "timm/vit"], ["google-ViT", "timm-vit"]),
        (["hub/a b", "c"], ["a-b", "c"]),
    ],
)
def test_the_label_of_a_backbone_is_as_much_of_its_name_as_tells_it_from_the_others(backbones, labels):
    assert list(backbone_labels(backbones).values()) == labels


def test_backbones_that_no_label_tells_apart_are_one_line():
    with pytest.raises(OrbituneError, match="--backbones: a b, a-b cannot be told apart"):
        backbone_labels(["a b", "a-b"])


def test_methods_are_compared_with_the_reference():
    assert comparisons(["linear", "full", "lora"]) == [("linear", "full"), ("lora", "full")]
    assert comparisons(["linear", "lora"]) == [("lora", "linear")]
    assert comparisons(["lora"]) == []


def test_with_backbones_each_has_its_reference_and_with_a_method_each_is_compared_with_each():
    arms = ["full@a", "lora@a", "full@b", "lora@b", "lora@c"]
    assert comparisons(arms) == [
        ("lora@a", "full@a"),
        ("lora@b", "full@b"),
        ("full@b", "full@a"),
        ("lora@b", "lora@a"),
        ("lora@c", "lora@a"),
        ("lora@c", "lora@b"),
    ]


def test_the_network_with_random_weights_is_no_backbone_to_compare():
    with pytest.raises(OrbituneError, match="leave out scratch, and pass --scratch EPOCHS"):
        backbone_labels(["vit-tiny", "scratch"])
