"""Checks that training works: gradients, losses and outputs."""

from typing import TYPE_CHECKING

import numpy as np

from orbitune.errors import DivergedError, RunError

if TYPE_CHECKING:
    from torch import nn

LARGEST_LOSS = 1e4  # nats per tile; chance is ln(classes), and no run has recovered from a loss this high


def check_gradients(model: "nn.Module") -> None:
    """Check after the first backward pass that trainable tensors have gradients.

    Raises:
        RunError: one did not; it would stay as it is, and be saved as if it were trained.
    """
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    if without:
        raise RunError(
            f"{len(without)} trainable tensors received no gradient, such as {without[0]}; the method does "
            f"not fit this backbone."
        )


def check_loss(loss: float, step: int) -> None:
    """Check that a step's mean loss is finite and at most `LARGEST_LOSS`.

    Raises:
        DivergedError: it is not.
    """
    if not loss <= LARGEST_LOSS:
        reached = f"{loss:.3g}" if np.isfinite(loss) else "not finite"
        raise DivergedError(
            f"Training diverged: the loss of step {step} is {reached}. Lower --learning-rate."
        )


def check_outputs(logits: np.ndarray) -> None:
    """Check that a model's logits are finite.

    Raises:
        DivergedError: one is not.
    """
    if not np.isfinite(logits).all():
        raise DivergedError("Training diverged: the model's outputs are not finite. Lower --learning-rate.")
