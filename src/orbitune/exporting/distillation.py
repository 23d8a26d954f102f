"""Distillation with merged tokens (Hinton et al. 2015, arXiv:1503.02531).

The blocks above the first merge, and the head, are tuned on training tiles under random flips and rotations.
The targets are the trained model's probabilities, not the labels, so its calibration is kept.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from orbitune.data.augment import random_dihedral
from orbitune.data.transform import to_tensor
from orbitune.evaluation.network import fast_network
from orbitune.models.families.family import Family, body_of, last_norm_of
from orbitune.progress import ProgressDisplay
from orbitune.training.setup import TrainingSetup

EPOCHS = 3
_BATCH = 64
LEARNING_RATE = 2e-4
_WARMUP = 0.1  # fraction of the steps
_TEMPERATURE = 2.0  # softens the targets


def distil(
    setup: TrainingSetup,
    *,
    teacher: nn.Module,
    student: nn.Module,
    merge_after: Sequence[int],
    progress: bool,
) -> dict[str, Tensor]:
    """Train a student with merged tokens to match its teacher with all tokens.

    Args:
        setup: tiles, transform, backbone and precision of the run.
        teacher, student: two copies of the same transformers classifier in fp32; both are modified.
        merge_after: blocks, counted from 1, after which half of the patch tokens are merged.
        progress: whether to show a progress bar.

    Returns:
        The tuned tensors of the student, float32, by their names in its state dict.
    """
    trained = _unfreeze(student, setup.backbone.family, first=merge_after[0])
    dtype = torch.float32 if setup.recipe.precision in ("fp32", "tf32") else torch.bfloat16
    family, transform = setup.backbone.family, setup.transform
    teaching, learning = (
        fast_network(model, family, transform=transform, dtype=dtype, merge_after=blocks)
        for model, blocks in ((teacher.requires_grad_(False), ()), (student, merge_after))
    )
    optimizer = torch.optim.AdamW(trained.values(), LEARNING_RATE, weight_decay=0.0)
    batches = _batches(setup.splits["train"])
    with (
        torch.random.fork_rng(),
        ProgressDisplay(progress) as display,
        display.task("tuning to merged tokens", len(batches)) as task,
    ):
        torch.manual_seed(0)
        for number, indices in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * _learning_rate_factor(number, len(batches))
            tiles = random_dihedral(to_tensor(setup.tiles.read(np.sort(indices))))
            with torch.no_grad():
                wanted = teaching(tiles)
            optimizer.zero_grad()
            loss = setup.task.divergence(learning(tiles) / _TEMPERATURE, wanted / _TEMPERATURE)
            (loss * _TEMPERATURE**2).backward()
            optimizer.step()
            task.advance()
    return {name: parameter.detach() for name, parameter in trained.items()}


def _unfreeze(model: nn.Module, family: Family, *, first: int) -> dict[str, nn.Parameter]:
    """Make the parameters above a block trainable, and return them by name."""
    model.requires_grad_(False)
    layers = body_of(model, family).get_submodule(family.layers)
    for module in (*layers[first:], last_norm_of(model, family)):
        module.requires_grad_()
    for name, module in model.named_children():
        if name != family.body:
            module.requires_grad_()
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _batches(indices: np.ndarray) -> list[np.ndarray]:
    """Return the shuffled batches of all epochs."""
    random = np.random.default_rng(0)
    count = max(1, len(indices) // _BATCH)
    return [part for _ in range(EPOCHS) for part in np.array_split(random.permutation(indices), count)]


def _learning_rate_factor(step: int, steps: int) -> float:
    """Return the factor of linear warm-up and cosine decay, 0..1."""
    warmup = min(1.0, (step + 1) / (_WARMUP * steps))
    return warmup * (1 + math.cos(math.pi * step / steps)) / 2
