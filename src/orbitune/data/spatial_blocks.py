"""A spatial split: the ground is cut into blocks, and whole blocks go to train, validation or test.

Neighbouring tiles look alike, so a random split tests on what it has almost seen (Roberts et al. 2017,
Ecography 40:913). Which block goes where is scikit-learn's StratifiedGroupKFold: of five folds one is the
test, one the validation. No two tiles of different splits share more than about a tenth of their ground;
beyond that there is no buffer between neighbouring blocks.
"""

import warnings

import numpy as np

from orbitune.data.georeference import EARTH, unit_vectors
from orbitune.data.tileset import TileSet
from orbitune.errors import DataError

FOLDS = 5
FEWEST_BLOCKS = 20  # so that each fold holds about four, and no split is one place
SLACK = 0.05  # a split's share may be so far from 60, 20 and 20 %
OVERLAP = 0.9  # tiles whose centres lie closer than so many sides share ground

_SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}


def split_by_blocks(
    tiles: TileSet, ground: np.ndarray, seed: int, block_size: float | None
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Split georeferenced tiles into blocks of ground, near 60/20/20 and as stratified as whole blocks allow.

    Args:
        ground: as `orbitune.data.georeference.read_locations` gives it.
        block_size: side in metres; None for the largest of a falling series (factor 1.4, from a third of the
            extent to two tiles) of which there are `FEWEST_BLOCKS` and every split gets every class and
            its share to `SLACK`.

    Returns:
        Indices by split, and notes. Training tiles that share ground with validation or test are left out,
        and validation tiles that share ground with test.

    Raises:
        DataError: no size will do, or the one given does not.
    """
    tile = float(ground[:, 2].max())
    if block_size and block_size < tile:
        raise DataError(f"Blocks of {block_size:,.0f} m are smaller than a tile of {tile:,.0f} m.")
    for size in [block_size] if block_size else _sizes(ground, tile):
        blocks = block_numbers(ground, size)
        count = int(blocks.max()) + 1
        if count < (FOLDS if block_size else FEWEST_BLOCKS) or np.bincount(tiles.labels).max() < FOLDS:
            continue
        splits = _assign(tiles.labels, blocks, seed)
        whole = {name: len(rows) for name, rows in splits.items()}
        _drop_overlaps(splits, ground)
        if all(map(len, splits.values())) if block_size else _fits(splits, tiles):
            shares = "/".join(f"{number / len(tiles.labels):.1%}" for number in whole.values())
            note = (
                f"spatial split: {count:,} blocks of ground of {size:,.0f} m, each whole in one split, "
                f"{shares}, stratified as blocks allow, with seed {seed}; no buffer"
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


def block_numbers(ground: np.ndarray, size: float) -> np.ndarray:
    """The block of each tile's centre, int64 (N,), from 0.

    Latitude is cut into bands of `size` metres, and each band into blocks as wide at its middle.
    """
    metres = np.radians(1) * EARTH  # in a degree of latitude
    south, west = ground[:, 1].min(), ground[:, 0].min()
    band = np.floor((ground[:, 1] - south) * metres / size)
    middle = np.radians(np.minimum(south + (band + 0.5) * size / metres, 90))
    column = np.floor((ground[:, 0] - west) * metres * np.cos(middle) / size)
    return np.unique(np.stack([band, column], axis=1), axis=0, return_inverse=True)[1].ravel()


def _sizes(ground: np.ndarray, tile: float) -> list[float]:
    """Sides of blocks to try in metres, the largest first."""
    west, south = ground[:, :2].min(0)
    east, north = ground[:, :2].max(0)
    wide = (east - west) * np.cos(np.radians((north + south) / 2))
    largest = np.radians(max(wide, north - south)) * EARTH / 3
    count = max(0, int(np.log2(max(largest, 1e-9) / (2 * tile)) * 2) + 1)
    return [float(largest / 2 ** (step / 2)) for step in range(count)]


def _assign(labels: np.ndarray, blocks: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    from sklearn.model_selection import StratifiedGroupKFold

    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # on classes of fewer than five tiles, see `_fits`
        parts = [part for _, part in folds.split(labels, labels, blocks)]
    return {"train": np.sort(np.concatenate(parts[2:])), "validation": parts[1], "test": parts[0]}


def _drop_overlaps(splits: dict[str, np.ndarray], ground: np.ndarray) -> None:
    """Leave out training tiles that share ground with the rest, and validation tiles that do with test."""
    from scipy.spatial import cKDTree

    points, reach = unit_vectors(ground), OVERLAP * ground[:, 2].max() / EARTH
    for name, others in (("validation", ("test",)), ("train", ("validation", "test"))):
        rows = np.concatenate([splits[other] for other in others])
        if len(rows):
            distance, _ = cKDTree(points[rows]).query(points[splits[name]])
            splits[name] = splits[name][distance >= reach]


def _fits(splits: dict[str, np.ndarray], tiles: TileSet) -> bool:
    """Whether every split holds every class and its share of what is left."""
    total = sum(map(len, splits.values()))
    return all(
        len(np.unique(tiles.labels[rows])) == len(tiles.classes)
        and abs(len(rows) / total - _SHARES[name]) <= SLACK
        for name, rows in splits.items()
    )
