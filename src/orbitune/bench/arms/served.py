"""What the arms of prediction share: batches of test tiles from the store, one after the other."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from orbitune.errors import OrbituneError
from orbitune.exporting.export_report import ExportReport
from orbitune.exporting.formats import FORMATS
from orbitune.training.setup import TrainingSetup


def batches(job: TrainingSetup) -> Iterator[np.ndarray]:
    """uint8 (B, H, W, 3), round the test split without an end."""
    indices, size = job.splits["test"], job.recipe.batch_size
    start = 0
    while True:
        yield job.tiles.read(np.take(indices, range(start, start + size), mode="wrap"))
        start = (start + size) % len(indices)


def tasks_of(count: int, images: int) -> list[str]:
    """The task of each image of a batch, each task in turn."""
    return [f"task {number % count}" for number in range(images)]


def exported(run: str, form: str, merge_tokens: str = "") -> Path:
    """Where an export of the run lies.

    Args:
        merge_tokens: the blocks after which it is to merge tokens, such as 3,6.

    Raises:
        OrbituneError: it has not been made, or merges tokens otherwise.
    """
    folder = Path(run) / "export"
    path, how = folder / FORMATS[form].path, f"orbitune export {run} --to {form}"
    if merge_tokens:
        how += f" --merge-tokens {merge_tokens}"
    report = ExportReport.load(folder) if path.exists() else None
    if report is None or form not in report.formats:
        raise OrbituneError(f"{run} has no validated {path.name}: make it with {how}.")
    found = ",".join(map(str, report.formats[form].merge_tokens))
    if found != merge_tokens:
        raise OrbituneError(
            f"{path} merges tokens after {found or 'no blocks'}, the suite says {merge_tokens or 'none'}: "
            f"make it with {how}."
        )
    return path
