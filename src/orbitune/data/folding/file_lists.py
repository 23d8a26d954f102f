"""Splits from lists of file names."""

import re
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from orbitune.data.tileset import TileSet
from orbitune.errors import DataError, counted
from orbitune.sources.manifest import SPLIT_NAMES
from orbitune.suggestions import cannot_read, missing

SPLITS = ("train", "validation", "test")
_AMBIGUOUS = -1


def find_lists(split_files: str, pattern: str = "*.txt") -> dict[str, Path]:
    """Return the list file of each split.

    Raises:
        DataError: there is no such folder, or a split has no list or several.
    """
    folder = Path(split_files).expanduser()
    if folder.is_dir():
        found = [(path.stem, path) for path in sorted(folder.glob(pattern))]
        pairs = [(split, path) for stem, path in found for split in _splits_in(stem)]
    elif "=" in split_files:
        parts = [part.partition("=") for part in split_files.split(",")]
        unknown = [name for name, _, _ in parts if name.strip() not in SPLIT_NAMES]
        if unknown:
            raise DataError(f"{unknown[0]!r} is not a split: write train=FILE,validation=FILE,test=FILE.")
        pairs = [(SPLIT_NAMES[name.strip()], Path(path.strip()).expanduser()) for name, _, path in parts]
    else:
        advice = "pass one, or train=FILE,validation=FILE,test=FILE"
        raise DataError(missing("folder", split_files, advice=advice))
    for split in SPLITS:
        number = sum(name == split for name, _ in pairs)
        if number != 1:
            raise DataError(
                f"{split_files} has {number or 'no'} lists for {split}: expected exactly one .txt file for "
                "each of train, val and test, or train=FILE,validation=FILE,test=FILE."
            )
    return dict(pairs)


def _splits_in(stem: str) -> Iterator[str]:
    """Yield the splits that a file's name mentions."""
    for word, split in (("train", "train"), ("val", "validation"), ("test", "test")):
        if word in stem.lower():
            yield split


def read_lists(tiles: TileSet, lists: Mapping[str, Path]) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return the splits that lists of file names define, and notes.

    Raises:
        DataError: a list cannot be read, names what is no tile, or names one that another list names too.
    """
    # Lists may also name tiles that were skipped as bad.
    known = [*tiles.names, *(name for name, _ in tiles.skipped)]
    index = _index(known)
    folders = {part for name in known for part in PurePosixPath(name).parts[:-1]}
    splits, notes = {}, []
    for split, path in lists.items():
        rows = np.unique([_find(name, index, folders=folders, origin=path.name) for name in _lines(path)])
        splits[split] = rows[rows < len(tiles.names)]
        if not len(splits[split]):
            raise DataError(f"{path.name} lists no tile.")
        if len(splits[split]) < len(rows):
            bad = counted(len(rows) - len(splits[split]), "tile")
            notes.append(f"skipped as bad: {bad} of {path.name}")
    _expect_disjoint(tiles, splits)
    return splits, (*notes, *note_unused(tiles, splits, place="list"))


def note_unused(tiles: TileSet, splits: Mapping[str, np.ndarray], *, place: str) -> tuple[str, ...]:
    """Return a note on the tiles that no split has; none where there are none.

    Args:
        tiles: the data set.
        splits: indices of its tiles.
        place: what they are not in, for the user.
    """
    unused = len(tiles.names) - sum(map(len, splits.values()))
    return (f"in no {place} and unused: {unused:,} of {counted(len(tiles.names), 'tile')}",) if unused else ()


def _lines(path: Path) -> list[str]:
    """Return the names in a list file, with slashes."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(cannot_read("list", path, error=error)) from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not a list of file names: expected text, one name per line.") from None
    return [line.strip().replace("\\", "/") for line in lines if line.strip()]


def _keys(name: str, folders: Container[str] = ()) -> Iterator[str]:
    """Yield the keys to look a name up by: a/b/c.jpg, a/b/c, b/c.jpg, b/c, ...

    Leading folders are dropped unless they are in `folders`, so River/1.jpg never matches Forest/1.jpg.
    """
    parts = PurePosixPath(name).parts
    for start in range(len(parts)):
        if start and parts[start - 1] in folders:
            return
        tail = "/".join(parts[start:])
        yield tail
        yield re.sub(r"\.[^./]+$", "", tail)


def _index(names: Sequence[str]) -> dict[str, int]:
    """Return the row of each key; `_AMBIGUOUS` if several tiles share it."""
    index: dict[str, int] = {}
    for row, name in enumerate(names):
        for key in set(_keys(name)):
            index[key] = _AMBIGUOUS if key in index else row
    counts = Counter(names)  # a full name means its tile, even if another name ends with it
    return index | {name: row for row, name in enumerate(names) if counts[name] == 1}


def _find(name: str, index: Mapping[str, int], *, folders: Container[str], origin: str) -> int:
    """Return the row of a listed name."""
    row = next((index[key] for key in _keys(name, folders) if key in index), None)
    if row is None:
        raise DataError(f"{name}, listed in {origin}, is not among the tiles.")
    if row == _AMBIGUOUS:
        raise DataError(f"{name}, listed in {origin}, may be several tiles: list it with its folders.")
    return row


def _expect_disjoint(tiles: TileSet, splits: Mapping[str, np.ndarray]) -> None:
    """Raise a DataError if a tile is in two splits."""
    seen: dict[int, str] = {}
    for split, rows in splits.items():
        for row in rows.tolist():
            if row in seen:
                raise DataError(f"{tiles.names[row]} is listed for both {seen[row]} and {split}.")
            seen[row] = split
