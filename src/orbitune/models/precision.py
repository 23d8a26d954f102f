"""Matrix products in half precision, on processors that have instructions for them and on others.

Without them torch multiplies half precision number by number, at a seventh of the speed of fp32 or less, and
oneDNN's own operators raise. There factors are widened to fp32 and the product is rounded to their dtype: it
differs by the rounding alone, as fp32 holds the product of two half-precision numbers exactly.
"""

import functools

import torch
from torch import Tensor
from torch.nn import functional as F

# What processors that multiply a dtype call that, and oneDNN's own answer.
_INSTRUCTIONS = {
    torch.bfloat16: (("avx512_bf16", "amx_bf16", "bf16"), "_is_mkldnn_bf16_supported"),
    torch.float16: (("avx512_fp16", "amx_fp16", "fp16_arith"), "_is_mkldnn_fp16_supported"),
}


@functools.cache
def has_instructions(dtype: torch.dtype) -> bool:
    """Return whether the processor multiplies numbers of `dtype` by itself, and oneDNN lets it.

    ONEDNN_MAX_CPU_ISA=AVX2, set before torch is imported, makes a newer processor compute as an older one.
    """
    if dtype not in _INSTRUCTIONS:
        return True
    names, question = _INSTRUCTIONS[dtype]
    has = torch.cpu.get_capabilities()
    if not (torch.backends.mkldnn.is_available() and any(has.get(name) for name in names)):
        return False
    return bool(getattr(torch.ops.mkldnn, question)())


def product_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype in which products of tensors like `x` are computed: its own, or float32."""
    return x.dtype if x.device.type != "cpu" or has_instructions(x.dtype) else torch.float32


def means(x: Tensor) -> str:
    """Return the name of the method that multiplies tensors like `x`; other methods round otherwise."""
    where = torch.backends.cpu.get_cpu_capability() if x.device.type == "cpu" else x.device.type
    return f"{product_dtype(x)} on {where} by torch {torch.__version__}".removeprefix("torch.")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x weight^T + bias, (M, out), in the dtype of x."""
    dtype = product_dtype(x)
    return F.linear(x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)).to(x.dtype)


def matmul(a: Tensor, b: Tensor, factor: float = 1.0) -> Tensor:
    """Return factor a b, of matrices or batches of them, in the dtype of a."""
    dtype = product_dtype(a)
    wide = a.to(dtype), b.to(dtype)
    if factor == 1:
        return (wide[0] @ wide[1]).to(a.dtype)
    return torch.baddbmm(wide[0].new_empty(()), *wide, beta=0, alpha=factor).to(a.dtype)


def sum_of(start: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return start + a b, of batches of matrices, in the dtype of a; `start` spreads over what it lacks."""
    dtype = product_dtype(a)
    return torch.baddbmm(start.to(dtype), a.to(dtype), b.to(dtype)).to(a.dtype)


def add_product(y: Tensor, a: Tensor, b: Tensor) -> None:
    """Add a b to y, in place, of batches of matrices."""
    if product_dtype(y) == y.dtype:
        y.baddbmm_(a, b)
    else:
        y.copy_(sum_of(y, a, b))
