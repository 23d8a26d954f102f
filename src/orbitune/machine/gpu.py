"""Whether there may be a GPU, before torch is imported."""

import ctypes
import sys
from importlib.metadata import version


def may_have_gpu() -> bool:
    """Return whether torch may find a GPU of CUDA or ROCm; nothing is imported."""
    build = version("torch").partition("+")[2]
    if build == "cpu" or sys.platform == "darwin":
        return False
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")  # of the driver
    except OSError:
        return build.startswith("rocm")
    return True
