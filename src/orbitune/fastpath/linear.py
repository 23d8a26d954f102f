"""Linear layers of one input as a single product, with their low-rank updates."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from orbitune.fastpath.dispatch import LinearKind
from orbitune.fastpath.layer_modules import low_rank_factors
from orbitune.fastpath.operations import Dropout, LowRankUpdate, Operations
from orbitune.models.precision import matmul


class FusedLinear:
    """Linear layers with one input as one product, and their LoRA updates as two.

    Where PEFT adapts one of them in another way than LoRA, each is called by itself.

    Args:
        layers: `nn.Linear`, or PEFT's wrappers. Frozen weights are cast to `dtype`.
        kinds: how each layer is computed, see `orbitune.fastpath.dispatch.LayerPlan`.
        dtype: dtype of frozen weights.
        operations: what computes the products.

    Attributes:
        weights, biases: one tensor if frozen, which the layers' parameters are views of; else one per layer.
        factors: LoRA A (r, in) of every update, then LoRA B (out, r) of every update.
    """

    def __init__(
        self,
        layers: Sequence[Any],
        kinds: Sequence[LinearKind],
        *,
        dtype: torch.dtype,
        operations: Operations,
    ) -> None:
        self.layers = layers
        self._operations = operations
        self._fused = "peft" not in kinds
        for layer in layers:
            cast_frozen(layer, dtype)
            _widen_buffers(layer)
        bases = [getattr(layer, "base_layer", layer) for layer in layers]
        self.weights = self._concatenated([base.weight for base in bases])
        biased = any(base.bias is not None for base in bases)
        self.biases = self._concatenated([_bias(base) for base in bases]) if biased else []
        outputs = _slices([len(base.weight) for base in bases])
        self._updates = [
            (rows, low_rank_factors(layer))
            for layer, rows, kind in zip(layers, outputs, kinds, strict=True)
            if kind == "lora"
        ]
        self.factors = [each.down for _, each in self._updates] + [each.up for _, each in self._updates]

    def _concatenated(self, parts: list[nn.Parameter]) -> list[Tensor]:
        """Concatenate frozen parameters; they become views, so memory is not doubled."""
        if len(parts) == 1 or not self._fused or any(p.requires_grad for p in parts):
            return list(parts)
        whole = torch.cat([p.data for p in parts])
        for parameter, part in zip(parts, whole.split([len(p) for p in parts]), strict=True):
            parameter.data = part
        return [whole]

    def __call__(self, x: Tensor, training: bool) -> Tensor:
        """Return the layers' outputs concatenated, (M, out), for rows x (M, in)."""
        if not self._fused:
            return torch.cat([layer(x).to(x.dtype) for layer in self.layers], -1)
        weight = _joined(self.weights).to(x.dtype)
        bias = _joined(self.biases).to(x.dtype) if self.biases else None
        return _Linear.apply(x, weight, bias, self._operations, self.lora(x, training), *self.factors)

    def lora(self, x: Tensor, training: bool) -> "LoraUpdates | None":
        """Return the low-rank updates for rows x, with a draw of dropout.

        Returns None if there are none.
        """
        if not self._updates:
            return None
        outputs, updates = zip(*self._updates, strict=True)
        fraction = max(update.dropout for update in updates) if training else 0.0
        dropout = self._operations.dropout(x, fraction) if fraction else None
        scalings = [update.scaling / (1 - fraction) for update in updates]
        return LoraUpdates(list(outputs), [len(update.down) for update in updates], scalings, dropout)

    @property
    def parameters(self) -> tuple[Tensor, Tensor | None]:
        """Weight (out, in) and bias (out,), of frozen layers."""
        return self.weights[0], self.biases[0] if self.biases else None


