"""The labelled tiles of new data, in the classes of a model."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from orbitune.data.bad_files import BadFiles
from orbitune.data.labels.membership import absent_classes, membership
from orbitune.errors import DataError, counted, first_names, printable
from orbitune.evaluation.tasks.task import Task
from orbitune.inference.image_inputs import Bands, ImageInput, decode
from orbitune.sources.labels.label_sets import is_divided
from orbitune.sources.manifest import Manifest
from orbitune.sources.registry import Source


@dataclass(frozen=True)
class LabelledTiles:
    """Files of a data set with labels in the classes of a model.

    Attributes:
        manifest: of the whole data set.
        rows: the files to read, int64 (N,), of the manifest.
        labels: their classes in the model, int64 (N,); or uint8 (N, C) where it gives a tile several labels.
        absent: classes of the model that no file has.
    """

    manifest: Manifest
    rows: np.ndarray
    labels: np.ndarray
    absent: tuple[str, ...]

    def image(self, place: int) -> ImageInput:
        """Return the file at a position among the rows."""
        row = int(self.rows[place])
        return ImageInput(str(self.manifest.names[row]), partial(_read, self.manifest, row))


def _read(manifest: Manifest, row: int, bands: Bands) -> np.ndarray:
    """Return the pixels of a file."""
    return decode(manifest.read(row), bands)


@contextmanager
def open_labelled(
    source: Source, classes: Sequence[str], *, task: Task, split: str | None, bad: BadFiles
) -> Iterator[LabelledTiles]:
    """Open the files of a data set; they can be read until the context ends.

    Args:
        source: the data set.
        classes: of the model, in the order of its logits.
        task: of the model.
        split: the split of the data to read; None for all files.
        bad: receives the files without a label.

    Raises:
        DataError: the data has a class that the model does not know, several labels a tile where the model
            gives one, lacks the split, or has no file.
    """
    with TemporaryDirectory() as scratch, source.open(Path(scratch)) as manifest:
        bad.add_all(manifest.unlabelled)
        rows = _rows_of(manifest, split)
        stated = membership(manifest.labels[rows], len(manifest.classes))
        if task.name == "single-label":
            _check_single(manifest, rows, stated, classes=classes)
        _check_classes(manifest, stated, classes=classes)
        members = np.zeros((len(rows), len(classes)), np.uint8)
        for label in np.flatnonzero(stated.any(0)).tolist():
            members[:, classes.index(manifest.classes[label])] = stated[:, label]
        labels = members.argmax(1) if task.name == "single-label" else members
        yield LabelledTiles(manifest, rows, labels, tuple(absent_classes(members, classes)))


def _rows_of(manifest: Manifest, split: str | None) -> np.ndarray:
    """Return the files of a split, or all."""
    if split is None:
        rows = np.arange(len(manifest.names))
    elif split in manifest.own_splits:
        rows = np.sort(manifest.own_splits[split])
    else:
        own = ", ".join(manifest.own_splits) or "none"
        raise DataError(f"The data has no {split} split of its own (it has {own}): leave out --split.")
    if not len(rows):
        raise DataError("The data has no labelled tile.")
    return rows


def _check_single(
    manifest: Manifest, rows: np.ndarray, members: np.ndarray, *, classes: Sequence[str]
) -> None:
    """Check that each of some files has one label, bool (N, classes of the data).

    Text is read undivided, as a class of the model may be named "Sand; bare".
    """
    divided = [name not in classes and is_divided(name) for name in manifest.classes]
    others = (members.sum(1) != 1) | members[:, divided].any(1)
    if others.any():
        raise DataError(
            f"The model gives a tile one label, and {int(others.sum()):,} of {len(members):,} tiles of the "
            f"data have several or none, such as {printable(manifest.names[rows[others.argmax()]])}."
        )


def _check_classes(manifest: Manifest, members: np.ndarray, *, classes: Sequence[str]) -> None:
    """Check that the model knows the classes of the files, bool (N, classes of the data)."""
    found = zip(manifest.classes, members.sum(0).tolist(), strict=True)
    counts = {name: count for name, count in found if count}
    unknown = {name: count for name, count in counts.items() if name not in classes}
    if unknown:
        named = first_names([f"{name} ({counted(count, 'tile')})" for name, count in unknown.items()])
        raise DataError(
            f"The model does not know {len(unknown)} of the {counted(len(counts), 'class')} of the data: "
            f"{named}. Rename or leave them out; it knows {first_names(classes)}."
        )
