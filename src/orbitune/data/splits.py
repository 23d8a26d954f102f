"""Train, validation and test: the data set's own splits, given lists of file names, a stratified draw, or
blocks of ground.

Whatever the source, the result is disjoint and the same for the same tiles and seed, and every class has
training tiles.
"""

import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from orbitune.data.georeference import read_locations
from orbitune.data.spatial_blocks import split_by_blocks
from orbitune.data.tileset import TileSet
from orbitune.errors import DataError, printable
from orbitune.sources.manifest import SPLIT_NAMES

SPLITS = ("train", "validation", "test")

FEWEST = 3  # tiles of a class to draw splits from: one for each

_SHARES = {"test": 0.2, "validation": 0.25}  # of what is left for training, in this order: 60/20/20
_AMBIGUOUS = -1
_SPATIAL_LISTS = "*spatial*.txt"


def split_tiles(
    tiles: TileSet,
    split_files: str | None,
    seed: int,
    split: str = "default",
    block_size: float | None = None,
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Split tiles by lists of names if given, else as `split` says.

    Args:
        tiles: the tiles.
        split_files: a folder with one .txt list per split, or train=FILE,validation=FILE,test=FILE.
        seed: of what is drawn at random.
        split: "default" takes the data's own splits, and draws those that are missing at random and
            stratified; "random" draws all of them, whatever the data has; "spatial" takes the lists
            splits/*spatial*.txt in the data's folder, and without them cuts the ground into blocks.
        block_size: of a spatial split without lists, in metres; None for what the extent suggests.

    Returns:
        int64 (n,) sorted indices for each of `SPLITS`, and notes in words.

    Raises:
        DataError: lists that do not fit the tiles, classes too small to be split, or a spatial split of tiles
            with neither lists nor coordinates.
    """
    if split_files:
        splits, notes = _from_lists(tiles, _find_lists(split_files))
    elif split == "spatial":
        splits, notes = _spatial(tiles, seed, block_size)
    elif split == "random":
        splits, _ = _completed(replace(tiles, own_splits={}), seed)
        notes = (f"random split: drew 60/20/20 from all tiles, stratified, with seed {seed}",)
    else:
        splits, notes = _completed(tiles, seed)
    without = np.setdiff1d(np.arange(len(tiles.classes)), tiles.labels[splits["train"]])
    if len(without):
        names = _some(tiles.classes[label] for label in without)
        raise DataError(f"There is no training tile of {names}: add some, or drop the class.")
    return {name: np.sort(splits[name]).astype(np.int64) for name in SPLITS}, notes


# --- drawn at random --------------------------------------------------------------------------------------


def _completed(tiles: TileSet, seed: int) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The data's own splits; those that are missing are drawn from train, or from all tiles."""
    splits = {name: rows for name, rows in tiles.own_splits.items() if len(rows)}
    missing = [name for name in _SHARES if name not in splits]
    if splits and "train" not in splits:
        raise DataError(f"The data set has {' and '.join(splits)} tiles but none to train on.")
    if not splits:
        note = f"the data has no splits: drew 60/20/20 at random, stratified, with seed {seed}"
        splits = {"train": np.arange(len(tiles.labels))}
    else:
        note = (
            f"the data has no {' and no '.join(missing)} split: drew it from train, stratified, seed {seed}"
        )
    counts = np.bincount(tiles.labels[splits["train"]], minlength=len(tiles.classes))
    if missing and counts.min() < FEWEST:
        few = _some(f"{tiles.classes[i]} ({counts[i]})" for i in np.flatnonzero(counts < FEWEST))
        raise DataError(
            f"Too few tiles to split: {few}; a class needs {FEWEST} or more. Add some, or drop it."
        )
    for name in missing:
        splits["train"], splits[name] = _draw(tiles, splits["train"], _SHARES[name], seed)
    return splits, (note,) if missing else ()


def _some(names: Iterable[str]) -> str:
    """Return the first ten names, so that an error message stays readable."""
    shown = [printable(name) for name in names]
    return ", ".join(shown[:10]) + (f" and {len(shown) - 10:,} more" if len(shown) > 10 else "")


def _draw(tiles: TileSet, rows: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two parts of the rows, the second a share of each class."""
    from sklearn.model_selection import train_test_split

    labels = tiles.labels[rows]
    number = max(round(share * len(rows)), len(np.unique(labels)))  # one of each class at least
    rest, drawn = train_test_split(rows, test_size=number, stratify=labels, random_state=seed)
    return rest, drawn


def draw_shots(tiles: TileSet, train: np.ndarray, shots: int, seed: int) -> np.ndarray:
    """So many training tiles of each class; with the same seed fewer shots are some of those of more.

    Returns:
        int64 sorted indices, `shots` of each class.

    Raises:
        DataError: a class has fewer training tiles.
    """
    counts = np.bincount(tiles.labels[train], minlength=len(tiles.classes))
    if counts.min() < shots:
        few = _some(f"{tiles.classes[i]} ({counts[i]})" for i in np.flatnonzero(counts < shots))
        raise DataError(
            f"Too few training tiles for {shots:,} shots: {few}. Ask for fewer, or drop the class."
        )
    orders = (
        np.random.default_rng([seed, label]).permutation(train[tiles.labels[train] == label])
        for label in range(len(tiles.classes))
    )
    return np.sort(np.concatenate([order[:shots] for order in orders]))


# --- by ground --------------------------------------------------------------------------------------------


def _spatial(
    tiles: TileSet, seed: int, block_size: float | None
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """By the lists which the data's folder brings, else by blocks of ground."""
    folder = tiles.origin.path / "splits" if tiles.origin else None
    if folder and any(folder.glob(_SPATIAL_LISTS)):
        lists = _find_lists(str(folder), _SPATIAL_LISTS)
        splits, notes = _from_lists(tiles, lists)
        names = ", ".join(path.name for path in lists.values())
        return splits, (f"spatial split: the lists in the data's folder splits ({names})", *notes)
    ground = read_locations(tiles)
    if ground is None:
        raise DataError(
            "The tiles have no coordinates for a spatial split: pass --split-files, as for EuroSAT's "
            "published spatial split, or put such lists into the data's folder: splits/spatial-train.txt, "
            "-val and -test."
        )
    return split_by_blocks(tiles, ground, seed, block_size)


# --- given as lists of names ------------------------------------------------------------------------------


def _find_lists(split_files: str, pattern: str = "*.txt") -> dict[str, Path]:
    """The list file of each split; in a folder, among the files that match the pattern."""
    folder = Path(split_files).expanduser()
    if folder.is_dir():
        found = [(path.stem, path) for path in sorted(folder.glob(pattern))]
        pairs = [(split, path) for stem, path in found for split in _splits_in(stem)]
    elif "=" in split_files:
        parts = [part.partition("=") for part in split_files.split(",")]
        unknown = [name for name, _, _ in parts if name.strip() not in SPLIT_NAMES]
        if unknown:
            raise DataError(f"{unknown[0]!r} is no split: write train=FILE,validation=FILE,test=FILE.")
        pairs = [(SPLIT_NAMES[name.strip()], Path(path.strip()).expanduser()) for name, _, path in parts]
    else:
        raise DataError(
            f"There is no folder {split_files}: pass one, or train=FILE,validation=FILE,test=FILE."
        )
    for split in SPLITS:
        number = sum(name == split for name, _ in pairs)
        if number != 1:
            raise DataError(
                f"{split_files} has {number or 'no'} lists for {split}: expected exactly one .txt file for "
                "each of train, val and test, or train=FILE,validation=FILE,test=FILE."
            )
    return dict(pairs)


def _splits_in(stem: str) -> Iterator[str]:
    for word, split in (("train", "train"), ("val", "validation"), ("test", "test")):
        if word in stem.lower():
            yield split


def _from_lists(tiles: TileSet, lists: Mapping[str, Path]) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    # Tiles left out as bad are known by name too, so that a list which names them still fits.
    known = [*tiles.names, *(name for name, _ in tiles.skipped)]
    index = _index(known)
    folders = {part for name in known for part in PurePosixPath(name).parts[:-1]}
    splits, notes = {}, []
    for split, path in lists.items():
        rows = np.unique([_find(name, index, folders, path.name) for name in _lines(path)])
        splits[split] = rows[rows < len(tiles.names)]
        if not len(splits[split]):
            raise DataError(f"{path.name} lists no tile.")
        if len(splits[split]) < len(rows):
            notes.append(f"{len(rows) - len(splits[split]):,} tiles of {path.name} were skipped as bad")
    _expect_disjoint(tiles, splits)
    unused = len(tiles.names) - sum(map(len, splits.values()))
    if unused:
        notes.append(f"{unused:,} of {len(tiles.names):,} tiles are in no list and stay unused")
    return splits, tuple(notes)


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(f"Cannot read the list {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is no list of file names: expected text, one name a line.") from None
    return [line.strip().replace("\\", "/") for line in lines if line.strip()]


def _keys(name: str, folders: Container[str] = ()) -> Iterator[str]:
    """What a name may be found by, the strictest first: a/b/c.jpg, a/b/c, b/c.jpg, b/c, c.jpg, c.

    Parts are dropped as long as they are none of `folders`: River/1.jpg is never Forest/1.jpg.
    """
    parts = PurePosixPath(name).parts
    for start in range(len(parts)):
        if start and parts[start - 1] in folders:
            return
        tail = "/".join(parts[start:])
        yield tail
        yield re.sub(r"\.[^./]+$", "", tail)


def _index(names: Sequence[str]) -> dict[str, int]:
    """Row by key; `_AMBIGUOUS` where several tiles share one."""
    index: dict[str, int] = {}
    for row, name in enumerate(names):
        for key in set(_keys(name)):
            index[key] = _AMBIGUOUS if key in index else row
    times = Counter(names)  # a full name means its tile, even if it is also the end of another's
    return index | {name: row for row, name in enumerate(names) if times[name] == 1}


def _find(name: str, index: Mapping[str, int], folders: Container[str], origin: str) -> int:
    row = next((index[key] for key in _keys(name, folders) if key in index), None)
    if row is None:
        raise DataError(f"{name}, listed in {origin}, is not among the tiles.")
    if row == _AMBIGUOUS:
        raise DataError(f"{name}, listed in {origin}, may be several tiles: list it with its folders.")
    return row


def _expect_disjoint(tiles: TileSet, splits: Mapping[str, np.ndarray]) -> None:
    seen: dict[int, str] = {}
    for split, rows in splits.items():
        for row in rows.tolist():
            if row in seen:
                raise DataError(f"{tiles.names[row]} is listed for both {seen[row]} and {split}.")
            seen[row] = split
