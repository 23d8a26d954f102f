"""Transformer layers with frozen weights, compiled: one pass forward, one back.

A few images at a time go through the whole layer, so that intermediate results stay in a core's caches.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from orbitune.fastpath.linear import FusedLinear, LoraUpdates
from orbitune.fastpath.native.library import LayerStruct, LoraStruct, SavedStruct, call, padded
from orbitune.fastpath.operations import CompiledDropout
from orbitune.fastpath.rotary import Rotary

_NO_UPDATES = LoraUpdates([], [], [], None)


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _padded_rank(lora: LoraUpdates, x: Tensor) -> int:
    """Return the rank of all updates of `x` together, padded with zeros."""
    return padded(sum(lora.ranks), x.dtype)


class FusedLayer:
    """A layer with frozen weights and optional low-rank updates of q, k and v.

    Args:
        qkv, out: linear layers of the attention.
        mlp_in, mlp_out: linear layers of the MLP.
        norms: LayerNorms before attention and before the MLP.
        scales: layer scales (D,) after attention and after the MLP, or None.
        head_dim: width of an attention head.
        rotary: rotation of queries and keys; None for none.
    """

    def __init__(
        self,
        qkv: FusedLinear,
        out: FusedLinear,
        *,
        mlp_in: FusedLinear,
        mlp_out: FusedLinear,
        norms: Sequence[Any],
        scales: Sequence[Tensor | None],
        head_dim: int,
        rotary: Rotary | None = None,
    ) -> None:
        self._rotary = rotary
        self.qkv, self._head_dim, self._hidden = qkv, head_dim, len(mlp_in.weights[0])
        first, second = ([norm.weight, norm.bias] for norm in norms)
        first += [*qkv.parameters, *out.parameters, scales[0]]
        second += [*mlp_in.parameters, *mlp_out.parameters, scales[1]]
        self._held = [*first, *second]  # keeps the memory that the pointers below point to
        width = len(norms[0].weight)
        sizes = 0, 0, width, width // head_dim, self._hidden
        self._fixed = LayerStruct(*sizes, *map(_pointer, self._held), *(norm.eps for norm in norms))

    def allocate(
        self, x: Tensor, images: int, *, lora: LoraUpdates, with_gradient: bool
    ) -> tuple[Tensor | None, ...]:
        """Allocate the tensors of the backward pass, in the order of `Saved` in layer.c."""
        (rows, width), tokens = x.shape, len(x) // images
        return (
            x.new_empty(rows, 3 * width),
            x.new_empty(images, width // self._head_dim, tokens, padded(tokens, x.dtype)),
            x.new_empty(rows, _padded_rank(lora, x)),
            torch.empty_like(x),
            x.new_empty(rows, self._hidden) if with_gradient else None,
            torch.empty(4, rows),
        )

    def to_struct(
        self, x: Tensor, images: int, *, lora: LoraUpdates, factors: Sequence[Tensor | None]
    ) -> LayerStruct:
        """Return the layer as the C library takes it.

        Args:
            x: rows (images * N, D).
            images: batch size.
            factors: LoRA A and B of the updates, then the tensors for their gradients.
        """
        layer, count = LayerStruct.from_buffer_copy(self._fixed), len(lora.ranks)
        layer.images, layer.tokens = images, len(x) // images
        updates = (LoraStruct * count)()
        for n, (rank, outputs, scaling) in enumerate(
            zip(lora.ranks, lora.outputs, lora.scalings, strict=True)
        ):
            place = outputs.start, outputs.stop - outputs.start
            updates[n] = LoraStruct(*map(_pointer, factors[n::count]), rank, *place, scaling)
        layer.lora, layer.updates, layer.rank = updates, count, _padded_rank(lora, x)
        if isinstance(lora.dropout, CompiledDropout):
            layer.seed, layer.threshold = lora.dropout.arguments
        if self._rotary:
            table = self._rotary.table(layer.tokens, x.dtype)  # which keeps it
            layer.cosines, layer.sines = table.cosines.data_ptr(), table.sines.data_ptr()
            layer.prefix = table.prefix_tokens
        return layer


def run_layers(layers: Sequence[FusedLayer], x: Tensor, *, images: int, training: bool) -> Tensor:
    """Return the output of consecutive layers, (images * N, D), for rows `x`.

    Args:
        images: batch size; at most as many tokens each as `LayerPlan.attention_queries`.
        training: whether dropout is applied.
    """
    loras = [layer.qkv.lora(x, training) or _NO_UPDATES for layer in layers]
    # Factors that are not trained were cast together with the other frozen weights.
    factors = [factor.float().contiguous() for layer in layers for factor in layer.qkv.factors]
    with_gradient = torch.is_grad_enabled() and any(t.requires_grad for t in (x, *factors))
    return _FusedLayers.apply(x.contiguous(), layers, images, loras, with_gradient, *factors)


class _FusedLayers(torch.autograd.Function):
    """All layers as one function, since calls into Python evict the caches."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        layers: Sequence[FusedLayer],
        images: int,
        loras: Sequence[LoraUpdates],
        with_gradient: bool,
        *factors: Tensor,
    ) -> Tensor:
        """Return the output of the layers, see `run_layers`."""
        if with_gradient:
            saved = [
                layer.allocate(x, images, lora=lora, with_gradient=True)
                for layer, lora in zip(layers, loras, strict=True)
            ]
            outputs = [torch.empty_like(x) for _ in layers]
        else:  # all layers share one set of buffers and write where they read
            widest = max(loras, key=lambda lora: sum(lora.ranks))
            saved = [layers[0].allocate(x, images, lora=widest, with_gradient=False)] * len(layers)
            outputs = [torch.empty_like(x)] * len(layers)
        inputs = [x, *outputs[:-1]]
        structs = [
            layer.to_struct(x, images, lora=lora, factors=[*own, *[None] * len(own)])
            for layer, lora, own in zip(layers, loras, _by_layer(loras, factors), strict=True)
        ]
        saved_structs = [SavedStruct(*map(_pointer, tensors)) for tensors in saved]
        for layer, before, kept, after in zip(structs, inputs, saved_structs, outputs, strict=True):
            call("layer", layer, before, kept, after)
        ctx.layers, ctx.images, ctx.loras, ctx.factors = layers, images, loras, len(factors)
        ctx.save_for_backward(*factors, *inputs, *(t for tensors in saved for t in tensors))
        return outputs[-1]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the input and of the factors."""
        saved, depth = iter(ctx.saved_tensors), len(ctx.layers)
        factors, inputs = list(islice(saved, ctx.factors)), list(islice(saved, depth))
        grad_factors = [torch.empty_like(factor) for factor in factors]
        by_layer = zip(_by_layer(ctx.loras, factors), _by_layer(ctx.loras, grad_factors), strict=True)
        kept_tensors = len(SavedStruct._fields_)
        saved_structs = [SavedStruct(*map(_pointer, islice(saved, kept_tensors))) for _ in ctx.layers]
        structs = [
            layer.to_struct(x, ctx.images, lora=lora, factors=[*own, *grads])
            for layer, lora, x, (own, grads) in zip(ctx.layers, ctx.loras, inputs, by_layer, strict=True)
        ]
        first = None if ctx.needs_input_grad[0] else inputs[0]
        grad: Tensor | None = gradients[0].contiguous()
        for layer, x, kept in zip(*map(reversed, (structs, inputs, saved_structs)), strict=True):
            grad_x = None if x is first else torch.empty_like(x)
            call("layer_backward", layer, x, kept, grad, grad_x)
            grad = grad_x
        return grad, None, None, None, None, *grad_factors


def _by_layer(loras: Sequence[LoraUpdates], tensors: Sequence[Tensor]) -> Iterator[Sequence[Tensor]]:
    """Yield the tensors of each layer, two for each of its updates."""
    start = 0
    for lora in loras:
        stop = start + 2 * len(lora.ranks)
        yield tensors[start:stop]
        start = stop
