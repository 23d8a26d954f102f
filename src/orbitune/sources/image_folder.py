"""Class folders on disk or in a zip archive, as in torchvision's ImageFolder.

Each folder is a class; the class folders may lie below train, validation and test. Side files such as
readme.txt are ignored; every other file is expected to be an image.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from orbitune.errors import DataError, printable
from orbitune.sources.archive import MAX_ENTRIES, open_archive
from orbitune.sources.decode import BadImageError
from orbitune.sources.manifest import SPLIT_NAMES, ColumnSelection, Manifest, is_hidden, open_regular

if TYPE_CHECKING:
    import zipfile

MAX_BYTES = 128 * 2**20  # in one file, so that a hostile one cannot fill the memory

_COMPARED = 20  # names that occur in several class folders; the images may differ, as of 0001.jpg

LISTS = (".csv", ".tsv", ".jsonl")  # suffixes of tables that may hold the labels

# Files beside images: tables, notes, world files and other sidecars.
_SIDE_SUFFIXES = {".txt", ".csv", ".tsv", ".json", ".jsonl", ".md", ".xml", ".yaml", ".yml", ".html", ".pdf"}
_SIDE_SUFFIXES |= {".geojson", ".tfw", ".jgw", ".pgw", ".wld", ".prj", ".ovr", ".py", ".db", ".ini"}
_SIDE_NAMES = {"readme", "license", "licence"}


def is_side_file(name: str) -> bool:
    """Return whether a file name is ignored, such as labels.csv or LICENSE."""
    path = Path(name.lower())
    return path.suffix in _SIDE_SUFFIXES or path.name in _SIDE_NAMES


def should_be_image(name: str) -> bool:
    """Return whether a file is expected to be an image by its name."""
    return not is_side_file(name)


def list_files(
    folder: Path, wanted: Callable[[str], bool] = should_be_image, *, prefix: str = "", depth: int = 6
) -> Iterator[str]:
    """Yield the names of files in a folder and below, relative to it and sorted.

    Hidden files are left out. Empty folders are yielded with a trailing slash.

    Args:
        folder: where to look.
        wanted: whether a file name is yielded; by default, whether it should be an image.
        prefix: of the names; used in recursion.
        depth: levels of folders to descend.

    Raises:
        DataError: a folder cannot be read.
    """
    try:
        entries = sorted(entry for entry in folder.iterdir() if not is_hidden(entry.name))
    except OSError as error:
        raise DataError(f"The folder {prefix or folder.name} cannot be read: {error.strerror}.") from None
    if not entries and prefix:
        yield prefix
    for entry in entries:
        if depth and _is_folder(entry):  # links are followed; the depth ends circles
            yield from list_files(entry, wanted, prefix=f"{prefix}{entry.name}/", depth=depth - 1)
        elif wanted(entry.name):
            yield prefix + entry.name


def _is_folder(path: Path) -> bool:
    """Return whether a path is a folder; raise a DataError if it cannot be read."""
    try:
        return path.is_dir()
    except OSError as error:
        raise DataError(f"{path.name} cannot be read: {error.strerror}.") from None


@contextmanager
def open_folder(path: Path, scratch: Path, *, selection: ColumnSelection) -> Iterator[Manifest]:
    """Yield the manifest of a folder; `scratch` is not used."""
    manifest = class_folder_manifest(list(list_files(path)), lambda name: read_file(path / name))
    lists = [] if manifest.names else sorted(e.name for e in path.iterdir() if e.suffix.lower() in LISTS)
    if lists and manifest.unlabelled:
        advice = f"to take the labels from a list, pass {lists[0]} as --data"
        first, reason = manifest.unlabelled[0]
        raise DataError(f"{printable(first)} {reason}. Make a folder for each class; or, {advice}.")
    yield manifest


def read_file(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        BadImageError: it is not a regular file, cannot be read, or is larger than `MAX_BYTES`.
    """
    try:
        with open_regular(path) as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadImageError(f"cannot be read ({error.strerror})") from None
    _check_size(len(data))
    return data


def _check_size(number: int) -> None:
    """Raise a BadImageError for too many bytes."""
    if number > MAX_BYTES:
        raise BadImageError(f"is larger than {MAX_BYTES // 2**20} MB")


@contextmanager
def open_zip(path: Path, scratch: Path, *, selection: ColumnSelection) -> Iterator[Manifest]:
    """Yield the manifest of a zip archive, which stays open meanwhile.

    Raises:
        DataError: as `zip_files`.
    """
    with zip_files(path) as (entries, read):
        yield class_folder_manifest(list(entries), read)


