"""The library of kernels for a dtype, and calls of its functions."""

import ctypes
import functools
import sys
import warnings
from ctypes import POINTER, c_float, c_int64, c_uint32, c_void_p
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from orbitune.errors import OrbituneError
from orbitune.fastpath.native import build
from orbitune.fastpath.native.build import KernelsError
from orbitune.fastpath.native.variants import VARIANTS, Variant, find_variant

SHIPPED = Path(__file__).parent  # where a wheel has its libraries


class KernelMemoryError(OrbituneError, MemoryError):
    """A kernel cannot have the memory for its buffers."""


class LoraStruct(ctypes.Structure):
    """`Lora` of csrc/layer.c."""

    _fields_ = [
        *((name, c_void_p) for name in ("down", "up", "grad_down", "grad_up")),
        *((name, c_int64) for name in ("rank", "first", "outputs")),
        ("scaling", c_float),
    ]


class LayerStruct(ctypes.Structure):
    """`Layer` of csrc/layer.c."""

    _fields_ = [
        *((name, c_int64) for name in ("images", "tokens", "width", "heads", "hidden")),
        *((f"half{half}_{n}", c_void_p) for half, parts in ((1, 7), (2, 7)) for n in range(parts)),
        *((name, c_float) for name in ("eps1", "eps2")),
        ("lora", POINTER(LoraStruct)),
        *((name, c_int64) for name in ("updates", "rank")),
        *((name, c_uint32) for name in ("seed", "threshold")),
        *((name, c_void_p) for name in ("cosines", "sines")),
        ("prefix", c_int64),
    ]


class SavedStruct(ctypes.Structure):
    """`Saved` of csrc/layer.c."""

    _fields_ = [
        (name, c_void_p) for name in ("qkv", "weights", "reduced", "residual", "gelu_grad", "moments")
    ]


_TENSOR, _DRAW = c_void_p, (c_uint32, c_uint32)  # dropout: seed and threshold
_ATTENTION_SIZES = (c_float, *(c_int64,) * 7)
# Arguments of each kernel, in the order of the C sources. Each returns 0, or 1 where memory ran out.
SIGNATURES: dict[str, tuple[Any, ...]] = {
    "gelu": (*(_TENSOR,) * 3, c_int64),
    "dropout": (*(_TENSOR,) * 2, *_DRAW, c_int64),
    "dropout_add": (*(_TENSOR,) * 2, *_DRAW, c_int64),
    "add_norm": (*(_TENSOR,) * 9, c_float, *(c_int64,) * 2),
    "add_norm_backward": (*(_TENSOR,) * 9, *(c_int64,) * 2),
    "product": (*(_TENSOR,) * 6, *_DRAW, *(c_int64,) * 5),
    "outer": (*(_TENSOR,) * 3, *(c_int64,) * 4),
    "mlp": (*(_TENSOR,) * 7, *(c_int64,) * 3),
    "mlp_backward": (*(_TENSOR,) * 5, *(c_int64,) * 3),
    "attention": (*(_TENSOR,) * 5, *_ATTENTION_SIZES),
    "attention_backward": (*(_TENSOR,) * 8, *_ATTENTION_SIZES),
    "layer": (POINTER(LayerStruct), _TENSOR, POINTER(SavedStruct), _TENSOR),
    "layer_backward": (POINTER(LayerStruct), _TENSOR, POINTER(SavedStruct), *(_TENSOR,) * 2),
}


