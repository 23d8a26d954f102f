"""Spatial block split: whole blocks of ground go to train, validation or test.

Neighbouring tiles are correlated, so a random split overestimates accuracy (Roberts et al. 2017, Ecography
40:913). scikit-learn's StratifiedGroupKFold assigns the blocks: of five folds, one is the test split and one
the validation split. Tiles of different splits overlap by at most a tenth of their area; there is no further
buffer between neighbouring blocks.
"""

import warnings

import numpy as np

from orbitune.data.georeference import EARTH_RADIUS, unit_vectors
from orbitune.data.labels.membership import with_empty
from orbitune.data.tileset import TileSet
from orbitune.errors import DataError

FOLDS = 5
MIN_BLOCKS = 20  # so that each fold holds about four, and no split is a single place
TOLERANCE = 0.05  # of the fractions 60, 20 and 20 %
OVERLAP = 0.9  # tiles overlap if their centres are closer than this many sides

_FRACTIONS = {"train": 0.6, "validation": 0.2, "test": 0.2}


def split_by_blocks(
    tiles: TileSet, locations: np.ndarray, *, seed: int, block_size: float | None
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Split georeferenced tiles by blocks, near 60/20/20 and nearly stratified.

    Training tiles that overlap validation or test tiles are left out, and validation tiles that overlap test
    tiles.

    Args:
        tiles: the tiles.
        locations: as `orbitune.data.georeference.read_locations` returns them.
        seed: of the assignment of blocks.
        block_size: side in metres. None for the largest size, of a series that falls by a factor of 1.4 from
            a third of the extent to two tiles, with at least `MIN_BLOCKS` blocks and, in every split, every
            class and the right fraction of tiles to `TOLERANCE`.

    Returns:
        Indices by split, and notes for the user.

    Raises:
        DataError: no size, or not the given one, allows a split.
    """
    tile = float(locations[:, 2].max())
    if block_size and block_size < tile:
        raise DataError(f"Blocks of {block_size:,.0f} m are smaller than a tile of {tile:,.0f} m.")
    for size in [block_size] if block_size else _candidate_sizes(locations, tile):
        blocks = block_indices(locations, size)
        count = int(blocks.max()) + 1
        if count < (FOLDS if block_size else MIN_BLOCKS) or tiles.membership.sum(0).max() < FOLDS:
            continue
        splits = assign_groups(tiles.membership, blocks, seed=seed)
        whole = {name: len(rows) for name, rows in splits.items()}
        _drop_overlaps(splits, locations)
        if all(map(len, splits.values())) if block_size else _is_balanced(splits, tiles):
            fractions = "/".join(f"{number / len(tiles.labels):.1%}" for number in whole.values())
            note = (
                f"spatial split: {count:,} blocks of ground of {size:,.0f} m, each whole in one split, "
                f"{fractions}, stratified as blocks allow, with seed {seed}; no buffer"
            )
            lost = len(tiles.labels) - sum(map(len, splits.values()))
            overlapping = f"{lost:,} tiles that share ground with a tile of another split stay unused"
            return splits, (note, overlapping) if lost else (note,)
    if block_size:
        raise DataError(f"Blocks of {block_size:,.0f} m are too few to split: choose a smaller --block-size.")
    raise DataError(
        "No size of blocks puts every class into train, validation and test near 60/20/20, as the tiles lie "
        "in too few places: choose a --block-size, or pass lists with --split-files."
    )


def block_indices(locations: np.ndarray, size: float) -> np.ndarray:
    """Return the block that each tile's centre lies in.

    Latitude is divided into bands of `size` metres, and each band into blocks of that width at its middle.

    Args:
        locations: as `orbitune.data.georeference.read_locations` returns them.
        size: side of the blocks in metres.

    Returns:
        int64 (N,), indices from 0.
    """
    metres = np.radians(1) * EARTH_RADIUS  # in a degree of latitude
    south, west = locations[:, 1].min(), locations[:, 0].min()
    band = np.floor((locations[:, 1] - south) * metres / size)
    middle = np.radians(np.minimum(south + (band + 0.5) * size / metres, 90))
    column = np.floor((locations[:, 0] - west) * metres * np.cos(middle) / size)
    return np.unique(np.stack([band, column], axis=1), axis=0, return_inverse=True)[1].ravel()


def _candidate_sizes(locations: np.ndarray, tile: float) -> list[float]:
    """Return block sizes to try, in metres, the largest first."""
    west, south = locations[:, :2].min(0)
    east, north = locations[:, :2].max(0)
    width = (east - west) * np.cos(np.radians((north + south) / 2))
    largest = np.radians(max(width, north - south)) * EARTH_RADIUS / 3
    count = max(0, int(np.log2(max(largest, 1e-9) / (2 * tile)) * 2) + 1)
    return [float(largest / 2 ** (step / 2)) for step in range(count)]


def assign_groups(members: np.ndarray, groups: np.ndarray, *, seed: int) -> dict[str, np.ndarray]:
    """Assign groups of tiles to splits, near 60/20/20 and stratified as they allow.

    A tile with several labels counts for each of its classes.

    Args:
        members: bool (N, C), classes of each tile.
        groups: int64 (N,), group of each tile; `FOLDS` different ones or more.
        seed: of the assignment.

    Returns:
        Indices of the tiles by split.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    rows, labels = np.nonzero(with_empty(members))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # classes of fewer than five tiles, see `_is_balanced`
        parts = [np.unique(rows[part]) for _, part in folds.split(labels, labels, groups[rows])]
    return {"train": np.sort(np.concatenate(parts[2:])), "validation": parts[1], "test": parts[0]}


def _drop_overlaps(splits: dict[str, np.ndarray], locations: np.ndarray) -> None:
    """Remove training and validation tiles that overlap other splits."""
    from scipy.spatial import cKDTree

    points, reach = unit_vectors(locations), OVERLAP * locations[:, 2].max() / EARTH_RADIUS
    for name, others in (("validation", ("test",)), ("train", ("validation", "test"))):
        rows = np.concatenate([splits[other] for other in others])
        if len(rows):
            distance, _ = cKDTree(points[rows]).query(points[splits[name]])
            splits[name] = splits[name][distance >= reach]


def _is_balanced(splits: dict[str, np.ndarray], tiles: TileSet) -> bool:
    """Return whether each split has every class and its fraction of the tiles."""
    members = tiles.membership
    complete = all(members[rows].any(0).all() for rows in splits.values())
    return complete and has_right_sizes(splits)


def has_right_sizes(splits: dict[str, np.ndarray]) -> bool:
    """Return whether each split has its fraction of the tiles, to `TOLERANCE`."""
    total = sum(map(len, splits.values()))
    return all(abs(len(rows) / total - _FRACTIONS[name]) <= TOLERANCE for name, rows in splits.items())
