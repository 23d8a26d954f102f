"""Where tiles come from: a folder or zip of class folders, a parquet data set, or either of them on the hub.

A source is found by what is there, not by a flag, and gives a `Listing`: names, labels and a way to read
each file's bytes. A new kind of source is one entry in `KINDS`.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from orbitune.data.class_folders import leaves_of, open_folder, open_zip, side_file
from orbitune.data.decode import BadImageError
from orbitune.data.listing import Listing, hidden, open_regular
from orbitune.data.parquet import open_parquet, parquet_files
from orbitune.errors import DataError, OrbituneError
from orbitune.hub import looks_like_path, snapshot

_HUB_FILES = ["*.parquet", "*.zip", "README.md", "*.[jJ][pP]*[gG]", "*.[pP][nN][gG]", "*.[tT][iI][fF]*"]
_HUB_FILES += ["*.webp", "*.bmp", "*.gif", "splits/*.txt"]


@dataclass(frozen=True)
class Kind:
    """One kind of source.

    Attributes:
        words: its name for people.
        matches: whether a path is one; the first kind in `KINDS` that matches is taken.
        files: the files, relative to the path, that together are its content.
        open: gives its listing; the folder may hold working copies until the block ends.
    """

    words: str
    matches: Callable[[Path], bool]
    files: Callable[[Path], Sequence[str]]
    open: Callable[[Path, Path], AbstractContextManager[Listing]]


@dataclass(frozen=True)
class Source:
    """A source that was found: what kind, where, and its name in words."""

    kind: Kind
    path: Path
    words: str

    def digest(self) -> str:
        """SHA-256 (hex) over the names and the content of all files: the same wherever a copy lies."""
        files = sorted(self.kind.files(self.path))
        with ThreadPoolExecutor() as pool:
            digests = pool.map(lambda name: _hash_file(self.path / name, name), files)
            text = json.dumps([self.kind.words, *zip(files, digests, strict=True)])
        return hashlib.sha256(text.encode()).hexdigest()

    def open(self, scratch: Path) -> AbstractContextManager[Listing]:
        """The listing; `scratch` is an existing folder for working copies, which are removed at the end."""
        return self.kind.open(self.path, scratch)


def find_source(data: str) -> Source:
    """Find what `data` names: a folder, a zip or a hub id (which is downloaded, or found in the hub's cache).

    Raises:
        DataError: nothing is there, or nothing that can be read as tiles.
    """
    path, words = Path(data).expanduser(), ""
    if "/" in data and not looks_like_path(data):
        path, words = _download(data), f"hub data set {data}: "
    if not path.exists():
        raise DataError(f"There is no folder or zip {data}: check the path (a hub id looks like owner/name).")
    path = _only_zip(path) or path
    for kind in KINDS:
        if kind.matches(path):
            return Source(kind, path, words + kind.words)
    raise DataError(f"{data} is neither a folder nor a zip.")


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
        entries = [e for e in folder.iterdir() if not hidden(e.name) and not side_file(e.name)]
    except OSError as error:
        raise DataError(f"The folder {folder.name} cannot be read: {error.strerror}.") from None
    return entries[0] if len(entries) == 1 and entries[0].suffix.lower() == ".zip" else None


def _hash_file(path: Path, name: str) -> str:
    if name.endswith("/"):  # an empty folder
        return ""
    digest = hashlib.sha256()
    try:
        with open_regular(path) as file:
            while block := file.read(2**20):
                digest.update(block)
    except BadImageError as error:
        return str(error)
    except OSError as error:
        return f"unreadable: {error.strerror}"
    return digest.hexdigest()


KINDS = (
    Kind(
        "parquet data set",
        lambda path: path.is_dir() and bool(parquet_files(path)),
        parquet_files,
        open_parquet,
    ),
    Kind("folder of class folders", Path.is_dir, lambda path: list(leaves_of(path)), open_folder),
    Kind("zip of class folders", lambda path: path.suffix.lower() == ".zip", lambda path: [""], open_zip),
)
