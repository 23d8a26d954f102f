"""Batched LoRA: each image of a batch has the update of its own adapter.

An adapter is packed into one vector in the compute precision. For a batch, the vectors of its adapters are
unpacked into matrices, gathered by image, and applied in one batched product down and one up. The gathering
follows Punica (Chen et al. 2023, arXiv:2310.18547), with plain matrix products.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from orbitune.errors import ModelError
from orbitune.models.families.family import Family, body_of
from orbitune.models.files.adapter_files import (
    DOWN,
    PREFIX,
    UP,
    check_adapter,
    lora_scaling,
    read_adapter_config,
)
from orbitune.models.files.checkpoint_files import ADAPTER_WEIGHTS, read_tensors
from orbitune.models.precision import baddbmm_, matmul

if TYPE_CHECKING:
    from orbitune.fastpath.classifier import FastClassifier
    from orbitune.fastpath.linear import FusedLinear

# Settings of PEFT with which a layer computes something other than W + B A.
_UNSUPPORTED = (
    "use_dora",
    "lora_bias",
    "fan_in_fan_out",
    "rank_pattern",
    "alpha_pattern",
    "target_parameters",
    "use_qalora",
    "use_bdlora",
    "kasa_config",
    "monteclora_config",
    "arrow_config",
    "alora_invocation_tokens",
    "layer_replication",
    "trainable_token_indices",
)


class Factors(NamedTuple):
    """The update B A of one layer, fp32: A (r, in), and scaled B (out, r)."""

    down: Tensor
    up: Tensor


class BatchedLoraLinear:
    """Frozen linear layers with one input, and a low-rank update per image.

    Args:
        layers: `nn.Linear` modules whose outputs are concatenated.
        names: names of the model's modules by their `id`.

    Attributes:
        layers: the linear layers.
        shape: number of inputs and of all outputs.
        outputs: for each module name the outputs that are that layer's.
        updates: for the current batch, LoRA A^T (B, in, R) and B^T (B, R, out); None where nothing is added.
    """

    def __init__(self, layers: Sequence[Any], names: Mapping[int, str]) -> None:
        self.layers = layers
        ends = torch.tensor([layer.out_features for layer in layers]).cumsum(0).tolist()
        self.outputs = {
            names[id(layer)]: slice(end - layer.out_features, end)
            for layer, end in zip(layers, ends, strict=True)
        }
        self.shape: tuple[int, int] = (layers[0].in_features, ends[-1])
        self.updates: tuple[Tensor, Tensor] | None = None

    def add_updates(self, y: Tensor, x: Tensor) -> Tensor:
        """Add the low-rank updates to `y` in place.

        Args:
            y: outputs of the frozen layers (B * N, out); changed in place.
            x: their inputs (B * N, in).

        Returns:
            `y`.
        """
        if self.updates is not None:
            down, up = self.updates
            images = (len(down), -1)
            reduced = matmul(x.view(*images, x.shape[1]), down)
            baddbmm_(y.view(*images, y.shape[1]), reduced, up)
        return y


def batched_lora_layers(network: Any, model: nn.Module, *, family: Family) -> list[BatchedLoraLinear]:
    """Let the linear layers of a network add the low-rank updates of a batch.

    Args:
        network: `FastClassifier` or `PlainClassifier` over `model`; it is changed.
        model: classifier of transformers with frozen weights.
        family: names of the model's parts.

    Returns:
        The layers in the order of the network.
    """
    names = {id(module): name for name, module in model.named_modules()}
    if network.plan.fast:
        return _wrap_fused(network, names)
    layers = body_of(model, family).get_submodule(family.layers)
    return [_hook(module, names) for module in layers.modules() if isinstance(module, nn.Linear)]


def _wrap_fused(network: "FastClassifier", names: Mapping[int, str]) -> list[BatchedLoraLinear]:
    """Wrap the fused linear layers of the fast path."""
    made = []

    def wrap(linear: "FusedLinear") -> "_FusedBatchedLora":
        made.append(_FusedBatchedLora(linear, names))
        return made[-1]

    network.wrap_linear(wrap)
    return list(made)


class _FusedBatchedLora(BatchedLoraLinear):
    """A fused linear layer of the fast path that adds the updates of a batch."""

    def __init__(self, linear: "FusedLinear", names: Mapping[int, str]) -> None:
        super().__init__(linear.layers, names)
        self._linear = linear

    def __call__(self, x: Tensor, training: bool) -> Tensor:
        return self.add_updates(self._linear(x, training), x)


def _hook(layer: nn.Linear, names: Mapping[int, str]) -> BatchedLoraLinear:
    """Register a forward hook that adds the updates of a batch to a linear layer."""
    lora = BatchedLoraLinear([layer], names)

    def add_updates(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        x = arguments[0].to(output.dtype)
        lora.add_updates(output.flatten(0, -2), x.flatten(0, -2))

    layer.register_forward_hook(add_updates)
    return lora


class Layout:
    """The layout of packed adapters: where each factor lies in the vector.

    Args:
        products: linear layers of the network, in order.
        modules: names of the modules that any adapter changes; others are left out.
        rank: of every update; smaller ones are zero-padded.
    """

    def __init__(self, products: Sequence[BatchedLoraLinear], modules: frozenset[str], *, rank: int) -> None:
        self.modules = modules
        self.rank = rank
        self._parts = [
            (product, adapted)
            for product in products
            if (adapted := [name for name in product.outputs if name in modules])
        ]
        self._idle = [product for product in products if not modules.intersection(product.outputs)]

    def holds(self, factors: Mapping[str, Factors]) -> bool:
        """Return whether an adapter with these updates fits the layout."""
        return self.modules.issuperset(factors) and self.rank >= rank_of(factors)

    def pack(self, factors: Mapping[str, Factors], dtype: torch.dtype) -> Tensor:
        """Return the updates of an adapter as a vector (L,).

        Args:
            factors: the updates of one adapter by module name.
            dtype: dtype of the vector.

        Returns:
            A vector (L,), with the same L for every adapter of this layout.
        """
        flat = [torch.empty(0)]
        for product, adapted in self._parts:
            down = torch.zeros(product.shape[0], len(adapted), self.rank)
            for place, name in enumerate(adapted):
                if name in factors:
                    down[:, place, : len(factors[name].down)] = factors[name].down.t()
            flat.append(down.flatten())
            for name in adapted:
                up = torch.zeros(self.rank, _width(product.outputs[name]))
                if name in factors:
                    up[: len(factors[name].down)] = factors[name].up.t()
                flat.append(up.flatten())
        return torch.cat(flat).to(dtype)

    def spread(self, vectors: Tensor, tasks: Tensor) -> None:
        """Set the updates of a batch on all linear layers.

        Args:
            vectors: packed adapters of the T distinct tasks in the batch, (T, L).
            tasks: row in `vectors` for each image, int64 (B,).
        """
        start = 0
        for product, adapted in self._parts:
            inner = len(adapted) * self.rank
            size = product.shape[0] * inner
            down = vectors[:, start : start + size].view(-1, product.shape[0], inner)
            start += size
            # Block-diagonal, so that one product serves all layers of a fused one: multiplying the zeros
            # costs less than a product per layer.
            up = vectors.new_zeros(len(vectors), inner, product.shape[1])
            for place, name in enumerate(adapted):
                outputs = product.outputs[name]
                size = self.rank * _width(outputs)
                rows = slice(place * self.rank, (place + 1) * self.rank)
                up[:, rows, outputs] = vectors[:, start : start + size].view(len(vectors), self.rank, -1)
                start += size
            product.updates = down[tasks], up[tasks]
        for product in self._idle:
            product.updates = None


def read_low_rank(folder: Path) -> tuple[dict[str, Factors], dict[str, Tensor]]:
    """Read the low-rank updates and the other tensors of a PEFT folder.

    Raises:
        ModelError: it is damaged, or holds more than low-rank updates.
    """
    check_adapter(folder)
    config = read_adapter_config(folder)
    stored = read_tensors(folder / ADAPTER_WEIGHTS)
    if config["peft_type"] != "LORA":
        raise not_low_rank_error(folder, f"its PEFT type is {config['peft_type']}")
    start = config.get("init_lora_weights")
    for setting in _UNSUPPORTED:
        if config.get(setting):
            raise not_low_rank_error(folder, f"it has {setting}")
    if isinstance(start, str) and start.lower() in ("pissa", "olora"):
        raise not_low_rank_error(folder, f"it was initialised by {start}, which changed the frozen weights")
    rank, scaling = config.get("r", 8), lora_scaling(config)
    tensors = {name.removeprefix(PREFIX): tensor.float() for name, tensor in stored.items()}
    modules = [name.removesuffix(DOWN) for name in tensors if name.endswith(DOWN)]
    factors = {}
    for name in modules:
        down, up = tensors.pop(name + DOWN), tensors.pop(name + UP, None)
        if up is None or down.ndim != 2 or up.ndim != 2 or len(down) != rank or up.shape[1] != rank:
            raise not_low_rank_error(folder, f"its factors of {name} are not of rank {rank}")
        factors[name] = Factors(down, up * scaling)
    return factors, tensors


def not_low_rank_error(folder: Path, reason: str) -> ModelError:
    """Return the error for an adapter that is more than low-rank updates."""
    return ModelError(
        f"{folder} is not a plain low-rank adapter ({reason}): merge it (orbitune export --to merged) and "
        "serve it on its own."
    )


def rank_of(factors: Mapping[str, Factors]) -> int:
    """Return the largest rank of an adapter's updates; 0 if there are none."""
    return max((len(each.down) for each in factors.values()), default=0)


def _width(outputs: slice) -> int:
    return int(outputs.stop - outputs.start)
