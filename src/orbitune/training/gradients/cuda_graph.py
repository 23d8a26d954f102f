"""Gradients of a step as a CUDA graph, whose kernels the GPU launches itself.

A step of a small transformer is a few thousand short kernels, which the processor launches one by one more
slowly than the GPU computes them. A graph is captured once and launched as a whole
(https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from orbitune.training.batches import batch_length
from orbitune.training.gradients.accumulation import accumulate_gradients

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn
    from torch.amp import GradScaler

    from orbitune.evaluation.tasks.task import Task
    from orbitune.recipe import Recipe

EAGER_STEPS = 3  # of a shape before its graph: libraries choose kernels then, which a capture cannot


@dataclass(frozen=True)
class _Captured:
    """A graph with the tensors that it reads and writes.

    Attributes:
        tiles, targets: inputs.
        sums: as `accumulate_gradients` returns them.
        gradients: of each trained parameter that has one.
    """

    graph: "torch.cuda.CUDAGraph"
    tiles: "Tensor"
    targets: "Tensor"
    sums: "Tensor"
    gradients: "list[tuple[nn.Parameter, Tensor]]"


class GradientGraph:
    """`accumulate_gradients` of whole batches, captured once per shape and replayed.

    Dropout draws what it draws without a graph: a replay continues the device's random generator.

    Args:
        network: on a GPU, in one process.
        task: see `accumulate_gradients`, as for `recipe`, `scaler` and `class_weights`.
    """

    def __init__(
        self,
        network: Any,
        *,
        task: "Task",
        recipe: "Recipe",
        scaler: "GradScaler",
        class_weights: "Tensor | None",
    ) -> None:
        self._network = network
        self._trained = [p for p in network.parameters() if p.requires_grad]
        self._compute = partial(
            accumulate_gradients,
            network,
            task=task,
            recipe=recipe,
            scaler=scaler,
            class_weights=class_weights,
        )
        self._whole = batch_length(recipe, recipe.batch_size)
        self._stream = torch.cuda.Stream()
        self._eager_steps: dict[Any, int] = {}
        self._graphs: dict[Any, _Captured] = {}

    def __call__(self, tiles: "Tensor", *, targets: "Tensor", weight: float, size: int) -> "Tensor":
        """Set the parameters' gradients, of which there must be none, to those of a batch.

        For arguments and result see `accumulate_gradients`.
        """
        if len(tiles) < self._whole:  # the last batch of an epoch
            return self._compute(tiles, targets=targets, weight=weight, size=size)
        key = (tiles.shape, size, self._network.frozen_layers, self._network.merging)
        steps = self._eager_steps[key] = self._eager_steps.get(key, 0) + 1
        if steps <= EAGER_STEPS:
            return self._eager(tiles, targets=targets, weight=weight, size=size)
        if key not in self._graphs:
            self._graphs[key] = self._capture(tiles, targets=targets, weight=weight, size=size)
        captured = self._graphs[key]
        captured.tiles.copy_(tiles)
        captured.targets.copy_(targets)
        captured.graph.replay()
        for parameter, gradient in captured.gradients:
            parameter.grad = gradient
        return captured.sums.clone()

    def _eager(self, tiles: "Tensor", **arguments: Any) -> "Tensor":
        """Compute without a graph, on the stream of the captures, whose workspaces are then allocated."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            sums = self._compute(tiles, **arguments)
        torch.cuda.current_stream().wait_stream(self._stream)
        return sums

    def _capture(self, tiles: "Tensor", *, targets: "Tensor", weight: float, size: int) -> _Captured:
        own_tiles, own_targets = tiles.clone(), targets.clone()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            sums = self._compute(own_tiles, targets=own_targets, weight=weight, size=size)
        gradients = [(p, p.grad) for p in self._trained if p.grad is not None]
        return _Captured(graph, own_tiles, own_targets, sums=sums, gradients=gradients)


def gradient_function(
    replica: "nn.Module",
    recipe: "Recipe",
    *,
    task: "Task",
    device: torch.device,
    scaler: "GradScaler",
    class_weights: "np.ndarray | None",
    changes: bool,
) -> "Callable[..., Tensor]":
    """Return what adds a batch's gradients: `accumulate_gradients`, on a GPU as a graph where one serves.

    Args:
        replica: the network, or what averages its gradients over the processes.
        recipe: see `accumulate_gradients`, as for `task` and `scaler`.
        device: of the network.
        class_weights: weights of the classes in the loss, float32 (C,); None for equal ones.
        changes: whether the method changes between steps what is computed.
    """
    weights = None if class_weights is None else torch.from_numpy(class_weights).to(device)
    # A capture must not read the state of the random generator, as recomputed layers do, or the memory of the
    # processor, as layers of transformers and PEFT may.
    captures = device.type == "cuda" and not (changes or recipe.checkpointing)
    layers = getattr(getattr(replica, "plan", None), "layers", ())  # of the fast path, in one process
    if captures and layers and all("peft" not in layer.linear.values() for layer in layers):
        return GradientGraph(replica, task=task, recipe=recipe, scaler=scaler, class_weights=weights)
    return partial(
        accumulate_gradients, replica, task=task, recipe=recipe, scaler=scaler, class_weights=weights
    )
