"""A transformer layer whose weights are frozen, as one compiled pass forward and one backward.

A few images at a time go through the whole layer, and what is between its steps stays in the caches of a core.
"""

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from orbitune.models.compiled import call
from orbitune.models.kernels import LANES, attends, multiplies
from orbitune.models.linear import Plan, Product


class Parts(NamedTuple):
    """What a layer is made of: products, and of each half its normalisation and layer scale."""

    qkv: Product
    out: Product
    widen: Product
    narrow: Product
    norms: Sequence[Any]
    scales: Sequence[Tensor | None]
    heads: int

    def whole(self, x: Tensor, images: int) -> bool:
        """Whether compiled kernels compute all of it over rows of this kind (images * N, D)."""
        products = self.qkv, self.out, self.widen, self.narrow
        if not all(type(product) is Product and product.fused for product in products):
            return False
        rest = [p for norm in self.norms for p in norm.parameters()]
        rest += [scale for scale in self.scales if scale is not None]
        frozen = all(part.frozen for part in products[1:]) and not self.qkv.trained
        head = x.view(images, -1, self.heads, x.shape[1] // self.heads)
        return (
            frozen
            and not any(p.requires_grad for p in rest)
            and multiplies(x, x.shape[1], len(self.widen.weights[0]))
            and attends(head)
        )

    def __call__(self, x: Tensor, images: int, training: bool) -> Tensor:
        """Rows (images * N, D) to rows of the same shape; for what `whole` says so of."""
        plan, factors = self.qkv.updates(x, training)
        return _Whole.apply(x.contiguous(), self, images, plan, *factors)


class _Layer(ctypes.Structure):
    """`Layer` of csrc/layer.c."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("images", "tokens", "width", "heads", "middle", "rank", "trained")),
        *(
            (name, ctypes.c_void_p)
            for name in (
                *("norm1", "norm1_bias", "qkv", "qkv_bias", "down", "lift", "out", "out_bias", "scale1"),
                *("norm2", "norm2_bias", "widen", "widen_bias", "narrow", "narrow_bias", "scale2"),
            )
        ),
        *((name, ctypes.c_float) for name in ("eps1", "eps2")),
        *((name, ctypes.c_uint32) for name in ("seed", "below")),
    ]


class _Saved(ctypes.Structure):
    """`Saved` of csrc/layer.c."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("qkv", "weights", "low", "sum", "slope", "moments")]


def _layer(parts: Parts, x: Tensor, images: int, plan: Plan | None, down: Tensor | None, lift: Tensor | None) -> _Layer:
    fields: dict[str, Any] = {"down": down, "lift": lift}
    for name in ("qkv", "out", "widen", "narrow"):
        product = getattr(parts, name)
        fields |= {name: product.weights[0], f"{name}_bias": next(iter(product.biases), None)}
    for number, (norm, scale) in enumerate(zip(parts.norms, parts.scales, strict=True), 1):
        fields |= {f"norm{number}": norm.weight, f"norm{number}_bias": norm.bias, f"scale{number}": scale}
    pointers = {name: None if t is None else t.data_ptr() for name, t in fields.items()}
    if plan and plan.dropout:
        pointers["seed"], pointers["below"] = plan.dropout.arguments()
    return _Layer(
        images=images,
        tokens=len(x) // images,
        width=x.shape[1],
        heads=parts.heads,
        middle=len(parts.widen.weights[0]),
        rank=0 if down is None else len(down),
        trained=sum(plan.ranks) if plan else 0,
        eps1=parts.norms[0].eps,
        eps2=parts.norms[1].eps,
        **pointers,
    )


def _saved(*tensors: Tensor | None) -> _Saved:
    return _Saved(*(None if t is None else t.data_ptr() for t in tensors))


class _Whole(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, parts: Parts, images: int, plan: Plan | None, *factors: Tensor) -> Tensor:
        width, tokens = x.shape[1], len(x) // images
        down, lift = plan.joined(x, 3 * width, factors) if plan else (None, None)
        saved = (
            x.new_empty(len(x), 3 * width),
            x.new_empty(images, parts.heads, tokens, -(-tokens // LANES) * LANES),
            None if down is None else x.new_empty(len(x), len(down)),
            torch.empty_like(x),
            x.new_empty(len(x), len(parts.widen.weights[0])) if any(ctx.needs_input_grad) else None,
            torch.empty(4, len(x)),
        )
        y = torch.empty_like(x)
        layer = _layer(parts, x, images, plan, down, lift)
        call("layer", ctypes.byref(layer), x, ctypes.byref(_saved(*saved)), y)
        ctx.parts, ctx.images, ctx.plan = parts, images, plan
        ctx.save_for_backward(x, down, lift, *saved)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, down, lift, *saved = ctx.saved_tensors
        for_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        layer = _layer(ctx.parts, x, ctx.images, ctx.plan, down, lift)
        updates = torch.empty(layer.trained * 4, x.shape[1])
        pointers = ctypes.byref(layer), x, ctypes.byref(_saved(*saved)), gradients[0].contiguous(), for_x, updates
        call("layer_backward", *pointers)
        if ctx.plan is None:
            return for_x, None, None, None
        downs, ups = updates[: layer.trained], updates[layer.trained :].view(layer.trained, -1)
        return for_x, None, None, None, *ctx.plan.split(downs, ups)
