"""Train, validation and test splits: own, from lists, random or spatial.

Splits are disjoint, the same for the same tiles and seed, and every class has training tiles.
"""

import re
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from orbitune.data.folding.group_split import find_groups, split_by_groups
from orbitune.data.folding.parts import (
    check_counts,
    describe_fold,
    describe_sizes,
    fold_splits,
    random_parts,
    too_few,
)
from orbitune.data.georeference import read_locations
from orbitune.data.labels.membership import absent_classes
from orbitune.data.labels.stratification import draw_stratified
from orbitune.data.spatial_blocks import split_by_blocks
from orbitune.data.tileset import TileSet
from orbitune.errors import DataError, counted, first_names
from orbitune.fold import Fold
from orbitune.sources.manifest import SPLIT_NAMES
from orbitune.suggestions import cannot_read, missing

SPLITS = ("train", "validation", "test")

MIN_TILES = 3  # of a class, one for each split

_FRACTIONS = {"test": 0.2, "validation": 0.25}  # of the remaining training tiles, in this order: 60/20/20
_AMBIGUOUS = -1
_SPATIAL_LISTS = "*spatial*.txt"


def split_tiles(
    tiles: TileSet,
    split_files: str | None,
    *,
    seed: int,
    split: str = "default",
    block_size: float | None = None,
    group_pattern: str | None = None,
    group_column: str | None = None,
    fold: str | None = None,
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Split tiles by lists of file names if given, else as `split` says.

    Args:
        tiles: the tiles.
        split_files: a folder with one .txt list per split, or train=FILE,validation=FILE,test=FILE.
        seed: of random splits.
        split: "default" takes the data set's own splits, and draws missing ones at random, stratified;
            "random" draws all of them; "spatial" takes the lists splits/*spatial*.txt in the data set's
            folder, or else splits by blocks of ground; "group" splits by groups.
        block_size: side of the blocks of a spatial split in metres, which leaves such lists aside; None to
            choose it by the extent.
        group_pattern: regular expression that finds the group in a tile's name.
        group_column: column that names the group, in place of the pattern.
        fold: of a cross-validation, such as 2/5, which leaves such lists aside; None for an ordinary split.

    Returns:
        Sorted indices, int64 (n,), for each of `SPLITS`, and notes for the user.

    Raises:
        DataError: lists do not fit the tiles, a class is too small to be split, a split is empty, or a
            spatial split was asked for and there are neither lists nor coordinates.
    """
    if not tiles.classes:
        raise DataError("No tile of the data has a label: name the classes of at least some tiles.")
    tested = None if fold is None else Fold.parse(fold)
    if split_files:
        splits, notes = _from_lists(tiles, _find_lists(split_files))
    elif split == "spatial":
        splits, notes = _spatial(tiles, seed, block_size=block_size, fold=tested)
    elif split == "group":
        found, origin = find_groups(tiles.names, tiles.origin, pattern=group_pattern, column=group_column)
        splits, notes = split_by_groups(tiles, found, origin=origin, seed=seed, fold=tested)
    elif tested:
        splits, notes = _random_fold(tiles, tested, seed=seed)
    elif split == "random":
        splits, _ = _complete_splits(replace(tiles, own_splits={}), seed)
        notes = (f"random split: drew 60/20/20 from all tiles, stratified, with seed {seed}",)
    else:
        splits, notes = _complete_splits(tiles, seed)
    if without := absent_classes(tiles.labels[splits["train"]], tiles.classes):
        raise DataError(f"There is no training tile of {first_names(without)}: add some, or drop the class.")
    if empty := [name for name in SPLITS if not len(splits[name])]:
        raise DataError(f"The split has no {empty[0]} tile: add tiles, or choose another split.")
    absent = ((name, absent_classes(tiles.labels[splits[name]], tiles.classes)) for name in SPLITS[1:])
    notes = (*notes, *(f"no {name} tile of {first_names(names)}" for name, names in absent if names))
    return {name: np.sort(splits[name]).astype(np.int64) for name in SPLITS}, notes


# --- drawn at random --------------------------------------------------------------------------------------


def _complete_splits(tiles: TileSet, seed: int) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return the data set's own splits, and draw those that are missing."""
    splits = {name: rows for name, rows in tiles.own_splits.items() if len(rows)}
    missing = [name for name in _FRACTIONS if name not in splits]
    if splits and "train" not in splits:
        raise DataError(f"The data set has {' and '.join(splits)} tiles but none to train on.")
    if not splits:
        note = f"the data has no splits: drew 60/20/20 at random, stratified, with seed {seed}"
        splits = {"train": np.arange(len(tiles.labels))}
    elif missing:
        note = (
            f"the data has no {' and no '.join(missing)} split: drew it from train, stratified, seed {seed}"
        )
    else:
        note = "own split: the train, validation and test lists that the data come with"
    few = too_few(tiles.membership[splits["train"]], tiles.classes, least=MIN_TILES)
    if missing and few:
        raise DataError(
            f"Too few tiles to split: {few}; a class needs {MIN_TILES} or more. Add some, or drop it."
        )
    for name in missing:
        splits["train"], splits[name] = _draw(tiles, splits["train"], fraction=_FRACTIONS[name], seed=seed)
    return splits, (note,)


def _random_fold(tiles: TileSet, fold: Fold, *, seed: int) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return a fold of a stratified random cross-validation of all tiles."""
    check_counts(tiles.membership, tiles.classes, count=fold.count)
    splits = fold_splits(random_parts(tiles.labels, fold.count, seed=seed), fold)
    sizes = describe_sizes(splits, len(tiles.labels))
    return splits, (f"random split: {describe_fold(fold)}{sizes} of all tiles, stratified, with seed {seed}",)


def _draw(tiles: TileSet, rows: np.ndarray, *, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split rows in two; the second part holds a fraction of each class."""
    from sklearn.model_selection import train_test_split

    labels = tiles.labels[rows]
    if tiles.multi_label:
        drawn = draw_stratified(tiles.membership[rows], round(fraction * len(rows)) or 1, seed=seed)
        return rows[~drawn], rows[drawn]
    number = max(round(fraction * len(rows)), len(np.unique(labels)))  # one of each class at least
    rest, chosen = train_test_split(rows, test_size=number, stratify=labels, random_state=seed)
    return rest, chosen


def draw_shots(tiles: TileSet, train: np.ndarray, *, shots: int, seed: int) -> np.ndarray:
    """Draw `shots` training tiles per class.

    With the same seed, smaller draws are subsets of larger ones.

    Args:
        tiles: the tiles.
        train: int64 (n,), indices of the training tiles.
        shots: tiles per class, 1 or more.
        seed: of the draw.

    Returns:
        Sorted indices, int64 (shots x classes,); fewer with several labels a tile, if one is drawn twice.

    Raises:
        DataError: a class has fewer training tiles.
    """
    members = tiles.membership[train]
    if few := too_few(members, tiles.classes, least=shots):
        raise DataError(
            f"Too few training tiles for {shots:,} shots: {few}. Ask for fewer, or drop the class."
        )
    orders = (
        np.random.default_rng([seed, label]).permutation(train[members[:, label]])
        for label in range(len(tiles.classes))
    )
    return np.unique(np.concatenate([order[:shots] for order in orders]))


# --- spatial ----------------------------------------------------------------------------------------------


def _spatial(
    tiles: TileSet, seed: int, *, block_size: float | None, fold: Fold | None
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Split by the spatial lists in the data set's folder, else by blocks of ground."""
    # The lists are of one split, so folds and blocks of a given size are drawn.
    lists_apply = block_size is None and fold is None
    folder = tiles.origin.path / "splits" if tiles.origin and lists_apply else None
    if folder and any(folder.glob(_SPATIAL_LISTS)):
        lists = _find_lists(str(folder), _SPATIAL_LISTS)
        splits, notes = _from_lists(tiles, lists)
        names = ", ".join(path.name for path in lists.values())
        return splits, (f"spatial split: the lists in the data's folder splits ({names})", *notes)
    locations = read_locations(tiles)
    if locations is None and not lists_apply:
        raise DataError("The tiles have no coordinates, which blocks of ground and spatial folds need.")
    if locations is None:
        raise DataError(
            "The tiles have no coordinates for a spatial split: pass --split-files, as for EuroSAT's "
            "published spatial split, or put such lists into the data's folder: splits/spatial-train.txt, "
            "-val and -test."
        )
    return split_by_blocks(tiles, locations, seed=seed, block_size=block_size, fold=fold)


# --- from lists of file names -----------------------------------------------------------------------------


def _find_lists(split_files: str, pattern: str = "*.txt") -> dict[str, Path]:
    """Return the list file of each split."""
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


def _from_lists(tiles: TileSet, lists: Mapping[str, Path]) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return the splits that lists of file names define, and notes."""
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
    unused = len(tiles.names) - sum(map(len, splits.values()))
    if unused:
        notes.append(f"in no list and unused: {unused:,} of {counted(len(tiles.names), 'tile')}")
    return splits, tuple(notes)


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
