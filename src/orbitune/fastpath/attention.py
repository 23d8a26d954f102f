"""Attention kernels, and the rule that chooses between them.

On a CPU that multiplies half precision, plain products are several times faster than torch's fused kernel at
the lengths of tiles, as its backward pass is slow there. In fp32, on a GPU and at long lengths it is faster.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from orbitune.fastpath import kernels
from orbitune.models.precision import has_instructions, matmul, product_dtype

_LONGEST_PLAIN = 1024  # tokens


class _Plain(torch.autograd.Function):
    """softmax(q k^T / sqrt(d)) v by batched products, forward and backward; compiled, in one pass over heads.

    Written out, as autograd would copy every operand once more to bring the heads to the front, and the
    gradients of query, key and value to bring them together again.
    """

    @staticmethod
    def forward(ctx: Any, first: Tensor, rest: Tensor | None) -> Tensor:
        first, rest = first.contiguous(), None if rest is None else rest.contiguous()
        q, k, v = parts_of(first, rest)
        ctx.heads, ctx.compiled = q.shape[2], kernels.attends(q)
        if ctx.compiled:
            out, weights = kernels.attention(q, k, v)
            ctx.save_for_backward(first, rest, weights)
            return out
        q, k, v = (_batched(t) for t in (q, k, v))
        weights = (matmul(q, k.transpose(1, 2)) * q.shape[-1] ** -0.5).softmax(-1)
        ctx.save_for_backward(q, k, v, weights)
        ctx.packed = rest is None
        return _unbatched(matmul(weights, v), ctx.heads).contiguous()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None]:
        if ctx.compiled:
            first, rest, weights = ctx.saved_tensors
            for_first, for_rest = torch.empty_like(first), None if rest is None else torch.empty_like(rest)
            inputs, outputs = parts_of(first, rest), parts_of(for_first, for_rest)
            kernels.attention_backward(gradients[0], inputs, weights, outputs)
            return for_first, for_rest
        q, k, v, weights = ctx.saved_tensors
        scale = q.shape[-1] ** -0.5
        out = _batched(gradients[0])
        scores = torch._softmax_backward_data(matmul(out, v.transpose(1, 2)), weights, -1, weights.dtype)
        parts = [
            matmul(scores, k, scale),
            matmul(scores.transpose(1, 2), q, scale),
            matmul(weights.transpose(1, 2), out),
        ]
        parts = [_unbatched(part, ctx.heads) for part in parts]
        if ctx.packed:
            return torch.stack(parts, 2), None
        return torch.stack(parts[:1], 2), torch.stack(parts[1:], 2)


def parts_of(first: Tensor, rest: Tensor | None) -> tuple[Tensor, ...]:
    """Queries, keys and values, each (B, N or Q, H, D)."""
    return first.unbind(2) if rest is None else (*first.unbind(2), *rest.unbind(2))


def _batched(t: Tensor) -> Tensor:
    """(B, N, H, D) to (B * H, N, D)."""
    return t.transpose(1, 2).flatten(0, 1).contiguous()


def _unbatched(t: Tensor, heads: int) -> Tensor:
    """(B * H, N, D) to (B, N, H, D)."""
    return t.unflatten(0, (-1, heads)).transpose(1, 2)


def _sdpa(first: Tensor, rest: Tensor | None) -> Tensor:
    q, k, v = (t.transpose(1, 2).to(product_dtype(t)) for t in parts_of(first, rest))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).to(first.dtype)


KERNELS: dict[str, Callable[[Tensor, Tensor | None], Tensor]] = {"plain": _Plain.apply, "sdpa": _sdpa}


def attend(kernel: str, first: Tensor, rest: Tensor | None = None) -> Tensor:
    """Softmax attention, scaled by 1 / sqrt(D) and without a mask.

    Args:
        first: queries, keys and values (B, N, 3, H, D); or the queries alone (B, Q, 1, H, D).
        rest: keys and values (B, N, 2, H, D), where `first` are queries alone.

    Returns:
        (B, N or Q, H, D).
    """
    return KERNELS[kernel](first, rest)


def fastest_kernel(shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device) -> str:
    """Return the faster kernel for queries of this shape (B, N, H, D).

    It is a rule and no measurement, so that the same run has the same bytes each day. Behind it, on a core of
    a Zen 4, forward and backward, 3 to 12 heads of 64: in bf16 `sdpa` takes 1.1 to 9 times as long as `plain`
    up to 1024 tokens; in fp32, and where half precision is widened to it, 0.5 to 1.1 times as long.
    """
    halves = device.type == "cpu" and dtype != torch.float32 and has_instructions(dtype)
    return "plain" if halves and shape[1] <= _LONGEST_PLAIN else "sdpa"