class LoraUpdates(NamedTuple):
    """The low-rank updates of a `FusedLinear` for one batch.

    Attributes:
        outputs: for each update the outputs that it adds to.
        ranks: rank of each.
        scalings: factor of each, with the correction for dropout.
        dropout: draw for their common input, or None.
    """

    outputs: list[slice]
    ranks: list[int]
    scalings: list[float]
    dropout: Dropout | None

    def joined(
        self, x: Tensor, out: int, *, factors: Sequence[Tensor], padded_rank: int
    ) -> tuple[Tensor, Tensor]:
        """Return all updates as one: A (R, in) and block-diagonal B^T (R, out).

        Args:
            x: input (M, in).
            out: number of outputs.
            factors: A of every update, then B.
            padded_rank: R, the sum of the ranks or more; the rest is zero.
        """
        down, up = x.new_zeros(padded_rank, x.shape[1]), x.new_zeros(padded_rank, out)
        downs, ups = factors[: len(self.ranks)], factors[len(self.ranks) :]
        places = _slices(self.ranks), self.outputs, self.scalings
        for rows, outputs, scaling, one_down, one_up in zip(*places, downs, ups, strict=True):
            down[rows] = one_down
            up[rows, outputs] = one_up.t() * scaling
        return down, up

    def split(self, grad_down: Tensor, grad_up: Tensor) -> list[Tensor]:
        """Return the gradients of the factors from those of the `joined` tensors."""
        places = list(zip(_slices(self.ranks), self.outputs, self.scalings, strict=True))
        ups = [grad_up[rows, outputs].t() * scaling for rows, outputs, scaling in places]
        return [grad_down[rows] for rows, _, _ in places] + ups


class _Linear(torch.autograd.Function):
    """y = x W^T + b, plus scaling B A dropout(x) for every low-rank update.

    Written out, because on a CPU autograd copies the bias to every row, keeps a dropout mask, and takes
    dozens of small steps for the updates of a layer. All updates are one product down and one up.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        operations: Operations,
        lora: LoraUpdates | None,
        *factors: Tensor,
    ) -> Tensor:
        """Return the output (M, out) with the low-rank updates."""
        ctx.operations, ctx.lora = operations, lora
        saved, update = [x if weight.requires_grad else None, weight], None
        if lora:
            down, up = lora.joined(
                x, len(weight), factors=factors, padded_rank=operations.padded_rank(sum(lora.ranks))
            )
            dropped = lora.dropout.apply(x) if lora.dropout else x
            reduced = operations.product(dropped, down.t())
            update = LowRankUpdate(reduced, up)
            saved += [dropped, down, up, reduced]
        ctx.save_for_backward(*saved)
        return operations.product(x, weight.t(), bias=bias, update=update)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the input and of what is trained."""
        grad, (x, weight, *low_rank), needs = (
            gradients[0].contiguous(),
            ctx.saved_tensors,
            ctx.needs_input_grad,
        )
        operations, lora = ctx.operations, ctx.lora
        grad_weight = matmul(grad.t(), x) if needs[1] else None
        grad_bias = grad.sum(0) if needs[2] else None
        if lora is None:
            grad_x = operations.product(grad, weight) if needs[0] else None
            return grad_x, grad_weight, grad_bias, None, None
        dropped, down, up, reduced = low_rank
        grad_reduced = operations.product(grad, up.t())
        update = LowRankUpdate(grad_reduced, down, lora.dropout)
        grad_x = operations.product(grad, weight, update=update) if needs[0] else None
        rank = sum(lora.ranks)
        grad_down = operations.outer(grad_reduced, dropped, columns=rank)
        grad_factors = lora.split(grad_down, operations.outer(reduced, grad, columns=rank))
        return grad_x, grad_weight, grad_bias, None, None, *grad_factors


def _bias(layer: Any) -> nn.Parameter:
    """Return the bias of a linear layer; zeros for one without, as the keys of DINOv3 are."""
    zeros = layer.weight.detach().new_zeros(len(layer.weight))
    return nn.Parameter(zeros, requires_grad=False) if layer.bias is None else layer.bias


def _slices(sizes: list[int]) -> list[slice]:
    """Return the slices of consecutive parts of these sizes."""
    return [slice(sum(sizes[:i]), sum(sizes[: i + 1])) for i in range(len(sizes))]


def cast_frozen(module: nn.Module, dtype: torch.dtype) -> None:
    """Cast a module's frozen parameters in place.

    Args:
        module: module whose trained parameters stay as they are.
        dtype: new dtype of the frozen ones.
    """
    for parameter in module.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)


def _widen_buffers(module: nn.Module) -> None:
    """Cast random bases that PEFT draws in half precision to fp32."""
    for buffer in module.buffers():
        if buffer.is_floating_point():
            buffer.data = buffer.data.float()


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
