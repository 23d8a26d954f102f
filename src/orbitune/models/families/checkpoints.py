"""Checkpoints of the hub for each backbone family, as the command `backbones` and the docs list them."""

from collections.abc import Sequence
from typing import NamedTuple

from orbitune.models.families.table import FAMILIES
from orbitune.records import JsonTuple, Record

NO_LICENCE = "none stated"


class Example(NamedTuple):
    """A checkpoint of the hub.

    Attributes:
        name: hub id.
        model_type: of its family.
        parameters: of the backbone without a head; of an image encoder, without the text encoder.
        licence: as its card states it.
        image_size: side of its input in pixels.
        step: number of pixels that image sizes are multiples of.
        smallest: smallest image size in pixels; 0 for `step`.
    """

    name: str
    model_type: str
    parameters: int
    licence: str
    image_size: int
    step: int
    smallest: int = 0


EXAMPLES = (
    Example("WinKawaks/vit-tiny-patch16-224", "vit", 5_524_416, "apache-2.0", 224, 16),
    Example("google/vit-base-patch16-224", "vit", 85_798_656, "apache-2.0", 224, 16),
    Example("facebook/deit-small-distilled-patch16-224", "deit", 21_666_432, "apache-2.0", 224, 16),
    Example("facebook/dinov2-small", "dinov2", 22_056_576, "apache-2.0", 224, 14),
    Example("facebook/dinov2-base", "dinov2", 86_580_480, "apache-2.0", 224, 14),
    Example(
        "facebook/dinov2-with-registers-small", "dinov2_with_registers", 22_058_112, "apache-2.0", 224, 14
    ),
    Example("facebook/dinov3-vits16-pretrain-lvd1689m", "dinov3_vit", 21_596_544, "dinov3-license", 224, 16),
    Example("facebook/dinov3-vitb16-pretrain-lvd1689m", "dinov3_vit", 85_660_416, "dinov3-license", 224, 16),
    Example("facebook/dinov3-vitl16-pretrain-sat493m", "dinov3_vit", 303_129_600, "dinov3-license", 224, 16),
    Example("facebook/vit-msn-small", "vit_msn", 21_665_664, "apache-2.0", 224, 16),
    Example("facebook/ijepa_vith14_1k", "ijepa", 630_762_240, "cc-by-nc-4.0", 224, 14),
    Example("facebook/vit-mae-base", "vit_mae", 85_798_656, "apache-2.0", 224, 16),
    Example("google/siglip-base-patch16-224", "siglip", 85_797_120, "apache-2.0", 224, 16),
    Example("google/siglip2-base-patch16-224", "siglip", 85_797_120, "apache-2.0", 224, 16),
    Example("openai/clip-vit-large-patch14", "clip", 303_179_776, NO_LICENCE, 224, 14),
    Example("microsoft/beit-base-patch16-224", "beit", 85_761_984, "apache-2.0", 224, 16),
    Example("microsoft/swin-tiny-patch4-window7-224", "swin", 27_519_354, "apache-2.0", 224, 32, 224),
    Example("microsoft/swinv2-tiny-patch4-window8-256", "swinv2", 27_578_154, "apache-2.0", 256, 32, 256),
    Example("facebook/hiera-tiny-224-in1k-hf", "hiera", 27_141_216, "cc-by-nc-4.0", 224, 32),
    Example("microsoft/resnet-18", "resnet", 11_176_512, "apache-2.0", 224, 32, 64),
    Example("timm/convnext_tiny.fb_in22k", "timm_wrapper", 27_820_128, "apache-2.0", 224, 32),
    Example("timm/resnet50.a1_in1k", "timm_wrapper", 23_508_032, "apache-2.0", 224, 32, 64),
    Example("timm/eva02_tiny_patch14_224.mim_in22k", "timm_wrapper", 5_502_144, "mit", 224, 14),
)


_PATCHES_16, _PATCHES_14 = (64, 112, 224), (56, 112, 224)
# Image sizes in pixels at which tests/models/families/test_sizes.py trains each family, with the patches of
# its first checkpoint.
TESTED_SIZES: dict[str, tuple[int, ...]] = {
    "vit": _PATCHES_16,
    "deit": _PATCHES_16,
    "dinov2": _PATCHES_14,
    "dinov2_with_registers": _PATCHES_14,
    "dinov3_vit": _PATCHES_16,
    "vit_msn": _PATCHES_16,
    "ijepa": _PATCHES_14,
    "vit_mae": _PATCHES_16,
    "siglip": _PATCHES_16,
    "clip": _PATCHES_14,
    "beit": _PATCHES_16,
    "swin": (224, 256),
    "swinv2": (256,),
    "hiera": (64, 224),
    "resnet": (64, 128, 224),
    "timm_wrapper": (64, 128, 224),
}


class BackboneDescription(Record):
    """A checkpoint of a supported backbone family.

    Attributes:
        family: the `model_type` of its config.json.
        title: name of the family.
        checkpoint: hub id.
        parameters: of the backbone without a head.
        licence: as its card states it.
        image_size: side of its input in pixels.
        size_step: number of pixels that image sizes are multiples of.
        smallest_size: smallest image size in pixels.
        tested_sizes: image sizes in pixels at which the tests train the family.
        fast: whether the fast path computes it, and it is exported in fewer bits than fp32.
        why_not_fast: why not; None where it does.
    """

    family: str
    title: str
    checkpoint: str
    parameters: int
    licence: str
    image_size: int
    size_step: int
    smallest_size: int
    tested_sizes: JsonTuple[int]
    fast: bool
    why_not_fast: str | None


def describe_backbones() -> list[BackboneDescription]:
    """Describe example checkpoints of every backbone family; nothing is downloaded."""
    described = []
    for each in EXAMPLES:
        family = FAMILIES[each.model_type]
        described.append(
            BackboneDescription(
                family=family.model_type,
                title=family.title,
                checkpoint=each.name,
                parameters=each.parameters,
                licence=each.licence,
                image_size=each.image_size,
                size_step=each.step,
                smallest_size=each.smallest or each.step,
                tested_sizes=TESTED_SIZES[each.model_type],
                fast=family.why_plain is None,
                why_not_fast=family.why_plain,
            )
        )
    return described


def backbones_table(described: Sequence[BackboneDescription]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of a table with one row per checkpoint."""
    header = ["family", "checkpoint", "parameters", "licence", "image sizes", "tested", "fast path and int8"]
    rows = [
        [
            each.title,
            each.checkpoint,
            f"{each.parameters / 1e6:,.1f} M",
            each.licence,
            _sizes(each),
            ", ".join(map(str, each.tested_sizes)),
            "yes" if each.fast else "no",
        ]
        for each in described
    ]
    return header, rows


def _sizes(each: BackboneDescription) -> str:
    """Return the image sizes that a checkpoint reads, in words."""
    least = f" from {each.smallest_size}" if each.smallest_size > each.size_step else ""
    return f"multiples of {each.size_step}{least}"
