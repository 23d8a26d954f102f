"""Order of training tiles and seeds of a step, functions of recipe and step."""

import numpy as np

from orbitune.training.setup import TrainingSetup


def batch_indices(setup: TrainingSetup, step: int) -> np.ndarray:
    """Return the tile indices of a step, int64, at most `batch_size`."""
    epoch, position = divmod(step, setup.steps_per_epoch)
    number, place = divmod(position, setup.steps_per_pass)
    size = setup.recipe.batch_size
    return pass_order(setup, epoch, number=number)[place * size : (place + 1) * size]


def pass_order(setup: TrainingSetup, epoch: int, *, number: int) -> np.ndarray:
    """Return the training indices in the order of the `number`-th pass, from 0.

    Args:
        setup: training setup.
        epoch: epoch, from 0.
        number: pass of the epoch, from 0.

    Returns:
        Permutation of the training tiles, int64.
    """
    generator = np.random.default_rng([setup.recipe.seed, 0, epoch])
    orders = [generator.permutation(setup.splits["train"]) for _ in range(number + 1)]
    return orders[number]


def step_seed(seed: int, step: int, *, rank: int = 0) -> int:
    """Return the seed of a step's augmentation and dropout in one process."""
    numbers = (seed, 1, step, rank) if rank else (seed, 1, step)
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
