"""Where tiles come from: a folder or zip of images, a list of them, a parquet data set, or any on the hub.

A source is found by what is there, not by a flag, and gives a `Manifest`: names, labels and a way to read
each file's bytes. A new kind of source is one entry in `KINDS`.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

from orbitune.errors import DataError, OrbituneError, printable
from orbitune.hub import looks_like_path, snapshot
from orbitune.integrity import file_hash
from orbitune.sources.decode import BadImageError
from orbitune.sources.image_folder import LISTS, is_side_file, list_files, open_folder, open_zip
from orbitune.sources.label_table import (
    METADATA,
    has_metadata,
    listed_files,
    metadata_and_images,
    open_list,
    open_metadata_folder,
    open_metadata_zip,
    zip_has_metadata,
)
from orbitune.sources.manifest import NOTHING_SELECTED, ColumnSelection, Manifest, is_hidden, open_regular
from orbitune.sources.parquet import open_parquet, parquet_files

_HUB_FILES = ["*.parquet", "*.zip", "README.md", "*.[jJ][pP]*[gG]", "*.[pP][nN][gG]", "*.[tT][iI][fF]*"]
_HUB_FILES += ["*.webp", "*.bmp", "*.gif", "splits/*.txt", *(f"*{name}" for name in METADATA)]


@dataclass(frozen=True)
class Kind:
    """One kind of source.

    Attributes:
        words: its name for people.
        matches: whether a path is one; the first kind in `KINDS` that matches is taken.
        files: the files, relative to the path, that together are its content; of a list of tiles, relative to
            the list's folder.
        open: gives its listing; the folder may hold working copies until the block ends.
        selects: the fields of a `ColumnSelection` that it knows.
    """

    words: str
    matches: Callable[[Path], bool]
    files: Callable[[Path, ColumnSelection], Sequence[str]]
    open: Callable[[Path, Path, ColumnSelection], AbstractContextManager[Manifest]]
    selects: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """A source that was found: what kind, where, its name in words, and what is taken of it."""

    kind: Kind
    path: Path
    words: str
    selection: ColumnSelection = NOTHING_SELECTED

    def digest(self) -> str:
        """Return the SHA-256 (hex) of all files' names and content, and of the selection.

        It is the same wherever a copy lies.
        """
        files = sorted(self.kind.files(self.path, self.selection))
        root = self.path.parent if _is_list(self.path) else self.path
        with ThreadPoolExecutor() as pool:
            digests = pool.map(lambda name: _hash_file(root / name, name), files)
            parts: list[object] = [self.kind.words, *zip(files, digests, strict=True)]
        if self.selection != NOTHING_SELECTED:
            parts.append(asdict(self.selection))
        text = json.dumps(parts)
        return hashlib.sha256(text.encode()).hexdigest()

    def open(self, scratch: Path) -> AbstractContextManager[Manifest]:
        """Open the listing; `scratch` is a folder for working copies, which are removed at the end."""
        return self.kind.open(self.path, scratch, self.selection)


def find_source(data: str, selection: ColumnSelection | None = None) -> Source:
    """Find what `data` names: a folder, a zip, a list, or a hub id (downloaded, or in the hub's cache).

    Raises:
        DataError: nothing is there, nothing that can be read as tiles, or it lacks the selected part.
    """
    selection = selection or NOTHING_SELECTED
    path, words = _expanded(data), ""
    if "/" in data and not looks_like_path(data):
        path, words = _download(data), f"hub data set {data}: "
    if not os.path.exists(path):  # noqa: PTH110  # pathlib's raises for a name that is too long
        raise DataError(
            f"There is no folder or zip {printable(data)}: check the path (a hub id looks like owner/name)."
        )
    path = _only_zip(path) or path
    for kind in KINDS:
        if kind.matches(path):
            _check_selection(kind, selection)
            return Source(kind, path, words + kind.words, selection)
    raise DataError(
        f"{printable(data)} is neither a folder nor a zip, nor a list (.csv, .tsv, .jsonl) of tiles: pass "
        "one of these as --data."
    )


def _expanded(data: str) -> Path:
    try:
        return Path(data).expanduser()
    except RuntimeError:
        raise DataError(
            f"There is no folder {printable(data)}, as no user has this name: check the path."
        ) from None


def _check_selection(kind: Kind, selection: ColumnSelection) -> None:
    """Raise a DataError for a selection that this kind of source would ignore."""
    for name, value in asdict(selection).items():
        if value is not None and name not in kind.selects:
            option = "data-config" if name == "config" else name.replace("_", "-")
            what = "configurations" if name == "config" else "columns"
            raise DataError(f"A {kind.words} has no {what} to choose from: leave out --{option}.")


def _is_list(path: Path) -> bool:
    return path.suffix.lower() in LISTS and path.is_file()


def _download(name: str) -> Path:
    try:
        return snapshot(name, "dataset", _HUB_FILES)
    except OrbituneError as error:
        raise DataError(f"There is no folder {name}. {error}") from None


def _only_zip(folder: Path) -> Path | None:
    """The zip which is all that a folder holds, as on the hub."""
    if not folder.is_dir():
        return None
    try:
        entries = [e for e in folder.iterdir() if not is_hidden(e.name) and not is_side_file(e.name)]
    except OSError as error:
        raise DataError(f"The folder {folder.name} cannot be read: {error.strerror}.") from None
    return entries[0] if len(entries) == 1 and entries[0].suffix.lower() == ".zip" else None


def _hash_file(path: Path, name: str) -> str:
    if name.endswith("/"):  # an empty folder
        return ""
    try:
        return file_hash(path, opened=open_regular)
    except BadImageError as error:
        return str(error)
    except OSError as error:
        return f"unreadable: {error.strerror}"


_COLUMNS = ("label_column", "image_column")

KINDS = (
    Kind(
        "parquet data set",
        lambda path: path.is_dir() and bool(parquet_files(path)),
        lambda path, _: parquet_files(path),
        open_parquet,
        ("config", *_COLUMNS),
    ),
    Kind(
        "folder of images with metadata",
        has_metadata,
        lambda path, _: metadata_and_images(path),
        open_metadata_folder,
        _COLUMNS,
    ),
    Kind("folder of class folders", Path.is_dir, lambda path, _: list(list_files(path)), open_folder),
    Kind("zip of images with metadata", zip_has_metadata, lambda path, _: [""], open_metadata_zip, _COLUMNS),
    Kind("zip of class folders", lambda path: path.suffix.lower() == ".zip", lambda path, _: [""], open_zip),
    Kind("list of tiles", _is_list, listed_files, open_list, _COLUMNS),
)
