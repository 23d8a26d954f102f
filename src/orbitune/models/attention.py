"""Attention kernels, and the measurement that chooses between them.

On a CPU, in half precision and at the lengths of tiles, three plain operations are several times faster than
torch's fused kernel, whose backward pass is slow there; on a GPU and at long lengths it is the other way.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_ROUNDS = 5


def _plain(q: "Tensor", k: "Tensor", v: "Tensor") -> "Tensor":
    weights = ((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)).softmax(-1)
    return weights @ v


def _sdpa(q: "Tensor", k: "Tensor", v: "Tensor") -> "Tensor":
    from torch.nn import functional as F

    return F.scaled_dot_product_attention(q, k, v)


KERNELS: "dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]]" = {"plain": _plain, "sdpa": _sdpa}


def attend(kernel: str, q: "Tensor", k: "Tensor", v: "Tensor") -> "Tensor":
    """Softmax attention without a mask: (B, heads, N, D), scaled by 1 / sqrt(D)."""
    return KERNELS[kernel](q, k, v)


def fastest_kernel(shape: tuple[int, int, int, int], dtype: "torch.dtype", device: "torch.device") -> str:
    """The kernel whose forward and backward pass took the least time at this shape (B, heads, N, D)."""
    return min(KERNELS, key=lambda kernel: _seconds(kernel, shape, dtype, device))


def _seconds(
    kernel: str, shape: tuple[int, int, int, int], dtype: "torch.dtype", device: "torch.device"
) -> float:
    import torch

    state = torch.random.get_rng_state()
    q, k, v = (torch.randn(shape).to(device, dtype).requires_grad_() for _ in range(3))
    torch.random.set_rng_state(state)
    taken = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        attend(kernel, q, k, v).sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return min(taken)
