"""Steps of a block on a CPU in bfloat16, by compiled kernels (`orbitune.fastpath.native`).

Where there is no compiler, or another device or precision, the same functions are torch's own.
"""

import ctypes
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from orbitune.fastpath.native import call, compiled, multiplies_tiles
from orbitune.models.precision import product_dtype

LANES = 16  # numbers in a vector
_LONGEST = 512  # tokens; the scores of a head then fill a core's second cache


def padded(count: int) -> int:
    """Up to whole vectors."""
    return -(-count // LANES) * LANES


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
        call(name, x, y, *self.arguments(), x.numel())

    def arguments(self) -> tuple[Any, Any]:
        """The draw as compiled kernels take it."""
        return ctypes.c_uint32(self._seed), ctypes.c_uint32(self._below)


class Update(NamedTuple):
    """What is added to a product (M, out): low (M, R) times lift (R, out), less what a draw removes of it."""

    low: Tensor
    lift: Tensor
    dropout: Dropout | None = None


def product(x: Tensor, right: Tensor, bias: Tensor | None = None, update: Update | None = None) -> Tensor:
    """x right + bias + dropout(low lift), (M, out), without a gradient.

    Args:
        x: (M, in).
        right: (in, out), contiguous; or the transpose of a contiguous weight (out, in).
        update: without a bias, if it has dropout.
    """
    if not multiplies(x, *right.shape):
        return _product_by_torch(x, right, bias, update)
    x, y = x.contiguous(), x.new_empty(len(x), right.shape[1])
    low, lift, dropout = update or (None, None, None)
    draw = dropout.arguments() if dropout else (ctypes.c_uint32(0),) * 2
    sizes = len(x), *right.shape, 0 if lift is None else len(lift)
    call("product", x, right, bias, low, lift, y, *draw, int(not right.is_contiguous()), *sizes)
    return y


def _product_by_torch(x: Tensor, right: Tensor, bias: Tensor | None, update: Update | None) -> Tensor:
    dtype = product_dtype(x)
    if x.device.type == "cpu" and dtype == torch.bfloat16 and bias is not None:
        # torch's own way copies the bias to every row first.
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, right.t(), bias, "none", [], "")
    else:
        y = F.linear(x.to(dtype), right.t().to(dtype), None if bias is None else bias.to(dtype))
    if update is None:
        return y.to(x.dtype)
    low, lift = update.low.to(dtype), update.lift.to(dtype)
    if update.dropout is None:
        return y.addmm_(low, lift).to(x.dtype)
    y = y.to(x.dtype)
    update.dropout.add(y, (low @ lift).to(x.dtype))
    return y


def outer(a: Tensor, b: Tensor, across: int) -> Tensor:
    """a^T b, float32 (across, B), of the first `across` columns of a (M, A), and b (M, B)."""
    if not multiplies(a, a.shape[1], b.shape[1]):
        dtype = product_dtype(a)
        return (a[:, :across].t().to(dtype) @ b.to(dtype)).float()
    y = torch.empty(across, b.shape[1])
    call("outer", a.contiguous(), b.contiguous(), y, len(a), across, *a.shape[1:], *b.shape[1:])
    return y


def multiplies(x: Tensor, *widths: int) -> bool:
    """Whether compiled kernels make products of this kind.

    oneDNN's are as fast by themselves, but each step beside them is another pass over memory. Where the
    processor multiplies whole matrices, oneDNN's are far faster.
    """
    return compiled(x) and not multiplies_tiles() and all(width % LANES == 0 for width in widths)


def mlp(x: Tensor, w1: Tensor, b1: Tensor | None, w2: Tensor, b2: Tensor | None) -> Tensor:
    """GELU(x W1^T + b1) W2^T + b2, (M, D), of frozen weights and where `multiplies` says so."""
    return _Mlp.apply(x, w1, b1, w2, b2)


def attends(q: Tensor) -> bool:
    """Whether `attention` takes queries of this kind (B, N, H, D)."""
    return compiled(q) and q.shape[3] % LANES == 0 and q.shape[1] <= _LONGEST


def attention(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """softmax(q k^T / sqrt(D)) v, without a gradient.

    Args:
        q: (B, Q, H, D), in whose tokens the heads lie beside each other; k and v: (B, N, H, D) likewise.

    Returns:
        The same shape as q, and the weights that `attention_backward` wants.
    """
    batch, tokens, heads, _ = k.shape
    out = q.new_empty(q.shape)
    weights = q.new_empty(batch, heads, q.shape[1], padded(tokens))
    call("attention", q, k, v, out, weights, *_sizes(q, k))
    return out, weights


def attention_backward(
    for_out: Tensor, inputs: tuple[Tensor, ...], weights: Tensor, for_inputs: tuple[Tensor, ...]
) -> None:
    """The gradients of `attention`, written into tensors that lie as q, k and v do."""
    q, k, _ = inputs
    call("attention_backward", for_out.contiguous(), *inputs, weights, *for_inputs, *_sizes(q, k))


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
        call("gelu", h, y, slope, h.numel())
        ctx.save_for_backward(slope)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * ctx.saved_tensors[0]


class _Mlp(torch.autograd.Function):
    """What is between the two products stays in the caches, but for GELU's derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w1: Tensor, b1: Tensor | None, w2: Tensor, b2: Tensor | None) -> Tensor:
        x, y = x.contiguous(), torch.empty_like(x)
        slope = x.new_empty(len(x), len(w1)) if ctx.needs_input_grad[0] else None
        call("mlp", x, w1, b1, w2, b2, y, slope, len(x), x.shape[1], len(w1))
        ctx.save_for_backward(slope, w1, w2)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        slope, w1, w2 = ctx.saved_tensors
        for_y = gradients[0].contiguous()
        for_x = torch.empty_like(for_y)
        call("mlp_backward", for_y, slope, w1, w2, for_x, len(for_y), for_y.shape[1], len(w1))
        return for_x, None, None, None, None


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
        call("add_norm", x, y, scale, weight, bias, written, out, mean, rstd, *sizes)
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
        call("add_norm_backward", *arguments, *sizes)
        return for_x, for_y if ctx.adds else None, None, None, None, None
