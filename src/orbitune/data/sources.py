"""Where tiles come from: a folder or zip of class folders, a parquet data set, or either of them on the hub.

A source is found by what is there, not by a flag, and gives a `Listing`: names, labels and a way to read
each file's bytes. A new kind of source is one entry in `KINDS`.
"""

import hashlib
import json
import re
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from orbitune.data.decode import BadImageError
from orbitune.errors import DataError

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
MAX_BYTES = 256 * 2**20  # of one file, so that a hostile one cannot fill the memory
MAX_ENTRIES = 2_000_000  # of one zip

_SIDE_SUFFIXES = {".txt", ".csv", ".tsv", ".json", ".geojson", ".jsonl", ".md", ".xml", ".yaml", ".yml", ".html"}
_SIDE_SUFFIXES |= {".pdf", ".py", ".tfw", ".jgw", ".pgw", ".wld", ".prj", ".ovr", ".db", ".ini"}
_SIDE_NAMES = {"readme", "license", "licence"}
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_HUB_FILES = ["*.parquet", "*.zip", "README.md", "*.[jJ][pP]*[gG]", "*.[pP][nN][gG]", "*.[tT][iI][fF]*"]
_HUB_FILES += ["*.webp", "*.bmp", "*.gif"]


@dataclass(frozen=True)
class Listing:
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
    if not path.exists():
        if not _HUB_ID.fullmatch(data) or data.endswith(".zip"):
            raise DataError(f"There is no folder or zip {data} (and a hub id looks like owner/name).")
        path, words = _download(data), f"hub data set {data}: "
    path = _only_zip(path) or path
    for kind in KINDS:
        if kind.matches(path):
            return Source(kind, path, words + kind.words)
    raise DataError(f"{data} is neither a folder nor a zip.")


def _hash_file(path: Path, name: str) -> str:
    if name.endswith("/"):  # an empty folder
        return ""
    digest = hashlib.sha256()
    try:
        with _regular(path) as file:
            while block := file.read(2**20):
                digest.update(block)
    except (OSError, BadImageError):
        return "unreadable"
    return digest.hexdigest()


def _regular(path: Path) -> BinaryIO:
    """Open a regular file; anything else (a folder, a pipe that would block) is a BadImageError."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise BadImageError("is a link to nothing") from None
    if not stat.S_ISREG(mode):
        raise BadImageError("is a folder, not an image" if stat.S_ISDIR(mode) else "is no regular file")
    return path.open("rb")


# --- the hub ----------------------------------------------------------------------------------------------


def _download(name: str) -> Path:
    from huggingface_hub import constants, errors, snapshot_download
    from huggingface_hub.utils import disable_progress_bars

    elsewhere = "or download it on another machine and pass the folder"
    try:
        return Path(snapshot_download(name, repo_type="dataset", allow_patterns=_HUB_FILES))
    except errors.GatedRepoError:
        reason = "asks for permission first: accept its terms on huggingface.co and run `hf auth login`"
    except errors.RepositoryNotFoundError:
        reason = "does not exist, or is private (then run `hf auth login`): check the spelling"
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
        if constants.is_offline_mode():
            reason = "is not in the hub's cache and HF_HUB_OFFLINE is set: unset it"
        else:
            reason = "is not in the hub's cache and the hub cannot be reached: check the connection"
    except Exception as error:
        reason = f"cannot be downloaded ({_first_line(error)}): try again"
    raise DataError(f"There is no folder {name}, and the hub data set {name} {reason}, {elsewhere}.")


# --- class folders, on disk or zipped ---------------------------------------------------------------------


def _hidden(part: str) -> bool:
    return part.startswith(".") or part == "__MACOSX"


def _side_file(name: str) -> bool:
    path = Path(name.lower())
    return path.suffix in _SIDE_SUFFIXES or path.name in _SIDE_NAMES


def _leaves(folder: Path, prefix: str = "", depth: int = 6) -> Iterator[str]:
    """Relative names of all files that should be images, and of empty folders (with a closing slash)."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if not _hidden(entry.name))
    except OSError as error:
        raise DataError(f"The folder {prefix or folder.name} cannot be read: {error.strerror}.") from None
    if not entries and prefix:
        yield prefix
    for entry in entries:
        if depth and entry.is_dir():  # links to folders are followed, circles of them only so far
            yield from _leaves(entry, f"{prefix}{entry.name}/", depth - 1)
        elif not _side_file(entry.name):
            yield prefix + entry.name


@contextmanager
def _open_folder(path: Path, scratch: Path) -> Iterator[Listing]:
    def read(name: str) -> bytes:
        try:
            with _regular(path / name) as file:
                return _bounded(file.read(MAX_BYTES + 1))
        except OSError as error:
            raise BadImageError(f"cannot be read ({error.strerror})") from None

    yield _arrange(list(_leaves(path)), read)


def _bounded(data: bytes) -> bytes:
    if len(data) > MAX_BYTES:
        raise BadImageError(f"is larger than {MAX_BYTES // 2**20} MB")
    return data


