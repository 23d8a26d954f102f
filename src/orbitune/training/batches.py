"""Batches of a step, as functions of recipe and step."""

from typing import TYPE_CHECKING

import numpy as np

from orbitune.data.augment import mixup
from orbitune.data.loader import TileLoader
from orbitune.recipe import Recipe
from orbitune.training.class_balance import draw_balanced
from orbitune.training.setup import TrainingSetup

if TYPE_CHECKING:
    from torch import Tensor

    from orbitune.fastpath.activation_cache import ActivationLoader

TILES_PER_VIEW = 4  # one second view, with other radiometry, for every four tiles of a batch


def batch_indices(setup: TrainingSetup, step: int) -> np.ndarray:
    """Return the tile indices of a step, int64, at most `batch_size`."""
    epoch, position = divmod(step, setup.steps_per_epoch)
    number, place = divmod(position, setup.steps_per_pass)
    size = setup.recipe.batch_size
    return pass_order(setup, epoch, number=number)[place * size : (place + 1) * size]


def batch_length(recipe: Recipe, count: int) -> int:
    """Return the length of a batch of `count` tiles with the sensor views."""
    return count + (-(-count // TILES_PER_VIEW) if recipe.augment == "sensor" else 0)


def load_batch(
    setup: TrainingSetup, indices: np.ndarray, *, loader: "TileLoader | ActivationLoader"
) -> "tuple[Tensor, Tensor]":
    """Return the augmented tiles of a batch and their targets.

    Args:
        setup: training setup.
        indices: tiles of the batch, int (N,).
        loader: of its tiles, or of cached activations.

    Returns:
        As many tiles as `batch_length` says, and class probabilities, float32 (B, C).
    """
    import torch

    recipe = setup.recipe
    assert recipe.augment
    tiles = loader.augmented(indices, recipe.augment)
    targets = setup.task.targets(loader.labels(indices), len(setup.tiles.classes))
    if views := batch_length(recipe, len(indices)) - len(indices):
        tiles = torch.cat([tiles, setup.sensor_augmentation(tiles[:views])])
        targets = torch.cat([targets, targets[:views]])
    return mixup(tiles, targets, alpha=recipe.mixup) if recipe.mixup else (tiles, targets)


def pass_order(setup: TrainingSetup, epoch: int, *, number: int) -> np.ndarray:
    """Return the training tiles of the `number`-th pass of an epoch, in their order.

    Args:
        setup: training setup.
        epoch: epoch, from 0.
        number: pass of the epoch, from 0.

    Returns:
        int64 (N,): a permutation of the training tiles, or a draw of as many from all classes alike.
    """
    generator = np.random.default_rng([setup.recipe.seed, 0, epoch])
    train = setup.splits["train"]
    if setup.recipe.sampling == "balanced":
        members = setup.tiles.membership[train]
        orders = [draw_balanced(train, members, generator=generator) for _ in range(number + 1)]
    else:
        orders = [generator.permutation(train) for _ in range(number + 1)]
    return orders[number]


def step_seed(seed: int, step: int, *, rank: int = 0) -> int:
    """Return the seed of a step's augmentation and dropout in one process."""
    numbers = (seed, 1, step, rank) if rank else (seed, 1, step)
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
