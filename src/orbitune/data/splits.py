"""Train, validation and test splits: own, from lists, random or spatial.

Splits are disjoint, the same for the same tiles and seed, and every class has training tiles.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from orbitune.data.folding.file_lists import SPLITS, find_lists, note_unused, read_lists
from orbitune.data.folding.group_split import find_groups, split_by_groups
from orbitune.data.folding.parts import (
    check_counts,
    describe_fold,
    describe_sizes,
    fold_splits,
    random_parts,
    too_few,
)
from orbitune.data.folding.split_notes import OWN_LISTS
from orbitune.data.georeference import read_locations
from orbitune.data.labels.membership import absent_classes
from orbitune.data.labels.stratification import draw_stratified
from orbitune.data.spatial_blocks import split_by_blocks
from orbitune.data.tileset import TileSet
from orbitune.errors import DataError, first_names
from orbitune.fold import Fold

MIN_TILES = 3  # of a class, one for each split

_FRACTIONS = {"test": 0.2, "validation": 0.25}  # of the remaining training tiles, in this order: 60/20/20
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
        splits, notes = read_lists(tiles, find_lists(split_files))
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


def describe_origin(
    tiles: TileSet,
    split_files: str | None,
    *,
    seed: int,
    split: str = "default",
    block_size: float | None = None,
    fold: str | None = None,
) -> str:
    """Return where the split of `split_tiles` comes from; it continues "spatial split", or "split".

    Args:
        tiles, split_files, seed, split, block_size, fold: as for `split_tiles`.
    """
    if split_files:
        folder = Path(split_files).expanduser()
        names = ", ".join(path.name for path in find_lists(split_files).values())
        return f"of the lists {f'in {folder.name}' if folder.is_dir() else names}"
    if split == "spatial" and _spatial_lists(tiles, block_size=block_size, fold=fold):
        return OWN_LISTS
    if split in ("random", "spatial", "group"):
        return f"drawn with seed {seed}"
    own = [name for name in SPLITS if len(tiles.own_splits.get(name, ()))]
    if not own:
        return f"drawn at random with seed {seed}"
    drawn = " and ".join(name for name in SPLITS if name not in own)
    return f"{OWN_LISTS}, {drawn} drawn with seed {seed}" if drawn else OWN_LISTS


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
        note = f"split: the train, validation and test lists {OWN_LISTS}"
    notes = (note, *note_unused(tiles, splits, place="split"))
    few = too_few(tiles.membership[splits["train"]], tiles.classes, least=MIN_TILES)
    if missing and few:
        raise DataError(
            f"Too few tiles to split: {few}; a class needs {MIN_TILES} or more. Add some, or drop it."
        )
    for name in missing:
        splits["train"], splits[name] = _draw(tiles, splits["train"], fraction=_FRACTIONS[name], seed=seed)
    return splits, notes


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
    if folder := _spatial_lists(tiles, block_size=block_size, fold=fold):
        lists = find_lists(str(folder), _SPATIAL_LISTS)
        splits, notes = read_lists(tiles, lists)
        names = ", ".join(path.name for path in lists.values())
        return splits, (f"spatial split: the lists in the data's folder splits ({names})", *notes)
    locations = read_locations(tiles)
    if locations is None and (block_size is not None or fold):
        raise DataError("The tiles have no coordinates, which blocks of ground and spatial folds need.")
    if locations is None:
        raise DataError(
            "The tiles have no coordinates for a spatial split: pass --split-files, as for EuroSAT's "
            "published spatial split, or, for several --splits, put such lists into the data's folder: "
            "splits/spatial-train.txt, -val and -test."
        )
    return split_by_blocks(tiles, locations, seed=seed, block_size=block_size, fold=fold)


def _spatial_lists(tiles: TileSet, *, block_size: float | None, fold: object) -> Path | None:
    """Return the folder of the spatial lists that the data come with; None where there are none to apply.

    They are of one split, so folds and blocks of a given size are drawn.
    """
    if tiles.origin is None or block_size is not None or fold is not None:
        return None
    folder = tiles.origin.path / "splits"
    return folder if any(folder.glob(_SPATIAL_LISTS)) else None
