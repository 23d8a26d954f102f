"""The compiled kernels in each of their builds."""

import ctypes
import os

import pytest

from orbitune.models import compiled, kernels


@pytest.fixture(scope="module", params=["native", "stand-in"])
def each_build(request):
    """The kernels by this processor's own instructions, where it has them, and by their stand-in.

    A compiler that refuses either is an error, not skipped. `test_sanitizers` names one of its own.
    """
    command = compiled.compiler()
    if command is None:
        pytest.skip("needs a C compiler")
    if request.param == "native" and not compiled.suits_processor():
        pytest.skip("needs a processor with AVX512-BF16")
    if request.param == "stand-in" and (other := os.environ.get("STAND_IN_KERNELS")):
        built = ctypes.CDLL(other)
    else:
        built = compiled.load(command, compiled.NATIVE if request.param == "native" else compiled.STAND_IN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "library", lambda: built)
        patch.setattr(kernels, "multiplies_tiles", lambda: False)
        yield