class KernelLibrary:
    """The kernels of a loaded library, with the types of their arguments.

    Args:
        library: library with the functions of `SIGNATURES`.
        variant: what it was built for.

    Attributes:
        functions: the kernels by name.
    """

    def __init__(self, library: ctypes.CDLL, variant: Variant) -> None:
        self.variant = variant
        self.functions = {name: getattr(library, name) for name in SIGNATURES}
        for name, function in self.functions.items():
            function.argtypes, function.restype = SIGNATURES[name], ctypes.c_int

    def call(self, name: str, *arguments: Any) -> None:
        """Call a kernel.

        Args:
            name: a key of `SIGNATURES`.
            arguments: contiguous tensors of the variant's dtype or float32, or None for NULL; numbers;
                structures.

        Raises:
            KernelMemoryError: the kernel cannot have the memory for its buffers.
        """
        if self.functions[name](*(a.data_ptr() if isinstance(a, Tensor) else a for a in arguments)):
            raise KernelMemoryError(
                f"There is not enough memory for the buffers of the compiled kernel {name!r}. "
                "Close other programs, or set a smaller image size or micro-batch."
            )


class OpenedLibrary(NamedTuple):
    """The library, or the reason why there is none."""

    library: KernelLibrary | None
    why_not: str | None


@functools.cache
def open_library(dtype: torch.dtype) -> OpenedLibrary:
    """Return the compiled kernels for a dtype, or why there are none; decided once in a process.

    A wheel has them. Elsewhere they are compiled at first use, which needs Linux and a C compiler. Where the
    build fails, the first process warns with the compiler's reason. The cache remembers the failure, so later
    processes do not build again until the sources, the compiler, its version or its flags change.

    Raises:
        OrbituneError: another user owns the cache or may write to it.
    """
    variant, reason = _choose(dtype)
    if variant is None:
        return OpenedLibrary(None, reason)
    try:
        return OpenedLibrary(KernelLibrary(_load(variant), variant), None)
    except KernelsError as error:
        if not error.known:
            warnings.warn(f"{error} Training works without them, more slowly.", RuntimeWarning, stacklevel=2)
        return OpenedLibrary(None, str(error))


def call(name: str, *arguments: Any) -> None:
    """Call a kernel in the dtype of the first tensor among its arguments; see `KernelLibrary.call`."""
    dtype = next(each.dtype for each in arguments if isinstance(each, Tensor))
    library = open_library(dtype).library
    assert library is not None
    library.call(name, *arguments)


def padded(count: int, dtype: torch.dtype) -> int:
    """Return a count rounded up to whole vector registers of the kernels for a dtype."""
    library = open_library(dtype).library
    assert library is not None
    return -(-count // library.variant.lanes) * library.variant.lanes


def is_build_pending(dtype: torch.dtype) -> bool:
    """Return whether kernels for a dtype are built when they are first needed; this builds nothing.

    Raises:
        OrbituneError: another user owns the cache or may write to it.
    """
    variant, _ = _choose(dtype)
    return variant is not None and not _shipped(variant).is_file() and build.is_build_pending(variant.flags)


def _choose(dtype: torch.dtype) -> tuple[Variant | None, str | None]:
    """Return the variant for a dtype that can be had on this machine, or why there is none."""
    if not sys.platform.startswith("linux"):
        return None, f"they are built on Linux only, not on {sys.platform}"
    names = [each.name for each in VARIANTS if each.dtype == dtype]
    if not names:
        return None, f"they compute in bfloat16 and float32, not in {str(dtype).removeprefix('torch.')}"
    variant = find_variant(dtype)
    if variant is None:
        return None, f"the processor has no {' or '.join(names)} instructions, or torch does not use them"
    if not _shipped(variant).is_file() and build.compiler() is None:
        return None, "there is no C compiler; install gcc, or name a compiler in CC"
    return variant, None


def _shipped(variant: Variant) -> Path:
    return SHIPPED / variant.file_name


def _load(variant: Variant) -> ctypes.CDLL:
    """Load the library of a wheel, or else the one in the cache, built if needed.

    Raises:
        KernelsError: it cannot be built or loaded.
        OrbituneError: another user owns the cache or may write to it.
    """
    if (path := _shipped(variant)).is_file():
        try:
            return ctypes.CDLL(str(path))
        except OSError as error:
            raise KernelsError(f"The compiled kernels {path} cannot be loaded: {error}.") from None
    command = build.compiler()
    assert command is not None
    return build.load(command, variant.flags)
