"""Variants of the compiled kernels in plain C, which any processor runs, far slower."""

import torch

from orbitune.fastpath.native.variants import Variant


def portable(dtype, lanes, vectors):
    """Return a variant with vectors of this number of lanes, and blocks of this number of vectors."""
    sizes = [f"-DLANES={lanes}", f"-DVECTORS={vectors}", "-DBLOCK=6"]
    element = ["-DBF16"] if dtype == torch.bfloat16 else []
    flags = ("-O2", "-DPORTABLE", "-Wno-psabi", *element, *sizes)
    return Variant(f"portable-{str(dtype)[6:]}", dtype, "any", (), flags, lanes)


# As AVX512-BF16 and NEON compute.
PORTABLE = [portable(torch.bfloat16, 16, 4), portable(torch.float32, 4, 4)]
