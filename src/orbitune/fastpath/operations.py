"""The steps of a transformer layer, by torch or by the compiled kernels."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from orbitune.fastpath import kernels
from orbitune.fastpath.dispatch import LANES, KernelPlan
from orbitune.fastpath.native.library import call
from orbitune.models.precision import product_dtype

# An output (M, D) still to be added, or None; and its layer scale (D,), or None for 1.
Residual = tuple[Tensor | None, Tensor | None]


class Dropout:
    """One dropout mask, applied to a tensor and later to its gradient.

    The caller divides by the fraction that is kept.

    Args:
        shape: shape of the tensor.
        fraction: fraction to drop, above 0 and below 1.
        device: device of the tensor.
    """

    def __init__(self, shape: torch.Size, fraction: float, *, device: torch.device) -> None:
        self._mask = torch.rand(shape, device=device) >= fraction

    def apply(self, x: Tensor) -> Tensor:
        """Return x with the dropped elements zero."""
        return x * self._mask

    def add(self, y: Tensor, x: Tensor) -> None:
        """Add x with the dropped elements zero to y, in place."""
        y += x * self._mask


class CompiledDropout(Dropout):
    """A dropout mask computed from a hash of position and seed, without memory."""

    def __init__(self, fraction: float) -> None:
        self._seed = int(torch.randint(2**32, ()))  # torch's generator, so it follows the run's seed
        self._below = round(fraction * 2**16)

    def apply(self, x: Tensor) -> Tensor:
        """Return x with the dropped elements zero."""
        x = x.contiguous()
        y = torch.empty_like(x)
        call("dropout", x, y, *self.arguments, x.numel())
        return y

    def add(self, y: Tensor, x: Tensor) -> None:
        """Add x with the dropped elements zero to y, in place."""
        call("dropout_add", x, y, *self.arguments, x.numel())

    @property
    def arguments(self) -> tuple[int, int]:
        """Return the mask as arguments of the compiled kernels: seed and threshold."""
        return self._seed, self._below


class LowRankUpdate(NamedTuple):
    """A low-rank addition: `dropout(reduced up)`, reduced (M, R), up (R, out)."""

    reduced: Tensor
    up: Tensor
    dropout: Dropout | None = None


class Operations:
    """The steps of a layer by torch's own operators."""

    def gelu(self, h: Tensor) -> Tensor:
        """Return the exact GELU."""
        return F.gelu(h)

    def dropout(self, x: Tensor, fraction: float) -> Dropout:
        """Draw the elements of x to drop."""
        return Dropout(x.shape, fraction, device=x.device)

    def padded_rank(self, rank: int) -> int:
        """Return the rank to which low-rank updates are padded with zeros."""
        return rank

    def add_norm(
        self, x: Tensor, residual: Residual, *, norm: Any, compiled: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return x with the residual added and its LayerNorm, both (M, D).

        Args:
            x: (M, D).
            residual: what is added to x.
            norm: `nn.LayerNorm`.
            compiled: use the compiled kernel, which has no gradient for the norm's own parameters.
        """
        if compiled:
            return kernels.add_norm(x, residual[0], scale=residual[1], norm=norm)
        weight, bias = norm.weight.to(x.dtype), norm.bias.to(x.dtype)
        total = add(x, residual)
        return total, F.layer_norm(total, norm.normalized_shape, weight, bias, norm.eps)

    def product(
        self, x: Tensor, right: Tensor, *, bias: Tensor | None = None, update: LowRankUpdate | None = None
    ) -> Tensor:
        """Return x right + bias + update, (M, out), without a gradient.

        Args:
            x: (M, in).
            right: (in, out), contiguous; or the transpose of a contiguous weight (out, in).
            bias: (out,); not together with an update that has dropout.
        """
        dtype = product_dtype(x)
        if x.device.type == "cpu" and dtype == torch.bfloat16 and bias is not None:
            # F.linear would copy the bias to every row first.
            y: Tensor = torch.ops.mkldnn._linear_pointwise(x, right.t(), bias, "none", [], "")
        else:
            y = F.linear(x.to(dtype), right.t().to(dtype), None if bias is None else bias.to(dtype))
        if update is None:
            return y.to(x.dtype)
        reduced, up = update.reduced.to(dtype), update.up.to(dtype)
        if update.dropout is None:
            return y.addmm_(reduced, up).to(x.dtype)
        y = y.to(x.dtype)
        update.dropout.add(y, (reduced @ up).to(x.dtype))
        return y

    def outer(self, a: Tensor, b: Tensor, *, columns: int) -> Tensor:
        """Return a^T b, float32 (columns, B), of the first columns of a (M, A), b (M, B)."""
        dtype = product_dtype(a)
        return (a[:, :columns].t().to(dtype) @ b.to(dtype)).float()


class CompiledElementwise(Operations):
    """Element-wise steps by the compiled kernels, products by torch."""

    def gelu(self, h: Tensor) -> Tensor:
        """Return the exact GELU."""
        return kernels.gelu(h)

    def dropout(self, x: Tensor, fraction: float) -> Dropout:
        """Draw the elements of x to drop."""
        return CompiledDropout(fraction)


class CompiledOperations(CompiledElementwise):
    """All steps by the compiled kernels; widths are multiples of 16."""

    def padded_rank(self, rank: int) -> int:
        """Return the rank to which low-rank updates are padded with zeros."""
        return -(-rank // LANES) * LANES

    def product(
        self, x: Tensor, right: Tensor, *, bias: Tensor | None = None, update: LowRankUpdate | None = None
    ) -> Tensor:
        """Return x right + bias + update, (M, out), without a gradient.

        Args:
            x: (M, in).
            right: (in, out).
            bias: (out,), or None.
            update: low-rank update to add, or None.

        Returns:
            (M, out) in the dtype of x.
        """
        x, y = x.contiguous(), x.new_empty(len(x), right.shape[1])
        reduced, up, dropout = update or (None, None, None)
        draw = dropout.arguments if isinstance(dropout, CompiledDropout) else (0, 0)
        sizes = len(x), *right.shape, 0 if up is None else len(up)
        call("product", x, right, bias, reduced, up, y, *draw, int(not right.is_contiguous()), *sizes)
        return y

    def outer(self, a: Tensor, b: Tensor, *, columns: int) -> Tensor:
        """Return a^T b, float32 (columns, B), of the first columns of a (M, A), b (M, B)."""
        y = torch.empty(columns, b.shape[1])
        call("outer", a.contiguous(), b.contiguous(), y, len(a), columns, *a.shape[1:], *b.shape[1:])
        return y


def add(x: Tensor, residual: Residual) -> Tensor:
    """Return x with a residual added, (M, D), in the dtype of x.

    Args:
        x: (M, D).
        residual: what is added to x.
    """
    y, scale = residual
    if y is None:
        return x
    return x + y if scale is None else torch.addcmul(x, y, scale.to(x.dtype))


def operations_for(plan: KernelPlan) -> Operations:
    """Return the operations that a plan chooses."""
    if plan.products:
        return CompiledOperations()
    return CompiledElementwise() if plan.compiled else Operations()
