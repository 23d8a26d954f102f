"""Matrix products in half precision, with or without native instructions.

Without such instructions torch multiplies half precision element by element, at a seventh of the speed of
fp32 or less, and oneDNN's operators raise. Operands are then widened to fp32 and the product is rounded to
their dtype. This differs by that rounding alone: fp32 holds a product of two half-precision numbers exactly.
"""

import functools

import torch
from torch import Tensor
from torch.nn import functional as F

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "tf32": torch.float32, "fp32": torch.float32}

# Names of the CPU capabilities that multiply a dtype, and oneDNN's own test for it.
_INSTRUCTIONS = {
    torch.bfloat16: (("avx512_bf16", "amx_bf16", "bf16"), "_is_mkldnn_bf16_supported"),
    torch.float16: (("avx512_fp16", "amx_fp16", "fp16_arith"), "_is_mkldnn_fp16_supported"),
}


@functools.cache
def has_instructions(dtype: torch.dtype) -> bool:
    """Return whether the processor multiplies `dtype` natively and oneDNN uses it.

    ONEDNN_MAX_CPU_ISA=AVX2, set before torch is imported, makes a newer processor compute like an older one.
    """
    if dtype not in _INSTRUCTIONS:
        return True
    capabilities, is_supported = _INSTRUCTIONS[dtype]
    available = torch.cpu.get_capabilities()
    if not (torch.backends.mkldnn.is_available() and any(available.get(name) for name in capabilities)):
        return False
    return bool(getattr(torch.ops.mkldnn, is_supported)())


def has_tf32() -> bool:
    """Return whether there is a GPU that multiplies in TF32 (NVIDIA Ampere or later)."""
    return torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)


def set_products(device: torch.device, tf32: bool) -> None:
    """Let later fp32 products on a GPU round their operands to TF32, or not.

    The setting is that of the process, so each network sets it before it computes.
    """
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high" if tf32 else "highest")


def product_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype for products of tensors like `x`: its own or float32."""
    return x.dtype if x.device.type != "cpu" or has_instructions(x.dtype) else torch.float32


def product_method(x: Tensor) -> str:
    """Return what decides the rounding of products: dtype, hardware, torch version."""
    where = torch.backends.cpu.get_cpu_capability() if x.device.type == "cpu" else x.device.type
    return f"{product_dtype(x)} on {where} by torch {torch.__version__}".removeprefix("torch.")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x weight^T + bias, (M, out), in the dtype of x (M, in).

    Args:
        x: (M, in).
        weight: (out, in).
        bias: (out,), or None.

    Returns:
        (M, out) in the dtype of x.
    """
    dtype = product_dtype(x)
    return F.linear(x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)).to(x.dtype)


def matmul(a: Tensor, b: Tensor, *, factor: float = 1.0) -> Tensor:
    """Return factor * (a b), of matrices or batches of matrices, in the dtype of a.

    Args:
        a: (..., M, K).
        b: (..., K, N).
        factor: scale of the product.

    Returns:
        (..., M, N) in the dtype of a.
    """
    dtype = product_dtype(a)
    wide = a.to(dtype), b.to(dtype)
    if factor == 1:
        return (wide[0] @ wide[1]).to(a.dtype)
    return torch.baddbmm(wide[0].new_empty(()), *wide, beta=0, alpha=factor).to(a.dtype)


def baddbmm(start: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return start + a b of batches of matrices, in the dtype of a."""
    dtype = product_dtype(a)
    return torch.baddbmm(start.to(dtype), a.to(dtype), b.to(dtype)).to(a.dtype)


def baddbmm_(y: Tensor, a: Tensor, b: Tensor) -> None:
    """Add a b to y in place, of batches of matrices."""
    if product_dtype(y) == y.dtype:
        y.baddbmm_(a, b)
    else:
        y.copy_(baddbmm(y, a, b))
