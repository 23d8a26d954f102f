"""Places of files and folders to write, checked before the work that a failure would lose."""

import os
import tempfile
from pathlib import Path

from orbitune.errors import DataError, OrbituneError
from orbitune.suggestions import taken

# Bytes: file systems take 255, and GDAL and unfinished maps add up to eight to the names of files beside.
_LONGEST_NAME = 255 - len(".aux.xml")


def check_new_folder(path: Path) -> None:
    """Check that a folder can be made, and replaces nothing.

    Raises:
        OrbituneError: it exists, or cannot be made.
    """
    check_name(path)
    if path.exists():
        raise OrbituneError(taken(path))
    check_parent(path)


def check_name(path: Path) -> None:
    """Check that the name of a file or folder leaves room for those of temporary files.

    Raises:
        DataError: it is too long.
    """
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
