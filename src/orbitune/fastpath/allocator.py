"""Settings of the C library's memory allocator."""

import ctypes
import functools
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of mallopt(3)


@functools.cache
def keep_freed_memory() -> None:
    """Have glibc keep freed memory for reuse; do nothing elsewhere.

    By default it returns the activations of every step to the system, which zeroes them for the next one.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_TRIM_THRESHOLD, 1 << 30)
        libc.mallopt(_MMAP_THRESHOLD, 1 << 25)  # the maximum; larger blocks are returned as before
