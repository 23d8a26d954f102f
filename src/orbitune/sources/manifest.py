"""The manifest of a data set: file names, labels and a reader."""

import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from orbitune.sources.decode import BadImageError

SPLIT_NAMES = {  # spellings in data sets -> names of the three splits
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
    """The configuration and columns to read from a data set that has several.

    Attributes:
        config: name of the configuration (subset on the hub); None if there is only one.
        label_column: column with the labels; None for the usual one.
        image_column: column with the images or their file names; None for the usual one.
        undivided: read text such as "Sand; bare" as one label, not as several.
        group_column: column that names the scene or the like of a tile, which is no class.
    """

    config: str | None = None
    label_column: str | None = None
    image_column: str | None = None
    undivided: bool = False
    group_column: str | None = None

    def chosen(self) -> dict[str, str | None]:
        """Return the configuration and the columns by name, None for those that are not chosen."""
        names = ("config", "label_column", "image_column")
        return {name: getattr(self, name) for name in names}


NOTHING_SELECTED = ColumnSelection()


@dataclass(frozen=True)
class Manifest:
    """The N labelled files of a data set.

    Attributes:
        names: file names, relative to the data set, with folders.
        labels: int64 (N,), indices into `classes`; with several labels a tile, uint8 (N, classes) of 0 and 1.
        classes: class names.
        own_splits: indices of the splits that the data set defines, int64 by "train", "validation" or "test";
            empty if it defines none.
        unlabelled: (name, reason) of files without a label, and of labels without a file.
        notes: remarks for the user on how the files were read.
        read: returns the bytes of file i; safe to call from threads; raises BadImageError.
    """

    names: Sequence[str]
    labels: np.ndarray
    classes: tuple[str, ...]
    own_splits: dict[str, np.ndarray]
    unlabelled: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    read: Callable[[int], bytes]


class ReadColumn(Protocol):
    """The function of a source format that reads a column of its tables."""

    def __call__(self, path: Path, column: str, /, *, selection: ColumnSelection) -> list[tuple[str, Any]]:
        """Return the name of each tile with its value.

        Args:
            path: the folder or file.
            column: name of the column.
            selection: the configuration and columns to read.

        Raises:
            DataError: there is no such column, or a table is damaged.
        """


# Files and folders of operating systems, network drives and archivers, in lower case. Names that start with a
# dot (.DS_Store, .Trashes, .ipynb_checkpoints, ._tile.png) are hidden as well.
_SYSTEM_NAMES = {"__macosx", "__pycache__", "lost+found", "found.000", "system volume information"}
_SYSTEM_NAMES |= {"$recycle.bin", "recycler", "#recycle", "#snapshot", "@recycle", "@recently-snapshot"}
_SYSTEM_NAMES |= {"@eadir", "@tmp", "@sharebin", "network trash folder", "temporary items"}
_SYSTEM_NAMES |= {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}
_SYSTEM_SUFFIXES = ("@synoeastream", "@synoresource", ":zone.identifier")


def is_hidden(part: str) -> bool:
    """Return whether a file name is hidden or a system's, such as Thumbs.db."""
    name = part.lower()
    return part.startswith(".") or name in _SYSTEM_NAMES or name.endswith(_SYSTEM_SUFFIXES)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading.

    Raises:
        BadImageError: it is a folder, a broken link, or a pipe or device that would block.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise BadImageError("is a link to nothing") from None
    if not stat.S_ISREG(mode):
        raise BadImageError("is a folder, not an image" if stat.S_ISDIR(mode) else "is no regular file")
    return path.open("rb")
