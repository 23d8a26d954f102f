"""Linear layers of one input as one product, with their low-rank updates."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from orbitune.models.kernels import dropout


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
        bases = [getattr(layer, "base_layer", layer) for layer in layers]
        self.weights = self._together([base.weight for base in bases])
        self.biases = [] if bases[0].bias is None else self._together([base.bias for base in bases])

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
        bias = _joined(self.biases).to(x.dtype) if self.biases else None
        y = linear(x, _joined(self.weights).to(x.dtype), bias)
        return self._updated(y, x, training) if any(self.adapted) else y

    def _updated(self, y: Tensor, x: Tensor, training: bool) -> Tensor:
        """y + B A dropout(x) of each adapted layer, added in place."""
        updates = [
            _low_rank(layer) if adapted else None
            for layer, adapted in zip(self.layers, self.adapted, strict=True)
        ]
        share = max(update.share for update in updates if update) if training else 0.0
        dropped, kept = dropout(x, share) if share else (x, 1.0)
        down = _joined([update.down for update in updates if update])
        up = torch.block_diag(
            *(
                update.up * (update.scaling / kept) if update else x.new_zeros(layer.out_features, 0)
                for layer, update in zip(self.layers, updates, strict=True)
            )
        )
        return y.addmm_(dropped @ down.to(x.dtype).t(), up.to(x.dtype).t())


class _Linear(torch.autograd.Function):
    """x W^T + b on a CPU: torch's own, when it records gradients, first copies the bias to every row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x if weight.requires_grad else None, weight)
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (y,), (x, weight), (for_x, for_weight, for_bias) = gradients, ctx.saved_tensors, ctx.needs_input_grad
        return (
            y @ weight if for_x else None,
            y.t() @ x if for_weight else None,
            y.sum(0) if for_bias else None,
        )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x W^T + b: (M, in) to (M, out), all of one dtype."""
    if x.device.type == "cpu" and x.dtype == torch.bfloat16 and torch.backends.mkldnn.is_available():
        return _Linear.apply(x, weight, bias)
    return F.linear(x, weight, bias)


def cast_frozen(module: nn.Module, dtype: torch.dtype) -> None:
    """Give a module's frozen parameters another dtype, in place."""
    for parameter in module.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)


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

    down: Tensor
    up: Tensor
    scaling: float
    share: float


def _low_rank(layer: Any) -> _Update:
    name = layer.active_adapters[0]
    share = getattr(layer.lora_dropout[name], "p", 0.0)
    return _Update(layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name], share)
