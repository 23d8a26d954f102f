"""Near-duplicates across splits: tiles of one split that lie in another too, maybe changed a little.

A tile's fingerprint is its brightness on a 16 x 16 grid, centred and of length 1; the distance of two tiles
is 1 minus the correlation of their grids, the least over the eight flips and quarter turns. All pairs are
compared, by matrix products. Two tiles are near-duplicates if they are the same byte for byte, or if their
distance is at most `NEAR` and their mean colours and contrasts agree to `TOLERANCE`, which tells a copy
from another field of the same shape. Flat tiles, such as open water, all look alike: for them the limit is
`NEAR_FLAT`.

The limits come from EuroSAT RGB. Of its 27,000 tiles three pairs show the same ground (River_492 and 597,
River_1680 and 111, Highway_513 and 291), at distances of 0.010, 0.020 and 0.021; the next pair, which is
none, has 0.041, and the closest flat pair 0.023. Of 1,500 tiles and their copies all are found that are not
flat (12 % are), if they were turned, made up to 5 % brighter, or saved as JPEG of quality 75; 99.9 % of
those 10 % brighter, 97.5 % at quality 50. Of flat ones re-encoding leaves too little to recognise. A copy
shifted by one pixel is found in 73 % of cases, by two in 4 %: tiles that overlap are the spatial split's
concern. On the published spatial split nothing is found.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from orbitune.data.augment import dihedral_views
from orbitune.data.tileset import TileSet
from orbitune.data.transform import resize_matrix

if TYPE_CHECKING:
    from torch import Tensor

GRID = 16
NEAR = 0.03
NEAR_FLAT = 0.01
FLAT = 2.0  # grey levels, the grid's standard deviation
TOLERANCE = 0.15  # of mean colours and contrasts
_AT_ONCE = 500  # tiles read, or compared with all others
_BRIGHTNESS = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601), as JPEG has it


def find_near_duplicates(tiles: TileSet, splits: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Compare every two splits, each tile of the second with all of the first.

    Args:
        splits: indices into the tiles, in the order train, validation, test.

    Returns:
        For each pair of splits, ready for JSON: splits, the two names; tiles, how many the second has; count,
        how many of these have a near-duplicate in the first; identical, how many an identical tile; pairs,
        [name in the first, name in the second, distance] of each of them and its nearest, sorted by distance.
    """
    prints = _fingerprints(tiles)
    found = []
    for first, second in combinations(splits, 2):
        pairs = _near(prints, splits[first], splits[second])
        found.append(
            {
                "splits": [first, second],
                "tiles": len(splits[second]),
                "count": len(pairs),
                "identical": sum(prints.digests[one] == prints.digests[other] for one, other, _ in pairs),
                "pairs": [[tiles.names[one], tiles.names[other], far] for one, other, far in pairs],
            }
        )
    return found


def describe_near_duplicates(leak: Mapping[str, Any]) -> str:
    """What was found between two splits, in words."""
    first, second = leak["splits"]
    if not leak["count"]:
        return f"no {second} tile is a near-duplicate of a {first} tile"
    return (
        f"{leak['count']:,} of {leak['tiles']:,} {second} tiles are near-duplicates of {first} tiles "
        f"({leak['identical']:,} identical), such as {leak['pairs'][0][1]} of {leak['pairs'][0][0]}"
    )


@dataclass(frozen=True)
class _Fingerprints:
    """Of all tiles: grids float32 (N, GRID, GRID, 1), centred and of length 1; contrasts (N,), their standard
    deviations before that, in grey levels; colours (N, 3), means; digests of the bytes."""

    grids: "Tensor"
    contrasts: np.ndarray
    colours: np.ndarray
    digests: list[bytes]


def _fingerprints(tiles: TileSet) -> _Fingerprints:
    import torch

    height, width = tiles.tiles.shape[1:3]
    down, across = resize_matrix(height, GRID, "bilinear"), resize_matrix(width, GRID, "bilinear")
    grids, colours, digests = [], [], []
    for rows in np.array_split(np.arange(len(tiles.labels)), -(-len(tiles.labels) // _AT_ONCE)):
        pixels = tiles.read(rows)
        digests += [hashlib.blake2b(tile.data, digest_size=16).digest() for tile in pixels]
        values = torch.from_numpy(pixels).float()
        colours.append(values.mean((1, 2)))
        grids.append(down @ (values @ torch.tensor(_BRIGHTNESS)) @ across.T)
    grid = torch.cat(grids)
    grid -= grid.mean((1, 2), keepdim=True)
    contrasts = grid.square().mean((1, 2)).sqrt()
    scaled = grid / (GRID * contrasts.clamp_min(1e-3))[:, None, None]
    return _Fingerprints(scaled[..., None], contrasts.numpy(), torch.cat(colours).numpy(), digests)


def _near(prints: _Fingerprints, first: np.ndarray, second: np.ndarray) -> list[tuple[int, int, float]]:
    """(row in the first, row in the second, distance), the nearest of each row that has one, sorted."""
    known = {prints.digests[row]: row for row in first.tolist()}
    best = {row: (0.0, known[d]) for row in second.tolist() if (d := prints.digests[row]) in known}
    whole = prints.grids[first].reshape(len(first), -1).T.contiguous()
    for start in range(0, len(second), _AT_ONCE):
        rows = second[start : start + _AT_ONCE]
        for view in dihedral_views(prints.grids[rows]):
            likeness = view.reshape(len(rows), -1) @ whole
            if likeness.max() < 1 - NEAR:
                continue  # at once, as nearly always
            places = (likeness >= 1 - NEAR).nonzero()
            distances = 1 - likeness[places[:, 0], places[:, 1]].numpy()
            ones, others = first[places[:, 1].numpy()], rows[places[:, 0].numpy()]
            for i in np.flatnonzero(_alike(prints, ones, others, distances)):
                found = (max(0.0, float(distances[i])), int(ones[i]))
                best[int(others[i])] = min(found, best.get(int(others[i]), found))
    return sorted(((one, row, far) for row, (far, one) in best.items()), key=lambda pair: pair[2])


def _alike(prints: _Fingerprints, ones: np.ndarray, others: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Which pairs with grids of these distances, all at most `NEAR`, are near-duplicates."""
    colours, contrasts = prints.colours + 1, prints.contrasts  # so black tiles can be compared too
    limit = 1 + TOLERANCE
    flat = np.minimum(contrasts[ones], contrasts[others]) < FLAT
    colour = np.maximum(colours[ones] / colours[others], colours[others] / colours[ones]).max(1)
    contrast = np.maximum(contrasts[ones] / contrasts[others], contrasts[others] / contrasts[ones])
    return (distances <= np.where(flat, NEAR_FLAT, NEAR)) & (colour <= limit) & (contrast <= limit)
