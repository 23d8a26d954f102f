"""What a source holds before anything is decoded, and the few things all kinds of source share."""

import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from orbitune.sources.decode import BadImageError

SPLIT_NAMES = {  # how data sets spell the three splits
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class ColumnSelection:
    """What is taken of a data set that offers several; None for what there is only one of.

    Attributes:
        config: name of one of its configurations (subsets on the hub).
        label_column: the column with the labels.
        image_column: the column with the images, or with their file names.
    """

    config: str | None = None
    label_column: str | None = None
    image_column: str | None = None


NOTHING_SELECTED = ColumnSelection()


@dataclass(frozen=True)
class Manifest:
    """What a source holds, before anything is decoded.

    Attributes:
        names: of each file, relative to the data, folders included.
        labels: int64 (N,), indices into `classes`.
        classes: class names.
        own_splits: the data's own splits, {} if none; int64 indices by train, validation or test.
        unlabelled: (name, reason) of files that cannot be tiles, as they have no label.
        notes: what was done that a user must know.
        read: the bytes of file i, safe to call from threads; raises BadImageError.
    """

    names: Sequence[str]
    labels: np.ndarray
    classes: tuple[str, ...]
    own_splits: dict[str, np.ndarray]
    unlabelled: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    read: Callable[[int], bytes]


# What systems, network drives and archivers leave in folders, in small letters; names that start with a dot
# (.DS_Store, .Trashes, .ipynb_checkpoints, ._tile.png) are hidden anyway.
_SYSTEM_NAMES = {"__macosx", "__pycache__", "lost+found", "found.000", "system volume information"}
_SYSTEM_NAMES |= {"$recycle.bin", "recycler", "#recycle", "#snapshot", "@recycle", "@recently-snapshot"}
_SYSTEM_NAMES |= {"@eadir", "@tmp", "@sharebin", "network trash folder", "temporary items"}
_SYSTEM_NAMES |= {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}
_SYSTEM_ENDS = ("@synoeastream", "@synoresource", ":zone.identifier")


def is_hidden(part: str) -> bool:
    """Return whether one part of a path is the system's own and no data, such as @eaDir or Thumbs.db."""
    small = part.lower()
    return part.startswith(".") or small in _SYSTEM_NAMES or small.endswith(_SYSTEM_ENDS)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file to read; anything else (a folder, a pipe that would block) is a BadImageError."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise BadImageError("is a link to nothing") from None
    if not stat.S_ISREG(mode):
        raise BadImageError("is a folder, not an image" if stat.S_ISDIR(mode) else "is no regular file")
    return path.open("rb")
