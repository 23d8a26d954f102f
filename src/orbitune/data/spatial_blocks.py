"""Spatial block split: whole blocks of ground go to train, validation or test.

Neighbouring tiles are correlated, so a random split overestimates accuracy (Roberts et al. 2017, Ecography
40:913). scikit-learn's StratifiedGroupKFold assigns the blocks: of five folds, one is the test split and one
the validation split. Tiles of different splits overlap by at most a tenth of their area; there is no further
buffer between neighbouring blocks.
"""

import numpy as np

from orbitune.data.folding.parts import (
    describe_fold,
    describe_sizes,
    fold_splits,
    grouped_parts,
    has_right_sizes,
)
from orbitune.data.georeference import EARTH_RADIUS, unit_vectors
from orbitune.data.tileset import TileSet
from orbitune.errors import DataError
from orbitune.fold import Fold

FOLDS = 5
BLOCKS_IN_FOLD = 4  # at least, on average, so that no split is a single place
OVERLAP = 0.9  # tiles overlap if their centres are closer than this many sides


def split_by_blocks(
    tiles: TileSet, locations: np.ndarray, *, seed: int, block_size: float | None, fold: Fold | None = None
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Split georeferenced tiles by blocks, near 60/20/20 (or as a fold) and nearly stratified.

    Training tiles that overlap validation or test tiles are left out, and validation tiles that overlap test
    tiles.

    Args:
        tiles: the tiles.
        locations: as `orbitune.data.georeference.read_locations` returns them.
        seed: of the assignment of blocks.
        block_size: side in metres. None for the largest size, of a series that falls by a factor of 1.4 from
            a third of the extent to two tiles, with at least `BLOCKS_IN_FOLD` blocks in a fold and, in every
            split, every class and the right fraction of tiles.
        fold: of a cross-validation, whose folds all have the same blocks; None for the first of `FOLDS`.

    Returns:
        Indices by split, and notes for the user.

    Raises:
        DataError: no size, or not the given one, allows a split.
    """
    own = fold or Fold(1, FOLDS)
    tile = float(locations[:, 2].max())
    if block_size and block_size < tile:
        raise DataError(f"Blocks of {block_size:,.0f} m are smaller than a tile of {tile:,.0f} m.")
    for size in [block_size] if block_size else _candidate_sizes(locations, tile):
        blocks = block_indices(locations, size)
        count = int(blocks.max()) + 1
        if count < (own.count * (1 if block_size else BLOCKS_IN_FOLD)):
            continue
        if tiles.membership.sum(0).max() < own.count:
            continue
        parts = grouped_parts(tiles.membership, blocks, count=own.count, seed=seed)
        # All folds must do, so that they agree on the size of the blocks.
        every = {each: fold_splits(parts, each) for each in (Fold.all_of(own.count) if fold else [own])}
        fractions = describe_sizes(every[own], len(tiles.labels))
        for splits in every.values():
            _drop_overlaps(splits, locations)
        if all(
            all(map(len, splits.values())) if block_size else _is_balanced(splits, tiles, count=own.count)
            for splits in every.values()
        ):
            splits = every[own]
            note = (
                f"spatial split: {describe_fold(fold)}{count:,} blocks of ground of {size:,.0f} m, each "
                f"whole in one split, {fractions}, stratified as blocks allow, with seed {seed}; no buffer"
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


def _drop_overlaps(splits: dict[str, np.ndarray], locations: np.ndarray) -> None:
    """Remove training and validation tiles that overlap other splits."""
    from scipy.spatial import cKDTree

    points, reach = unit_vectors(locations), OVERLAP * locations[:, 2].max() / EARTH_RADIUS
    for name, others in (("validation", ("test",)), ("train", ("validation", "test"))):
        rows = np.concatenate([splits[other] for other in others])
        if len(rows):
            distance, _ = cKDTree(points[rows]).query(points[splits[name]])
            splits[name] = splits[name][distance >= reach]


def _is_balanced(splits: dict[str, np.ndarray], tiles: TileSet, *, count: int) -> bool:
    """Return whether each split has every class and its fraction of the tiles."""
    members = tiles.membership
    complete = all(members[rows].any(0).all() for rows in splits.values())
    return complete and has_right_sizes(splits, count)
