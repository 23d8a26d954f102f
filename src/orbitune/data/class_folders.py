"""Class folders, on disk or in a zip: each folder is a class, maybe below train, validation and test.

A zip is read in place. Side files are passed over; every other file is expected to be an image.
"""

import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from orbitune.data.decode import BadImageError
from orbitune.data.listing import SPLIT_NAMES, Listing, hidden, open_regular
from orbitune.errors import DataError, first_line

MAX_BYTES = 256 * 2**20  # of one file, so that a hostile one cannot fill the memory
MAX_ENTRIES = 2_000_000  # of one zip

# What lies beside images and is none: lists and notes, and the georeference of an image.
_SIDE_SUFFIXES = {".txt", ".csv", ".tsv", ".json", ".jsonl", ".md", ".xml", ".yaml", ".yml", ".html", ".pdf"}
_SIDE_SUFFIXES |= {".geojson", ".tfw", ".jgw", ".pgw", ".wld", ".prj", ".ovr", ".py", ".db", ".ini"}
_SIDE_NAMES = {"readme", "license", "licence"}


def side_file(name: str) -> bool:
    """Whether a file is passed over, such as labels.csv, Thumbs.db or LICENSE."""
    path = Path(name.lower())
    return path.suffix in _SIDE_SUFFIXES or path.name in _SIDE_NAMES


def leaves_of(folder: Path, prefix: str = "", depth: int = 6) -> Iterator[str]:
    """Relative names of all files that should be images, and of empty folders (with a closing slash)."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if not hidden(entry.name))
    except OSError as error:
        raise DataError(f"The folder {prefix or folder.name} cannot be read: {error.strerror}.") from None
    if not entries and prefix:
        yield prefix
    for entry in entries:
        if depth and _is_folder(entry):  # links to folders are followed, circles of them only so far
            yield from leaves_of(entry, f"{prefix}{entry.name}/", depth - 1)
        elif not side_file(entry.name):
            yield prefix + entry.name


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise DataError(f"{path.name} cannot be read: {error.strerror}.") from None


@contextmanager
def open_folder(path: Path, scratch: Path) -> Iterator[Listing]:
    """The listing of a folder on disk; nothing is copied, so `scratch` stays empty."""

    yield _arrange(list(leaves_of(path)), lambda name: read_file(path / name))


def read_file(path: Path) -> bytes:
    """The bytes of a file that should be an image.

    Raises:
        BadImageError: it is no regular file, cannot be read, or is larger than an image is.
    """
    try:
        with open_regular(path) as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadImageError(f"cannot be read ({error.strerror})") from None
    _check_size(len(data))
    return data


def _check_size(number: int) -> None:
    if number > MAX_BYTES:
        raise BadImageError(f"is larger than {MAX_BYTES // 2**20} MB")


@contextmanager
def open_zip(path: Path, scratch: Path) -> Iterator[Listing]:
    """The listing of a zip, which is open until the block ends; `scratch` stays empty.

    Raises:
        DataError: see `zip_files`.
    """
    with zip_files(path) as (entries, read):
        yield _arrange(list(entries), read)


@contextmanager
def zip_files(path: Path) -> "Iterator[tuple[dict[str, zipfile.ZipInfo], Callable[[str], bytes]]]":
    """The entries of a zip that should be images, and what reads one of them by its name.

    Raises:
        DataError: it is no zip, or one that no honest program makes.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError):
        raise DataError(f"{path.name} is damaged or no zip file: fetch it again.") from None
    with archive:
        entries = _zip_entries(archive, path.name)

        def read(name: str) -> bytes:
            _check_size(entries[name].file_size)  # zipfile unpacks no more than an entry claims
            # Other methods unpack without bounds, and nobody zips images with them.
            if entries[name].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise BadImageError("is packed in another way than deflate")
            try:
                return archive.read(entries[name])
            except Exception as error:  # zipfile's, zlib's, a password asked for, ...
                raise BadImageError(f"cannot be unpacked ({first_line(error)})") from None

        yield entries, read


def _zip_entries(archive: zipfile.ZipFile, name: str) -> dict[str, zipfile.ZipInfo]:
    """The entries that should be images and the empty folders, by name, as `leaves_of` gives them."""
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise DataError(f"{name} holds more than {MAX_ENTRIES:,} files: unpack it and pass the folder.")
    if len({entry.filename for entry in entries}) < len(entries):
        raise DataError(f"{name} holds two files of one name: pack it anew.")
    if any(".." in entry.filename.split("/") for entry in entries):
        raise DataError(f"{name} holds names with `..`, which no honest zip does: it is not read.")
    shown = {e.filename: e for e in entries if not any(map(hidden, e.filename.split("/")))}
    parents = {
        entry.rstrip("/")[: match.end()] for entry in shown for match in re.finditer("/", entry.rstrip("/"))
    }
    return {entry: shown[entry] for entry in sorted(shown) if entry not in parents and not side_file(entry)}


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
