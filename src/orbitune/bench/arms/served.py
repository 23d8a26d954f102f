"""What the arms of prediction share: batches of test tiles from the store, one after the other."""

from collections.abc import Iterator

import numpy as np

from orbitune.training.job import Job


def batches(job: Job) -> Iterator[np.ndarray]:
    """uint8 (B, H, W, 3), round the test split without an end."""
    indices, size = job.splits["test"], job.recipe.batch_size
    start = 0
    while True:
        yield job.tiles.read(np.take(indices, range(start, start + size), mode="wrap"))
        start = (start + size) % len(indices)


def tasks_of(count: int, images: int) -> list[str]:
    """The task of each image of a batch, each task in turn."""
    return [f"task {number % count}" for number in range(images)]
