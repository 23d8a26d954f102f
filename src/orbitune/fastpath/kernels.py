"""Compiled kernels as functions of tensors, with gradients where they have one.

All tensors are on the CPU, of one dtype for which there are kernels, see `orbitune.fastpath.native.variants`.
`orbitune.fastpath.operations` calls them where `orbitune.fastpath.dispatch` has planned so.
"""

from typing import Any

import torch
from torch import Tensor

from orbitune.fastpath.native.library import call, padded

WeightAndBias = tuple[Tensor, Tensor | None]


def gelu(h: Tensor) -> Tensor:
    """Return the exact GELU, h Phi(h), of any shape."""
    return _Gelu.apply(h)


def mlp(x: Tensor, hidden: WeightAndBias, *, out: WeightAndBias) -> Tensor:
    """Return GELU(x W1^T + b1) W2^T + b2, (M, D), over frozen weights.

    Args:
        x: (M, D).
        hidden: W1 (hidden, D) and b1 (hidden,).
        out: W2 (D, hidden) and b2 (D,).
    """
    return _Mlp.apply(x, *hidden, *out)


def add_norm(x: Tensor, y: Tensor | None, *, scale: Tensor | None, norm: Any) -> tuple[Tensor, Tensor]:
    """Return x + scale * y and its LayerNorm with frozen weights, both (M, D).

    Args:
        x, y: (M, D); without `y` the sum is `x` itself.
        scale: layer scale (D,), or None for 1.
        norm: `nn.LayerNorm`.
    """
    weight, bias = norm.weight.to(x.dtype), norm.bias.to(x.dtype)
    out, total = _AddNorm.apply(x, y, scale, weight, bias, norm.eps)
    return (x if y is None else total), out


def attention(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Return softmax(q k^T / sqrt(D)) v and the attention weights; no gradient.

    Args:
        q: (B, Q, H, D), the heads of a token beside each other in memory.
        k, v: (B, N, H, D) likewise.

    Returns:
        Output (B, Q, H, D), and weights (B, H, Q, N padded) for `attention_backward`.
    """
    batch, tokens, heads, _ = k.shape
    out = q.new_empty(q.shape)
    weights = q.new_empty(batch, heads, q.shape[1], padded(tokens, q.dtype))
    call("attention", q, k, v, out, weights, *_attention_sizes(q, k))
    return out, weights


def attention_backward(
    grad_out: Tensor, inputs: tuple[Tensor, ...], *, weights: Tensor, grads: tuple[Tensor, ...]
) -> None:
    """Write the gradients of `attention` for q, k and v into `grads`.

    `grads` have the strides of `inputs`.
    """
    q, k, _ = inputs
    call("attention_backward", grad_out.contiguous(), *inputs, weights, *grads, *_attention_sizes(q, k))


def _attention_sizes(q: Tensor, k: Tensor) -> tuple[Any, ...]:
    batch, queries, heads, width = q.shape
    return width**-0.5, batch, heads, queries, k.shape[1], width, q.stride(1), k.stride(1)


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor) -> Tensor:
        """Return GELU(h), and store its derivative."""
        h = h.contiguous()
        y, derivative = torch.empty_like(h), torch.empty_like(h)
        call("gelu", h, y, derivative, h.numel())
        ctx.save_for_backward(derivative)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Return the gradient of h."""
        return gradients[0] * ctx.saved_tensors[0]


class _Mlp(torch.autograd.Function):
    """An MLP whose hidden activations are not stored, only GELU's derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w1: Tensor, b1: Tensor | None, w2: Tensor, b2: Tensor | None) -> Tensor:
        """Return the output (M, D), see `mlp`."""
        x, y = x.contiguous(), torch.empty_like(x)
        derivative = x.new_empty(len(x), len(w1)) if ctx.needs_input_grad[0] else None
        call("mlp", x, w1, b1, w2, b2, y, derivative, len(x), x.shape[1], len(w1))
        ctx.save_for_backward(derivative, w1, w2)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of x; the weights are frozen."""
        derivative, w1, w2 = ctx.saved_tensors
        grad_y = gradients[0].contiguous()
        grad_x = torch.empty_like(grad_y)
        call("mlp_backward", grad_y, derivative, w1, w2, grad_x, len(grad_y), grad_y.shape[1], len(w1))
        return grad_x, None, None, None, None


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
        """Return LayerNorm and sum, both (M, D), see `add_norm`."""
        x, y = x.contiguous(), None if y is None else y.contiguous()
        total, out = x if y is None else torch.empty_like(x), torch.empty_like(x)
        mean, rstd = (torch.empty(len(x)) for _ in range(2))
        sizes = eps, len(x), x.shape[1]
        written = None if y is None else total
        call("add_norm", x, y, scale, weight, bias, written, out, mean, rstd, *sizes)
        ctx.save_for_backward(total, scale, weight, mean, rstd)
        ctx.set_materialize_grads(False)
        ctx.adds = y is not None
        return out, written

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        """Return the gradients of x and y; the rest is frozen."""
        (grad_out, grad_total), (total, scale, weight, mean, rstd) = gradients, ctx.saved_tensors
        if grad_out is None:  # only the sum was used
            grad_out = torch.zeros_like(total)
        grad_out, grad_total = (None if g is None else g.contiguous() for g in (grad_out, grad_total))
        grad_x = torch.empty_like(total)
        grad_y = grad_x if scale is None else torch.empty_like(total)
        sizes = len(total), total.shape[1]
        arguments = (grad_out, grad_total, total, scale, weight, mean, rstd, grad_x, grad_y)
        call("add_norm_backward", *arguments, *sizes)
        return grad_x, grad_y if ctx.adds else None, None, None, None, None