def only_zip(folder: Path) -> Path | None:
    """Return the zip archive that is a folder's only file, as on the hub."""
    if not folder.is_dir():
        return None
    try:
        entries = [e for e in folder.iterdir() if not is_hidden(e.name) and not is_side_file(e.name)]
    except OSError as error:
        raise DataError(f"The folder {folder.name} cannot be read: {error.strerror}.") from None
    return entries[0] if len(entries) == 1 and entries[0].suffix.lower() == ".zip" else None


@contextmanager
def zip_files(
    path: Path, max_entries: int = MAX_ENTRIES, *, wanted: Callable[[str], bool] = should_be_image
) -> "Iterator[tuple[dict[str, zipfile.ZipInfo], Callable[[str], bytes]]]":
    """Open a zip archive.

    Args:
        path: the file.
        max_entries: largest number of entries to accept, side files included.
        wanted: whether a file name is yielded; by default, whether it should be an image.

    Yields:
        The wanted entries by name, with empty folders as in `list_files`, and a function that returns the
        bytes of one.

    Raises:
        DataError: the file is not a zip archive, has too many entries, or is malformed.
    """
    with open_archive(path, max_entries) as (entries, unpack):

        def read(name: str) -> bytes:
            _check_size(entries[name].file_size)  # `unpack` stops at the size that the entry states
            return unpack(entries[name])

        shown = [name for name in sorted(entries) if not any(map(is_hidden, name.split("/")))]
        yield {name: entries[name] for name in _leaves(shown) if wanted(name.split("/")[-1])}, read


def _leaves(names: Sequence[str]) -> Iterator[str]:
    """Yield the files and empty folders among the sorted names of a zip."""
    for name in names:
        below = f"{name.rstrip('/')}/"
        # The first name that can lie below; a set of all parents could grow without bound.
        after = bisect_right(names, below)
        if not (after < len(names) and names[after].startswith(below)):
            yield name


def class_folder_manifest(leaves: Sequence[str], read: Callable[[str], bytes]) -> Manifest:
    """Return the manifest of files as [wrapping folder/][split/]class/file."""
    paths = [leaf.split("/") for leaf in leaves]
    level = _wrapping_levels(paths)
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
            place = "beside the class folders" if tops else "in no class folder, such as Forest/tile.jpg"
            place = place if len(path) < class_level + 2 else "below a class folder"
            unlabelled.append((leaf, f"has no label, as it lies {place}"))
    classes = tuple(sorted({path[class_level] for _, path in tiles}))
    label = {name: number for number, name in enumerate(classes)}
    own: dict[str, list[int]] = {}
    for index, (_, path) in enumerate(tiles if splits else []):
        own.setdefault(SPLIT_NAMES[path[level].lower()], []).append(index)
    return Manifest(
        names=[leaf for leaf, _ in tiles],
        labels=np.array([label[path[class_level]] for _, path in tiles], np.int64),
        classes=classes,
        own_splits={name: np.array(indices, np.int64) for name, indices in own.items()},
        unlabelled=tuple(unlabelled),
        notes=_note_copies([(path[-1], path[class_level], leaf) for leaf, path in tiles], read),
        read=lambda index: read(tiles[index][0]),
    )


def _note_copies(tiles: Sequence[tuple[str, str, str]], read: Callable[[str], bytes]) -> tuple[str, ...]:
    """Note that copies of one image lie in several class folders, as some sets state several labels.

    Args:
        tiles: (file name, class, path) of each.
        read: returns the bytes of a path.
    """
    places: dict[str, dict[str, str]] = {}
    for name, label, leaf in tiles:
        places.setdefault(name, {}).setdefault(label, leaf)
    shared = ((name, found) for name, found in places.items() if len(found) > 1)
    for name, found in islice(shared, _COMPARED):
        (one, first), (other, second), *_ = found.items()
        with suppress(DataError, BadImageError):
            if read(first) == read(second):
                return (
                    f"the same image lies in several class folders, such as {printable(name)} in "
                    f"{printable(one)} and {printable(other)}: each copy is a tile of one label; for several "
                    "labels a tile, list each image once in a table with all its labels",
                )
    return ()


def _wrapping_levels(paths: Sequence[Sequence[str]]) -> int:
    """Return the number of folders that wrap all others: 2 for `EuroSAT/2750/`."""
    level = 0
    while (
        len({path[level] for path in paths}) == 1
        and max(map(len, paths)) > level + 2
        and min(map(len, paths)) > level + 1
        and paths[0][level].lower() not in SPLIT_NAMES
    ):
        level += 1
    return level
