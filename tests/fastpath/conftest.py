"""A backbone of each family, and the compiled kernels in each of their variants."""

import ctypes
import os

import pytest
import torch

from orbitune.fastpath.native import build, library, variants
from orbitune.fastpath.native.variants import VARIANTS
from orbitune.models.backbones import find_backbone
from tests.kernel_variants import PORTABLE
from tests.samples import backbone_folder

FAMILIES = {
    "ViT": {"model_type": "vit"},
    "DeiT": {"model_type": "deit"},
    "distilled DeiT": {"model_type": "deit", "distilled": True},
    "DINOv2": {"model_type": "dinov2"},
    "DINOv2 with registers": {"model_type": "dinov2_with_registers"},
}


@pytest.fixture(scope="module", params=FAMILIES)
def backbone(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("backbone")
    return find_backbone(str(backbone_folder(folder / "b", **FAMILIES[request.param])))


@pytest.fixture(scope="module", params=[*VARIANTS, *PORTABLE], ids=lambda variant: variant.name)
def variant(request):
    """The kernels in each variant that the processor has, and in plain C; returns the variant.

    A compiler that fails on one is an error, not a skip. `test_sanitizers` provides builds of its own.
    """
    command, variant = build.compiler(), request.param
    if command is None:
        pytest.skip("needs a C compiler")
    if variant in VARIANTS and not variants.can_run(variant):
        pytest.skip(f"needs a processor with {variant.name}")
    if variant in PORTABLE and (folder := os.environ.get("SANITIZED_KERNELS")):
        built = ctypes.CDLL(f"{folder}/{variant.file_name}")
    else:
        built = build.load(command, variant.flags)
    opened = library.OpenedLibrary(library.KernelLibrary(built, variant), None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "open_library", lambda dtype: opened)
        patch.setattr(variants, "has_amx", lambda: False)
        yield variant


@pytest.fixture
def dtype(variant):
    """The dtype that the kernels compute in."""
    return variant.dtype


@pytest.fixture
def rounding(dtype):
    """The largest relative error of rounding to bfloat16, or of a few roundings to float32."""
    return 2**-8 if dtype == torch.bfloat16 else 2**-20
