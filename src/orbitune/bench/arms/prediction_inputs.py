"""Shared inputs of the prediction arms: batches of test tiles and exported files."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from orbitune.errors import OrbituneError
from orbitune.exporting.export_report import ExportReport
from orbitune.exporting.formats import FORMATS
from orbitune.training.setup import TrainingSetup


def batches(setup: TrainingSetup) -> Iterator[np.ndarray]:
    """Yield uint8 batches (B, H, W, 3) of the test split without end."""
    indices, size = setup.splits["test"], setup.recipe.batch_size
    start = 0
    while True:
        yield setup.tiles.read(np.take(indices, range(start, start + size), mode="wrap"))
        start = (start + size) % len(indices)


def assign_tasks(count: int, images: int) -> list[str]:
    """Return the task of each image of a batch, in rotation."""
    return [f"task {number % count}" for number in range(images)]


def find_export(run: str, form: str, *, folder: str = "export", merge_tokens: str = "") -> Path:
    """Return the path of an export of a run.

    Args:
        run: the run's folder.
        form: name of the export format.
        folder: folder of the exports, below the run's.
        merge_tokens: blocks after which it must merge tokens, such as 3,6.

    Raises:
        OrbituneError: it does not exist, or merges tokens after other blocks.
    """
    place = Path(run) / folder
    path, how = place / FORMATS[form].path, f"orbitune export {run} --to {form}"
    if merge_tokens:
        how += f" --merge-tokens {merge_tokens}"
    if folder != "export":
        how += f" --out {place}"
    report = ExportReport.load(place) if path.exists() else None
    if report is None or form not in report.formats:
        raise OrbituneError(f"{run} has no validated {path.name}: make it with {how}.")
    found = ",".join(map(str, report.formats[form].merge_tokens))
    if found != merge_tokens:
        raise OrbituneError(
            f"{path} merges tokens after {found or 'no blocks'}, the suite says {merge_tokens or 'none'}: "
            f"make it with {how}."
        )
    return path
