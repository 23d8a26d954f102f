"""The compiled kernels in each of their builds."""

import ctypes
import os

import pytest

from orbitune.fastpath import kernels, native


@pytest.fixture(scope="module", params=["native", "stand-in"])
def each_build(request):
    """The kernels by this processor's own instructions, where it has them, and by their stand-in.

    A compiler that refuses either is an error, not skipped. `test_sanitizers` names one of its own.
    """
    command = native.compiler()
    if command is None:
        pytest.skip("needs a C compiler")
    if request.param == "native" and not native.suits_processor():
        pytest.skip("needs a processor with AVX512-BF16")
    if request.param == "stand-in" and (other := os.environ.get("STAND_IN_KERNELS")):
        built = ctypes.CDLL(other)
    else:
        built = native.load(command, native.NATIVE if request.param == "native" else native.STAND_IN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "library", lambda: built)
        patch.setattr(kernels, "multiplies_tiles", lambda: False)
        yield
