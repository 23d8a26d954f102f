"""Steps of a block on a CPU in bfloat16, by a library that the machine's C compiler makes at first use.

Where there is no compiler, or another device or precision, the same functions are torch's own.
"""

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from orbitune.files import cache_dir, replacing

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_LANES = 16  # numbers in a vector
_LONGEST = 512  # tokens; the scores of a head then fill a core's second cache
_SOURCES = sorted(Path(__file__).with_name("csrc").iterdir())
_FLAGS = ("-O3", "-march=native", "-fopenmp", "-fPIC", "-shared")


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels, built and kept in the cache the first time; None where they cannot be had.

    The compiler refuses them for a processor that does not multiply bfloat16.
    """
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None or not sys.platform.startswith("linux"):
        return None
    path = cache_dir() / "kernels" / f"{_fingerprint(compiler)}.so"
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                files = [path for path in _SOURCES if path.suffix == ".c"]
                command: list[str | Path] = [compiler, *_FLAGS, "-o", temporary, *files, "-lm"]
                subprocess.run(command, check=True, capture_output=True)
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.CalledProcessError):
        return None


def _fingerprint(compiler: str) -> str:
    """What a library depends on: a cache may be shared by machines with other processors."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    processor = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    parts = (*(path.read_text() for path in _SOURCES), compiler, *_FLAGS, processor)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@functools.cache
def keep_freed_memory() -> None:
    """Let the C library keep what is freed, where it is glibc's.

    It would return the activations of every step to the system, which zeroes them for the next.
    """
    libc = ctypes.CDLL(None)
    if sys.platform.startswith("linux") and hasattr(libc, "mallopt"):
        libc.mallopt(_TRIM_THRESHOLD, 1 << 30)
        libc.mallopt(_MMAP_THRESHOLD, 1 << 25)  # the most it takes; what is larger is returned as before


def compiled(x: Tensor) -> bool:
    """Whether the compiled kernels work on a tensor of this kind."""
    return x.device.type == "cpu" and x.dtype == torch.bfloat16 and library() is not None


def gelu(h: Tensor) -> Tensor:
    """h Phi(h), the exact GELU, of any shape."""
    return _Gelu.apply(h) if compiled(h) else F.gelu(h)


class Dropout:
    """A draw of elements that are set to zero, of a tensor and later of its gradient.

    The caller divides by the share that is kept. Compiled, it is a hash of the place and a seed, and takes no
    memory.

    Args:
        share: of the elements, above 0 and below 1.
    """

    def __init__(self, shape: torch.Size, share: float, device: torch.device, dtype: torch.dtype) -> None:
        self._mask: Tensor | None = None
        if compiled(torch.empty(0, dtype=dtype, device=device)):
            self._seed = int(torch.randint(2**32, ()))  # from torch's generator: it follows the run's seed
            self._below = round(share * 2**16)
        else:
            self._mask = torch.rand(shape, device=device) >= share

    def apply(self, x: Tensor) -> Tensor:
        """x with the drawn elements zero."""
        if self._mask is not None:
            return x * self._mask
        x = x.contiguous()
        y = torch.empty_like(x)
        self._call("dropout", x, y)
        return y

    def add(self, y: Tensor, x: Tensor) -> None:
        """Add to y, in place, x with the drawn elements zero."""
        if self._mask is not None:
            y += x * self._mask
        else:
            self._call("dropout_add", x, y)

    def _call(self, name: str, x: Tensor, y: Tensor) -> None:
        _call(name, x, y, ctypes.c_uint32(self._seed), ctypes.c_uint32(self._below), x.numel())


def attends(q: Tensor) -> bool:
    """Whether `attention` takes queries of this kind (B, N, H, D)."""
    return compiled(q) and q.shape[3] % _LANES == 0 and q.shape[1] <= _LONGEST


