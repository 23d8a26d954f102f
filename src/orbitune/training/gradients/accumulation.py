"""Gradients of a batch, in micro-batches and over several processes."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor
    from torch.amp import GradScaler

    from orbitune.evaluation.tasks.task import Task
    from orbitune.recipe import Recipe


def accumulate_gradients(
    replica: Any,
    tiles: "Tensor",
    *,
    targets: "Tensor",
    task: "Task",
    recipe: "Recipe",
    scaler: "GradScaler",
    weight: float,
    size: int,
    class_weights: "Tensor | None" = None,
) -> "Tensor":
    """Add the gradients of `weight` times the summed loss, one micro-batch at a time.

    Args:
        replica: the network, or what averages its gradients over the processes.
        tiles: uint8 (B, H, W, 3).
        targets: class probabilities (B, C).
        task: gives the loss.
        recipe: for the micro-batch size, and settings of the loss.
        scaler: of the loss.
        weight: of the loss; 0 where this process has no part of the batch.
        size: side of the input in pixels.
        class_weights: as `Task.class_weights` returns them; None for equal ones.

    Returns:
        float32 (2,), on the device: the summed loss and the number of correct tiles.
    """
    import torch

    loss_sum, correct = torch.zeros((), device=tiles.device), torch.zeros((), device=tiles.device)
    parts = list(zip(*(t.split(recipe.micro_batch) for t in (tiles, targets)), strict=True))
    for number, (part, truth) in enumerate(parts, 1):
        # Processes exchange their gradients once, with the last micro-batch.
        waits = number < len(parts) and hasattr(replica, "no_sync")
        with replica.no_sync() if waits else nullcontext():
            logits = replica(part, size)
            loss = task.loss(logits, truth, recipe=recipe, class_weights=class_weights)
            scaler.scale(loss * weight).backward()
        loss_sum += loss.detach()
        correct += task.count_correct(logits.detach(), truth)
    return torch.stack([loss_sum, correct])


def sum_over_processes(accelerator: "Accelerator", values: Sequence[float]) -> list[float]:
    """Return each value summed over the processes."""
    import torch

    if accelerator.num_processes == 1:
        return list(values)
    tensor = torch.tensor(values, dtype=torch.float64, device=accelerator.device)
    return accelerator.reduce(tensor, "sum").tolist()
