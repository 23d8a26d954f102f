"""Places of files and folders to write, checked before the work that a failure would lose."""

import os
import tempfile
from pathlib import Path

from orbitune.errors import DataError, printable

# Bytes: file systems take 255, and GDAL and unfinished maps add up to eight to the names of files beside.
_LONGEST_NAME = 255 - len(".aux.xml")


def check_place(path: Path) -> None:
    """Check that a file or folder of this name can be made.

    Raises:
        DataError: it cannot.
    """
    check_name(path)
    check_parent(path)


def check_name(path: Path) -> None:
    """Check that the name of a file or folder leaves room for those of temporary files, and can be printed.

    Raises:
        DataError: it is too long, or has a line break or the like, with which GeoPackages cannot be written.
    """
    if printable(path.name) != path.name:
        raise DataError(
            f"Cannot write {printable(str(path))}: choose a name without a line break and the like."
        )
    if (size := len(os.fsencode(path.name))) > _LONGEST_NAME:
        raise DataError(
            f"Cannot write {path}: its name has {size} bytes; choose one of at most {_LONGEST_NAME}."
        )


def check_parent(path: Path) -> None:
    """Check that the folder of a file or folder can be made and written to.

    Raises:
        DataError: it cannot.
    """
    folder = next(each for each in path.absolute().parents if each.exists())
    if not folder.is_dir():
        raise DataError(f"Cannot write {path}: {folder} is a file, not a folder.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DataError(f"Cannot write {path}: the folder {folder} is not writable.")
    try:
        with tempfile.TemporaryDirectory(prefix=".", dir=folder):
            pass  # a full disk, and file systems such as /proc, take no folder in spite of their modes
    except OSError as error:
        raise DataError(f"Cannot write {path}: {folder} takes no files ({error.strerror}).") from None
