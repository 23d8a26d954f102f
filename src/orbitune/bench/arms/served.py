"""What the arms of prediction share: batches of test tiles from the store, one after the other."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from orbitune.deploy.export import EXPORTS
from orbitune.errors import OrbituneError
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


def exported(run: str, form: str) -> Path:
    """Where an export of the run lies.

    Raises:
        OrbituneError: it has not been made.
    """
    path = Path(run) / "export" / EXPORTS[form].path
    if not path.exists():
        raise OrbituneError(f"{run} has no {path.name}: make it with orbitune export {run} --to {form}.")
    return path
