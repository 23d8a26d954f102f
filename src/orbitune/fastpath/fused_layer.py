"""A transformer layer whose weights are frozen, as one compiled pass forward and one backward.

A few images at a time go through the whole of it, and what is between its steps stays in a core's caches.
"""

import ctypes
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from orbitune.fastpath.kernels import attends, multiplies, padded
from orbitune.fastpath.linear import Plan, Product
from orbitune.fastpath.native import call

_NOTHING = Plan([], [], [], None)
_ROOM = ("qkv", "weights", "low", "sum", "slope", "moments")


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

    _fields_ = [(name, ctypes.c_void_p) for name in _ROOM]


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _rank(plan: Plan) -> int:
    """Of all updates together, filled up with zeros."""
    return padded(sum(plan.ranks))


class FusedLayer:
    """A layer over frozen parts: its products, and of each half the normalisation and the layer scale.

    Of q, k and v low-rank updates may be trained, see `Product`.

    Attributes:
        frozen: whether nothing else is, as it must be.
    """

    def __init__(
        self,
        qkv: Product,
        out: Product,
        widen: Product,
        narrow: Product,
        norms: Sequence[Any],
        scales: Sequence[Tensor | None],
        head_dim: int,
    ) -> None:
        beside = [p for norm in norms for p in norm.parameters()] + [s for s in scales if s is not None]
        self.frozen = qkv.fused and not qkv.trained and all(part.frozen for part in (out, widen, narrow))
        self.frozen &= not any(p.requires_grad for p in beside)
        self.qkv, self.head_dim, self.middle = qkv, head_dim, len(widen.weights[0])
        first, second = ([norm.weight, norm.bias] for norm in norms)
        first += [*qkv.parameters, *out.parameters, scales[0]]
        second += [*widen.parameters, *narrow.parameters, scales[1]]
        self._held = [*first, *second]  # or their addresses would not last
        width = len(norms[0].weight)
        sizes = 0, 0, width, width // head_dim, self.middle
        self._fixed = _Layer(*sizes, *map(_pointer, self._held), *(norm.eps for norm in norms))

    def takes(self, x: Tensor, images: int) -> bool:
        """Whether it computes rows of this kind (images * N, D)."""
        heads = x.view(images, -1, x.shape[1] // self.head_dim, self.head_dim)
        return multiplies(x, x.shape[1], self.middle) and attends(heads)

    def room(self, x: Tensor, images: int, plan: Plan, gradient: bool) -> tuple[Tensor | None, ...]:
        """Where a pass writes what its gradient needs, in the order of `Saved`."""
        (rows, width), tokens = x.shape, len(x) // images
        return (
            x.new_empty(rows, 3 * width),
            x.new_empty(images, width // self.head_dim, tokens, padded(tokens)),
            x.new_empty(rows, _rank(plan)),
            torch.empty_like(x),
            x.new_empty(rows, self.middle) if gradient else None,
            torch.empty(4, rows),
        )

    def layer(self, x: Tensor, images: int, plan: Plan, tensors: Sequence[Tensor | None]) -> "_Layer":
        """The layer as C sees it.

        Args:
            tensors: the factors of the updates, down and up, then where their gradients go.
        """
        layer, count = _Layer.from_buffer_copy(self._fixed), len(plan.ranks)
        layer.images, layer.tokens = images, len(x) // images
        updates = (_Factors * count)()
        for n, (rank, outputs, scaling) in enumerate(
            zip(plan.ranks, plan.outputs, plan.scalings, strict=True)
        ):
            places = outputs.start, outputs.stop - outputs.start
            updates[n] = _Factors(*map(_pointer, tensors[n::count]), rank, *places, scaling)
        layer.factors, layer.updates, layer.rank = updates, count, _rank(plan)
        if plan.dropout:
            layer.seed, layer.below = plan.dropout.arguments()
        return layer


def pass_through(layers: Sequence[FusedLayer], x: Tensor, images: int, training: bool) -> Tensor:
    """Rows (images * N, D) through layers that take them, one after the other, to rows of the same shape."""
    plans = [layer.qkv.plan(x, training) or _NOTHING for layer in layers]
    # Factors that are not trained were cast with the other weights.
    factors = [factor.float().contiguous() for layer in layers for factor in layer.qkv.factors]
    learns = torch.is_grad_enabled() and any(t.requires_grad for t in (x, *factors))
    return _Whole.apply(x.contiguous(), layers, images, plans, learns, *factors)


class _Whole(torch.autograd.Function):
    """Of all layers at once: after a layer's products little of Python is left in the caches."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        layers: Sequence[FusedLayer],
        images: int,
        plans: Sequence[Plan],
        learns: bool,
        *factors: Tensor,
    ) -> Tensor:
        if learns:
            rooms = [layer.room(x, images, plan, learns) for layer, plan in zip(layers, plans, strict=True)]
            outputs = [torch.empty_like(x) for _ in layers]
        else:  # all layers use the same room, and write where they read
            rooms = [layers[0].room(x, images, max(plans, key=_rank), learns)] * len(layers)
            outputs = [torch.empty_like(x)] * len(layers)
        inputs = [x, *outputs[:-1]]
        described = [
            layer.layer(x, images, plan, [*own, *[None] * len(own)])
            for layer, plan, own in zip(layers, plans, _shares(plans, factors), strict=True)
        ]
        saved = [_Saved(*map(_pointer, room)) for room in rooms]
        for layer, before, room, after in zip(described, inputs, saved, outputs, strict=True):
            call("layer", ctypes.byref(layer), before, ctypes.byref(room), after)
        ctx.layers, ctx.images, ctx.plans, ctx.factors = layers, images, plans, len(factors)
        ctx.save_for_backward(*factors, *inputs, *(t for room in rooms for t in room))
        return outputs[-1]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        saved, depth = iter(ctx.saved_tensors), len(ctx.layers)
        factors, inputs = list(islice(saved, ctx.factors)), list(islice(saved, depth))
        slopes = [torch.empty_like(factor) for factor in factors]
        shares = zip(_shares(ctx.plans, factors), _shares(ctx.plans, slopes), strict=True)
        rooms = [_Saved(*map(_pointer, islice(saved, len(_ROOM)))) for _ in ctx.layers]
        described = [
            layer.layer(x, ctx.images, plan, [*own, *for_own])
            for layer, plan, x, (own, for_own) in zip(ctx.layers, ctx.plans, inputs, shares, strict=True)
        ]
        first = None if ctx.needs_input_grad[0] else inputs[0]
        slope: Tensor | None = gradients[0].contiguous()
        for layer, x, room in zip(*map(reversed, (described, inputs, rooms)), strict=True):
            for_x = None if x is first else torch.empty_like(x)
            call("layer_backward", ctypes.byref(layer), x, ctypes.byref(room), slope, for_x)
            slope = for_x
        return slope, None, None, None, None, *slopes


def _shares(plans: Sequence[Plan], tensors: Sequence[Tensor]) -> Iterator[Sequence[Tensor]]:
    """Of tensors that belong to the updates of plans, two to each, those of one plan after the other."""
    start = 0
    for plan in plans:
        stop = start + 2 * len(plan.ranks)
        yield tensors[start:stop]
        start = stop
