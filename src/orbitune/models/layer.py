"""A transformer layer whose weights are frozen, as one compiled pass forward and one backward.

A few images at a time go through the whole of it, and what is between its steps stays in a core's caches.
"""

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from orbitune.models.compiled import call
from orbitune.models.kernels import LANES, attends, multiplies
from orbitune.models.linear import Plan, Product


class WholeLayer(NamedTuple):
    """A layer's frozen parts: its products, and of each half the normalisation and the layer scale.

    Of q, k and v low-rank updates may be trained, see `Product`.
    """

    qkv: Product
    out: Product
    widen: Product
    narrow: Product
    norms: Sequence[Any]
    scales: Sequence[Tensor | None]
    head_dim: int

    @property
    def frozen(self) -> bool:
        """Whether nothing is trained but low-rank updates of q, k and v."""
        rest = [p for norm in self.norms for p in norm.parameters()]
        rest += [scale for scale in self.scales if scale is not None]
        plain = self.qkv.fused and not self.qkv.trained and self.out.frozen
        return plain and self.widen.frozen and self.narrow.frozen and not any(p.requires_grad for p in rest)

    def takes(self, x: Tensor, images: int) -> bool:
        """Whether it computes rows of this kind (images * N, D)."""
        heads = x.view(images, -1, x.shape[1] // self.head_dim, self.head_dim)
        return multiplies(x, x.shape[1], len(self.widen.weights[0])) and attends(heads)

    def __call__(self, x: Tensor, images: int, training: bool) -> Tensor:
        """Rows (images * N, D) to rows of the same shape."""
        plan, factors = self.qkv.updates(x, training)
        # Factors that are not trained were cast with the other weights.
        plan = plan or Plan([], [], [], None)
        return _Whole.apply(x.contiguous(), self, images, plan, *(factor.float() for factor in factors))


class _Factors(ctypes.Structure):
    """`Factors` of csrc/layer.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("down", "up", "for_down", "for_up")),
        *((name, ctypes.c_int64) for name in ("rank", "first", "outputs")),
        ("scaling", ctypes.c_float),
    ]


class _Layer(ctypes.Structure):
    """`Layer` of csrc/layer.c."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("images", "tokens", "width", "heads", "middle")),
        *((f"half{half}_{n}", ctypes.c_void_p) for half, parts in ((1, 7), (2, 7)) for n in range(parts)),
        *((name, ctypes.c_float) for name in ("eps1", "eps2")),
        ("factors", ctypes.POINTER(_Factors)),
        *((name, ctypes.c_int64) for name in ("updates", "rank")),
        *((name, ctypes.c_uint32) for name in ("seed", "below")),
    ]


class _Saved(ctypes.Structure):
    """`Saved` of csrc/layer.c."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("qkv", "weights", "low", "sum", "slope", "moments")]


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _parameters(whole: WholeLayer) -> list[Tensor | None]:
    """In the order of `Layer`."""

    def product(part: Product) -> list[Tensor | None]:
        return [part.weights[0], part.biases[0] if part.biases else None]

    first, second = ([norm.weight, norm.bias] for norm in whole.norms)
    first += [*product(whole.qkv), *product(whole.out), whole.scales[0]]
    return [*first, *second, *product(whole.widen), *product(whole.narrow), whole.scales[1]]


def _layer(
    whole: WholeLayer,
    x: Tensor,
    images: int,
    plan: Plan,
    factors: Sequence[Tensor],
    slopes: Sequence[Tensor | None],
) -> _Layer:
    """The layer as C sees it; `slopes` are where the gradients of the factors go."""
    width, count = x.shape[1], len(plan.ranks)
    updates = (_Factors * count)()
    for n, (rank, outputs, scaling) in enumerate(zip(plan.ranks, plan.outputs, plan.scalings, strict=True)):
        tensors = factors[n], factors[count + n], slopes[n], slopes[count + n]
        places = outputs.start, outputs.stop - outputs.start
        updates[n] = _Factors(*map(_pointer, tensors), rank, *places, scaling)
    return _Layer(
        *(images, len(x) // images, width, width // whole.head_dim, len(whole.widen.weights[0])),
        *map(_pointer, _parameters(whole)),
        *(norm.eps for norm in whole.norms),
        updates,
        count,
        _rank(plan),
        *(plan.dropout.arguments() if plan.dropout else (0, 0)),
    )


def _rank(plan: Plan) -> int:
    """Of all updates together, filled up with zeros."""
    return -(-sum(plan.ranks) // LANES) * LANES


class _Whole(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, whole: WholeLayer, images: int, plan: Plan, *factors: Tensor) -> Tensor:
        (rows, width), tokens = x.shape, len(x) // images
        kept = (
            x.new_empty(rows, 3 * width),
            x.new_empty(images, width // whole.head_dim, tokens, -(-tokens // LANES) * LANES),
            x.new_empty(rows, _rank(plan)),
            torch.empty_like(x),
            x.new_empty(rows, len(whole.widen.weights[0])) if any(ctx.needs_input_grad) else None,
            torch.empty(4, rows),
        )
        y = torch.empty_like(x)
        layer = _layer(whole, x, images, plan, factors, [None] * len(factors))
        call("layer", ctypes.byref(layer), x, ctypes.byref(_Saved(*map(_pointer, kept))), y)
        ctx.whole, ctx.images, ctx.plan, ctx.factors = whole, images, plan, len(factors)
        ctx.save_for_backward(x, *factors, *kept)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, *saved = ctx.saved_tensors
        factors, kept = saved[: ctx.factors], _Saved(*map(_pointer, saved[ctx.factors :]))
        for_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        slopes = [torch.empty_like(factor) for factor in factors]
        layer = _layer(ctx.whole, x, ctx.images, ctx.plan, factors, slopes)
        call("layer_backward", ctypes.byref(layer), x, ctypes.byref(kept), gradients[0].contiguous(), for_x)
        return for_x, None, None, None, *slopes
