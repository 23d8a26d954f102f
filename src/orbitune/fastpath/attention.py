"""Attention kernels.

On a CPU that multiplies half precision, plain products are several times faster than torch's fused kernel at
the sequence lengths of tiles, because the fused kernel's backward pass is slow there.
`orbitune.fastpath.dispatch` chooses between them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from orbitune.fastpath import kernels
from orbitune.models.precision import matmul, product_dtype


class _PlainAttention(torch.autograd.Function):
    """softmax(q k^T / sqrt(d)) v by batched products, forward and backward.

    Written out, because autograd would copy every operand once more to bring the heads to the front, and the
    gradients of query, key and value once more to concatenate them.
    """

    @staticmethod
    def forward(ctx: Any, first: Tensor, rest: Tensor | None, sizes: Tensor | None) -> Tensor:
        """Return attention (B, N or Q, H, D), see `attend`."""
        first, rest = first.contiguous(), None if rest is None else rest.contiguous()
        q, k, v = split_qkv(first, rest)
        ctx.heads, ctx.packed = q.shape[2], rest is None
        q, k, v = (_to_batch(t) for t in (q, k, v))
        scores = matmul(q, k.transpose(1, 2)) * q.shape[-1] ** -0.5
        if sizes is not None:
            scores += sizes.log().repeat_interleave(ctx.heads, 0)[:, None]
        weights = scores.softmax(-1)
        ctx.save_for_backward(q, k, v, weights)
        return _from_batch(matmul(weights, v), ctx.heads).contiguous()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of `first` and `rest`."""
        q, k, v, weights = ctx.saved_tensors
        scale = q.shape[-1] ** -0.5
        grad_out = _to_batch(gradients[0])
        grad_weights = matmul(grad_out, v.transpose(1, 2))
        grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
        batched = [
            matmul(grad_scores, k, factor=scale),
            matmul(grad_scores.transpose(1, 2), q, factor=scale),
            matmul(weights.transpose(1, 2), grad_out),
        ]
        grads = [_from_batch(grad, ctx.heads) for grad in batched]
        if ctx.packed:
            return torch.stack(grads, 2), None, None
        return torch.stack(grads[:1], 2), torch.stack(grads[1:], 2), None


class _CompiledAttention(torch.autograd.Function):
    """softmax(q k^T / sqrt(d)) v by the compiled kernel, in one pass over the heads."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, rest: Tensor | None) -> Tensor:
        """Return attention (B, N or Q, H, D), see `attend`."""
        first, rest = first.contiguous(), None if rest is None else rest.contiguous()
        out, weights = kernels.attention(*split_qkv(first, rest))
        ctx.save_for_backward(first, rest, weights)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the gradients of `first` and `rest`."""
        first, rest, weights = ctx.saved_tensors
        grad_first, grad_rest = torch.empty_like(first), None if rest is None else torch.empty_like(rest)
        inputs, grads = split_qkv(first, rest), split_qkv(grad_first, grad_rest)
        kernels.attention_backward(gradients[0], inputs, weights=weights, grads=grads)
        return grad_first, grad_rest


def split_qkv(first: Tensor, rest: Tensor | None = None) -> tuple[Tensor, ...]:
    """Return queries, keys and values (B, N or Q, H, D) from `qkv` of `attend`."""
    return first.unbind(2) if rest is None else (*first.unbind(2), *rest.unbind(2))


def _to_batch(t: Tensor) -> Tensor:
    """Return (B, N, H, D) as (B * H, N, D)."""
    return t.transpose(1, 2).flatten(0, 1).contiguous()


def _from_batch(t: Tensor, heads: int) -> Tensor:
    """Return (B * H, N, D) as (B, N, H, D)."""
    return t.unflatten(0, (-1, heads)).transpose(1, 2)


def _sdpa(first: Tensor, rest: Tensor | None, sizes: Tensor | None) -> Tensor:
    q, k, v = (t.transpose(1, 2).to(product_dtype(t)) for t in split_qkv(first, rest))
    mask = None if sizes is None else sizes.log()[:, None, None].to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).to(first.dtype)


KERNELS: dict[str, Callable[[Tensor, Tensor | None, Tensor | None], Tensor]] = {
    "plain": _PlainAttention.apply,
    "sdpa": _sdpa,
}


def attend(
    kernel: str, qkv: Sequence[Tensor], *, compiled_queries: int = 0, sizes: Tensor | None = None
) -> Tensor:
    """Return softmax attention, scaled by 1 / sqrt(D), without a mask.

    Args:
        kernel: `plain` or `sdpa`.
        qkv: queries, keys and values as one tensor (B, N, 3, H, D); or queries (B, Q, 1, H, D), then keys and
            values (B, N, 2, H, D).
        compiled_queries: use the compiled kernel for `plain` attention of up to this number of queries.
        sizes: number of times that each key counts (B, N), which the compiled kernel cannot; None for once.

    Returns:
        (B, N or Q, H, D).
    """
    first, rest = qkv[0], qkv[1] if len(qkv) > 1 else None
    if kernel == "plain" and sizes is None and first.shape[1] <= compiled_queries:
        return _CompiledAttention.apply(first, rest)
    return KERNELS[kernel](first, rest, sizes)
