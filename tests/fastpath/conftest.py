"""A backbone of each family, and the compiled kernels in each of their builds."""

import ctypes
import os

import pytest

from orbitune.fastpath import native
from orbitune.models.backbones import find_backbone
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


@pytest.fixture(scope="module", params=["native", "emulated"])
def each_build(request):
    """The kernels by the processor's instructions where it has them, and in plain C.

    A compiler that fails on either is an error, not a skip. `test_sanitizers` provides a build of its own.
    """
    command = native.compiler()
    if command is None:
        pytest.skip("needs a C compiler")
    if request.param == "native" and not native.supports_kernels():
        pytest.skip("needs a processor with AVX512-BF16")
    if request.param == "emulated" and (other := os.environ.get("EMULATED_KERNELS")):
        built = ctypes.CDLL(other)
    else:
        built = native.load(command, native.NATIVE if request.param == "native" else native.EMULATED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "open_library", lambda: native.OpenedLibrary(built, None))
        patch.setattr(native, "has_amx", lambda: False)
        yield
