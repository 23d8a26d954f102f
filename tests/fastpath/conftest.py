"""The compiled kernels in each of their builds."""

import ctypes
import os

import pytest

from orbitune.fastpath import native


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