@contextmanager
def _open_zip(path: Path, scratch: Path) -> Iterator[Listing]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError):
        raise DataError(f"{path.name} is damaged or no zip file: fetch it again.") from None
    with archive:
        entries = _zip_entries(archive, path.name)

        def read(name: str) -> bytes:
            # Other methods unpack without bounds, and nobody zips images with them.
            if entries[name].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise BadImageError("is packed in another way than deflate")
            try:
                with archive.open(entries[name]) as file:
                    return _bounded(file.read(MAX_BYTES + 1))
            except Exception as error:  # zipfile's, zlib's, a password asked for, ...
                raise BadImageError(f"cannot be unpacked ({_first_line(error)})") from None

        yield _arrange(list(entries), read)


def _zip_entries(archive: zipfile.ZipFile, name: str) -> dict[str, zipfile.ZipInfo]:
    """The entries that should be images and the empty folders, by name, as `_leaves` gives them."""
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise DataError(f"{name} holds more than {MAX_ENTRIES:,} files: unpack it and pass the folder.")
    if len({entry.filename for entry in entries}) < len(entries):
        raise DataError(f"{name} holds two files of one name: pack it anew.")
    if any(".." in entry.filename.split("/") for entry in entries):
        raise DataError(f"{name} holds names with `..`, which no honest zip does: it is not read.")
    shown = {e.filename: e for e in entries if not any(map(_hidden, e.filename.split("/")))}
    parents = {
        entry.rstrip("/")[: match.end()] for entry in shown for match in re.finditer("/", entry.rstrip("/"))
    }
    return {entry: shown[entry] for entry in sorted(shown) if entry not in parents and not _side_file(entry)}


def _only_zip(folder: Path) -> Path | None:
    """The zip which is all that a folder holds, as on the hub."""
    if not folder.is_dir():
        return None
    entries = [entry for entry in folder.iterdir() if not _hidden(entry.name) and not _side_file(entry.name)]
    return entries[0] if len(entries) == 1 and entries[0].suffix.lower() == ".zip" else None


def _arrange(leaves: Sequence[str], read: Callable[[str], bytes]) -> Listing:
    """Read class and split off the folders: [wrapping folder/][split/]class/file."""
    paths = [leaf.split("/") for leaf in leaves]
    level = _wrapping(paths)
    tops = {path[level] for path in paths if len(path) > level + 1}
    splits = bool(tops) and all(top.lower() in SPLIT_NAMES for top in tops)
    class_level = level + splits
    tiles, unlabelled = [], []
    for leaf, path in zip(leaves, paths, strict=True):
        if leaf.endswith("/") and len(path) <= class_level + 2:
            raise DataError(f"The folder {leaf} is empty: fill it or remove it.")
        if len(path) == class_level + 2:
            tiles.append((leaf, path))
        else:
            place = "beside the class folders" if len(path) < class_level + 2 else "below a class folder"
            unlabelled.append((leaf, f"has no label, as it lies {place}"))
    classes = tuple(sorted({path[class_level] for _, path in tiles}))
    own: dict[str, list[int]] = {}
    for index, (_, path) in enumerate(tiles if splits else []):
        own.setdefault(SPLIT_NAMES[path[level].lower()], []).append(index)
    return Listing(
        names=[leaf for leaf, _ in tiles],
        labels=np.array([classes.index(path[class_level]) for _, path in tiles], np.int64),
        classes=classes,
        own_splits={name: np.array(indices, np.int64) for name, indices in own.items()},
        unlabelled=tuple(unlabelled),
        notes=(),
        read=lambda index: read(tiles[index][0]),
    )


def _wrapping(paths: Sequence[Sequence[str]]) -> int:
    """How many folders wrap all the others, as `EuroSAT/2750/` does."""
    level = 0
    while (
        len({path[level] for path in paths}) == 1
        and max(map(len, paths)) > level + 2
        and min(map(len, paths)) > level + 1
        and paths[0][level].lower() not in SPLIT_NAMES
    ):
        level += 1
    return level


# --- parquet data sets ------------------------------------------------------------------------------------


def _parquet_files(folder: Path) -> list[str]:
    paths = (path.relative_to(folder) for path in sorted(folder.rglob("*.parquet")))
    files = [path.as_posix() for path in paths if not any(map(_hidden, path.parts))]
    # The data set's card may hold the class names and the list of splits.
    return [*files, "README.md"] if files and (folder / "README.md").is_file() else files


@contextmanager
def _open_parquet(folder: Path, scratch: Path) -> Iterator[Listing]:
    with tempfile.TemporaryDirectory(dir=scratch) as cache:
        splits = _load_splits(folder, cache)
        rows = _Rows([_by_type(dataset) for dataset in splits.values()])
        own, notes = _own_splits({name: len(dataset) for name, dataset in splits.items()})
        names, labels, classes = rows.names(list(splits)), *rows.labels()
        keep = np.concatenate([np.arange(0), *own.values()]) if own else np.arange(len(names))
        labelled = np.sort(keep[labels[keep] >= 0])
        unlabelled = [(names[i], "has no label") for i in np.sort(keep[labels[keep] < 0])]
        yield Listing(
            names=[names[i] for i in labelled],
            labels=labels[labelled],
            classes=classes,
            own_splits={name: np.flatnonzero(np.isin(labelled, indices)) for name, indices in own.items()},
            unlabelled=tuple(unlabelled),
            notes=notes,
            read=lambda index: rows.read(int(labelled[index])),
        )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


