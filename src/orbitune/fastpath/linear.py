"""Linear layers of one input as one product, with their low-rank updates."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from orbitune.fastpath.kernels import Dropout, Update, multiplies, outer, padded, product
from orbitune.models.precision import matmul


class Product:
    """Linear layers that read the same input, as one product; and their low-rank updates as two more.

    A layer that PEFT adapts in another way than LoRA is computed by itself.

    Args:
        layers: `nn.Linear`, or what PEFT made of it. Frozen weights are cast to `dtype`.
    """

    def __init__(self, layers: Sequence[Any], dtype: torch.dtype) -> None:
        self.layers = layers
        self.adapted = [_is_lora(layer) for layer in layers]
        self.fused = all(a or type(layer) is nn.Linear for a, layer in zip(self.adapted, layers, strict=True))
        for layer in layers:
            cast_frozen(layer, dtype)
            _widen_buffers(layer)
        bases = [getattr(layer, "base_layer", layer) for layer in layers]
        self.weights = self._together([base.weight for base in bases])
        self.biases = [] if bases[0].bias is None else self._together([base.bias for base in bases])
        self._updates = [
            _low_rank(layer, outputs)
            for layer, outputs, adapted in zip(
                layers, _slices([len(b.weight) for b in bases]), self.adapted, strict=True
            )
            if adapted
        ]
        # Of the low-rank updates: all down, then all up.
        self.factors = [update.down for update in self._updates] + [update.up for update in self._updates]

    def _together(self, parts: list[nn.Parameter]) -> list[Tensor]:
        """Frozen parameters as one tensor, of which they become views: no byte is held twice."""
        if len(parts) == 1 or not self.fused or any(p.requires_grad for p in parts):
            return list(parts)
        whole = torch.cat([p.data for p in parts])
        for parameter, part in zip(parts, whole.split([len(p) for p in parts]), strict=True):
            parameter.data = part
        return [whole]

    def __call__(self, x: Tensor, training: bool) -> Tensor:
        """(M, in) to (M, the layers' outputs one after the other)."""
        if not self.fused:
            return torch.cat([layer(x).to(x.dtype) for layer in self.layers], -1)
        weight = _joined(self.weights).to(x.dtype)
        bias = _joined(self.biases).to(x.dtype) if self.biases else None
        return _Linear.apply(x, weight, bias, self.plan(x, training), *self.factors)

    def plan(self, x: Tensor, training: bool) -> "Plan | None":
        """How the low-rank updates of rows x add to the product, if there are any."""
        if not self._updates:
            return None
        share = max(update.share for update in self._updates) if training else 0.0
        dropout = Dropout(x.shape, share, x.device, x.dtype) if share else None
        scalings = [update.scaling / (1 - share) for update in self._updates]
        outputs, ranks = ([getattr(update, name) for update in self._updates] for name in ("outputs", "rank"))
        return Plan(outputs, ranks, scalings, dropout)

    @property
    def parameters(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias, of a product whose layers are held as one."""
        return self.weights[0], self.biases[0] if self.biases else None

    @property
    def trained(self) -> bool:
        """Whether a weight or a bias is, beside its updates."""
        return any(p.requires_grad for p in (*self.weights, *self.biases))

    @property
    def frozen(self) -> bool:
        """Whether it is one plain product, of which nothing is trained."""
        return self.fused and not any(self.adapted) and not self.trained


class Plan(NamedTuple):
    """The low-rank updates of a product: where each adds, its rank and factor, and what their input loses."""

    outputs: list[slice]
    ranks: list[int]
    scalings: list[float]
    dropout: Dropout | None

    def joined(self, x: Tensor, out: int, factors: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """All updates as one product down (R, in) and, block by block, one up (R, out), in the dtype of x.

        For compiled kernels their common rank is filled up with zeros.
        """
        rank = sum(self.ranks)
        if multiplies(x, x.shape[1], out):
            rank = padded(rank)
        down, lift = x.new_zeros(rank, x.shape[1]), x.new_zeros(rank, out)
        downs, ups = factors[: len(self.ranks)], factors[len(self.ranks) :]
        places = _slices(self.ranks), self.outputs, self.scalings
        for rows, outputs, scaling, one_down, one_up in zip(*places, downs, ups, strict=True):
            down[rows] = one_down
            lift[rows, outputs] = one_up.t() * scaling
        return down, lift

    def split(self, downs: Tensor, lifts: Tensor) -> list[Tensor]:
        """The gradients of the factors, from those of what `joined` gave."""
        places = list(zip(_slices(self.ranks), self.outputs, self.scalings, strict=True))
        ups = [lifts[rows, outputs].t() * scaling for rows, outputs, scaling in places]
        return [downs[rows] for rows, _, _ in places] + ups


class _Linear(torch.autograd.Function):
    """y = x W^T + b, and scaling B A dropout(x) added where a plan says.

    Written out, as autograd copies the bias to every row first on a CPU, keeps a mask, and takes dozens of
    small steps for the updates of a layer. All updates are one product down and, block by block, one up.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, plan: Plan | None, *factors: Tensor
    ) -> Tensor:
        ctx.plan, saved, update = plan, [x if weight.requires_grad else None, weight], None
        if plan:
            down, lift = plan.joined(x, len(weight), factors)
            dropped = plan.dropout.apply(x) if plan.dropout else x
            narrow = product(dropped, down.t())
            update = Update(narrow, lift)
            saved += [dropped, down, lift, narrow]
        ctx.save_for_backward(*saved)
        return product(x, weight.t(), bias, update)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        g, (x, weight, *low_rank), needs = gradients[0].contiguous(), ctx.saved_tensors, ctx.needs_input_grad
        for_weight = matmul(g.t(), x) if needs[1] else None
        for_bias = g.sum(0) if needs[2] else None
        if ctx.plan is None:
            return product(g, weight) if needs[0] else None, for_weight, for_bias, None
        dropped, down, lift, narrow = low_rank
        for_narrow = product(g, lift.t())
        for_x = product(g, weight, None, Update(for_narrow, down, ctx.plan.dropout)) if needs[0] else None
        rank = sum(ctx.plan.ranks)
        for_factors = ctx.plan.split(outer(for_narrow, dropped, rank), outer(narrow, g, rank))
        return for_x, for_weight, for_bias, None, *for_factors


def _slices(sizes: list[int]) -> list[slice]:
    """The places of parts of these sizes, one after the other."""
    return [slice(sum(sizes[:i]), sum(sizes[: i + 1])) for i in range(len(sizes))]


def cast_frozen(module: nn.Module, dtype: torch.dtype) -> None:
    """Give a module's frozen parameters another dtype, in place."""
    for parameter in module.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)


def _widen_buffers(module: nn.Module) -> None:
    """Random bases that PEFT draws in half precision, in fp32, as what it trains beside them; in place."""
    for buffer in module.buffers():
        if buffer.is_floating_point():
            buffer.data = buffer.data.float()


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _is_lora(layer: Any) -> bool:
    """Whether PEFT adapts this layer by one low-rank update and nothing else."""
    if not hasattr(layer, "lora_A"):
        return False
    from peft.tuners.lora import Linear

    one = type(layer) is Linear and len(layer.active_adapters) == 1 and not layer.merged
    plain = one and not (layer.lora_variant or any(layer.lora_bias.values()) or layer.fan_in_fan_out)
    return bool(plain and type(layer.base_layer) is nn.Linear)


class _Update(NamedTuple):
    """One layer's low-rank update: A (r, in), B (out, r), the factor, and the share that dropout removes."""

    outputs: slice
    rank: int
    down: Tensor
    up: Tensor
    scaling: float
    share: float


def _low_rank(layer: Any, outputs: slice) -> _Update:
    name = layer.active_adapters[0]
    share = getattr(layer.lora_dropout[name], "p", 0.0)
    down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
    return _Update(outputs, len(down), down, up, layer.scaling[name], share)