def attention(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """softmax(q k^T / sqrt(D)) v, without a gradient.

    Args:
        q: (B, Q, H, D), in whose tokens the heads lie beside each other; k and v: (B, N, H, D) likewise.

    Returns:
        The same shape as q, and the weights that `attention_backward` wants.
    """
    batch, tokens, heads, _ = k.shape
    out = q.new_empty(q.shape)
    weights = q.new_empty(batch, heads, q.shape[1], -(-tokens // _LANES) * _LANES)
    _call("attention", q, k, v, out, weights, *_sizes(q, k))
    return out, weights


def attention_backward(
    for_out: Tensor, inputs: tuple[Tensor, ...], weights: Tensor, for_inputs: tuple[Tensor, ...]
) -> None:
    """The gradients of `attention`, written into tensors that lie as q, k and v do."""
    q, k, _ = inputs
    _call("attention_backward", for_out.contiguous(), *inputs, weights, *for_inputs, *_sizes(q, k))


def _sizes(q: Tensor, k: Tensor) -> tuple[Any, ...]:
    batch, queries, heads, width = q.shape
    factor = ctypes.c_float(width**-0.5)
    return factor, batch, heads, queries, k.shape[1], width, q.stride(1), k.stride(1)


def add_norm(x: Tensor, y: Tensor | None, scale: Tensor | None, norm: Any) -> tuple[Tensor, Tensor]:
    """The sum x + scale * y, and its layer normalisation, (M, D) both; the sum is x where there is no y."""
    weight, bias = norm.weight.to(x.dtype), norm.bias.to(x.dtype)
    trained = any(p is not None and p.requires_grad for p in (norm.weight, norm.bias, scale))
    if compiled(x) and not trained:
        out, total = _AddNorm.apply(x, y, scale, weight, bias, norm.eps)
        return (x if y is None else total), out
    total = add(x, y, scale)
    return total, F.layer_norm(total, norm.normalized_shape, weight, bias, norm.eps)


def add(x: Tensor, y: Tensor | None, scale: Tensor | None) -> Tensor:
    """x + scale * y, of one dtype; x without y."""
    if y is None:
        return x
    return x + y if scale is None else torch.addcmul(x, y, scale.to(x.dtype))


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor) -> Tensor:
        h = h.contiguous()
        y, slope = torch.empty_like(h), torch.empty_like(h)
        _call("gelu", h, y, slope, h.numel())
        ctx.save_for_backward(slope)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * ctx.saved_tensors[0]


class _AddNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor | None,
        scale: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        eps: float,
    ) -> tuple[Tensor, Tensor | None]:
        x, y = x.contiguous(), None if y is None else y.contiguous()
        total, out = x if y is None else torch.empty_like(x), torch.empty_like(x)
        mean, rstd = (torch.empty(len(x)) for _ in range(2))
        sizes = ctypes.c_float(eps), len(x), x.shape[1]
        written = None if y is None else total
        _call("add_norm", x, y, scale, weight, bias, written, out, mean, rstd, *sizes)
        ctx.save_for_backward(total, scale, weight, mean, rstd)
        ctx.set_materialize_grads(False)
        ctx.adds = y is not None
        return out, written

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        (for_out, for_total), (total, scale, weight, mean, rstd) = gradients, ctx.saved_tensors
        if for_out is None:  # the sum alone was used
            for_out = torch.zeros_like(total)
        for_out, for_total = (None if g is None else g.contiguous() for g in (for_out, for_total))
        for_x = torch.empty_like(total)
        for_y = for_x if scale is None else torch.empty_like(total)
        sizes = len(total), total.shape[1]
        arguments = (for_out, for_total, total, scale, weight, mean, rstd, for_x, for_y)
        _call("add_norm_backward", *arguments, *sizes)
        return for_x, for_y if ctx.adds else None, None, None, None, None


def _call(name: str, *arguments: Any) -> None:
    """Call a kernel with tensors as pointers (None as NULL) and integers as int64."""
    whole = library()
    assert whole is not None
    getattr(whole, name)(*(_argument(a) for a in arguments))


def _argument(value: Any) -> Any:
    if isinstance(value, Tensor):
        return ctypes.c_void_p(value.data_ptr())
    return ctypes.c_int64(value) if isinstance(value, int) else value
