"""Near-duplicates across splits: equal or slightly changed tiles.

A tile's fingerprint is its brightness on a 16 x 16 grid, centred and normalised to length 1. The distance of
two tiles is 1 minus the correlation of their grids, the minimum over the eight flips and quarter turns. All
pairs are compared with matrix products. Two tiles are near-duplicates if their bytes are equal, or if their
distance is at most `MAX_DISTANCE` and their mean colours and contrasts agree to `TOLERANCE`, which tells a
copy from another field of the same shape. Flat tiles such as open water resemble each other, so their limit
is `MAX_DISTANCE_FLAT`.

The limits are chosen on EuroSAT RGB. Three pairs of its 27,000 tiles show the same ground (River_492 and 597,
River_1680 and 111, Highway_513 and 291), at distances of 0.010, 0.020 and 0.021. The closest pair of
different ground has 0.041, the closest flat pair 0.023. Of 1,500 tiles, all copies of tiles that are not flat
(88 %) are found if turned, made up to 5 % brighter, or saved as JPEG of quality 75; 99.9 % if 10 % brighter,
97.5 % at quality 50. Flat tiles are not recognised after re-encoding. Copies shifted by one pixel are found
in 73 % of cases, by two pixels in 4 %: overlapping tiles are left to the spatial split. The published spatial
split has no near-duplicates.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from orbitune.data.augment import dihedral_views
from orbitune.data.preview import preview_bands
from orbitune.data.tileset import TileSet
from orbitune.data.transform import resize_matrix
from orbitune.errors import counted

if TYPE_CHECKING:
    from torch import Tensor

GRID = 16  # cells along a side
MAX_DISTANCE = 0.03
MAX_DISTANCE_FLAT = 0.01
FLAT = 2.0  # grey levels; tiles whose grid has a smaller standard deviation are flat
TOLERANCE = 0.15  # relative, of mean colours and contrasts
_CHUNK = 500  # tiles read, or compared with all others, at a time
_BRIGHTNESS = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601), as JPEG has it


class DuplicatePair(NamedTuple):
    """A tile of the second split, the nearest of the first, and their distance."""

    first: str
    second: str
    distance: float


@dataclass(frozen=True)
class NearDuplicates:
    """The near-duplicates between two splits.

    Attributes:
        splits: names of the first and second split.
        tiles: number of tiles in the second split.
        count: number of these with a near-duplicate in the first split.
        identical: number of these with an identical tile there.
        pairs: each of them and its nearest tile, sorted by distance.
    """

    splits: tuple[str, str]
    tiles: int
    count: int
    identical: int
    pairs: list[DuplicatePair]

    def describe(self) -> str:
        """Return the finding as a clause of a sentence."""
        first, second = self.splits
        if not self.count:
            return f"no {second} tile is a near-duplicate of a {first} tile"
        pair = self.pairs[0]
        example = f"{pair.second} of {pair.first}" if pair.second != pair.first else f"both {pair.first}"
        are = "is a near-duplicate" if self.count == 1 else "are near-duplicates"
        return (
            f"{self.count:,} of {counted(self.tiles, f'{second} tile')} {are} of {first} tiles "
            f"({self.identical:,} identical), such as {example}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {**asdict(self), "splits": list(self.splits), "pairs": [list(pair) for pair in self.pairs]}


def find_near_duplicates(
    tiles: TileSet, splits: Mapping[str, np.ndarray], *, prints: "Fingerprints | None" = None
) -> list[NearDuplicates]:
    """Compare every two splits, each tile of the second with all of the first.

    Args:
        tiles: the tiles.
        splits: indices into the tiles, int64 (n,) by name, in the order train, validation, test.
        prints: of all tiles, where they were made before.
    """
    prints = prints or Fingerprints.of_tiles(tiles, np.arange(len(tiles.labels)))
    found = []
    for first, second in combinations(splits, 2):
        pairs = _nearest_pairs(prints, splits[first], second=splits[second])
        found.append(
            NearDuplicates(
                splits=(first, second),
                tiles=len(splits[second]),
                count=len(pairs),
                identical=sum(prints.digests[one] == prints.digests[other] for one, other, _ in pairs),
                pairs=[DuplicatePair(tiles.names[one], tiles.names[other], far) for one, other, far in pairs],
            )
        )
    return found


def find_copies(new: "Fingerprints", known: "Fingerprints") -> list[tuple[int, int, float]]:
    """Return (known tile, new tile, distance) of new tiles with a near-duplicate among known ones.

    Args:
        new, known: of tiles of two data sets with the same bands; of at least one tile each.
    """
    together = Fingerprints.join([known, new])
    first, second = np.arange(len(known.digests)), np.arange(len(known.digests), len(together.digests))
    pairs = _nearest_pairs(together, first, second=second)
    return [(one, other - len(first), far) for one, other, far in pairs]


@dataclass(frozen=True)
class Fingerprints:
    """Fingerprints of N tiles.

    Attributes:
        grids: brightness, float32 (N, GRID, GRID, 1), centred and of length 1.
        contrasts: standard deviation of each grid before that, float32 (N,), in grey levels.
        colours: mean of each band, float32 (N, C), in grey levels.
        digests: hashes of the pixels.
    """

    grids: "Tensor"
    contrasts: np.ndarray
    colours: np.ndarray
    digests: list[bytes]

    @classmethod
    def compute(cls, pixels: np.ndarray, grey: np.ndarray, *, bands: Sequence[str]) -> "Fingerprints":
        """Return the fingerprints of some tiles.

        Args:
            pixels: as they are stored, (N, H, W, C).
            grey: the same in 8 bits, uint8 (N, H, W, C).
            bands: names of the C bands.
        """
        import torch

        down, across = (resize_matrix(side, GRID, resample="bilinear") for side in pixels.shape[1:3])
        values = torch.from_numpy(grey).float()
        grid = down @ (values[..., preview_bands(bands)] @ torch.tensor(_BRIGHTNESS)) @ across.T
        grid -= grid.mean((1, 2), keepdim=True)
        contrasts = grid.square().mean((1, 2)).sqrt()
        scaled = grid / (GRID * contrasts.clamp_min(1e-3))[:, None, None]
        digests = [hashlib.blake2b(tile.tobytes(), digest_size=16).digest() for tile in pixels]
        return cls(scaled[..., None], contrasts.numpy(), values.mean((1, 2)).numpy(), digests)

    @classmethod
    def of_tiles(cls, tiles: TileSet, rows: np.ndarray) -> "Fingerprints":
        """Return the fingerprints of some tiles of a set, int (n,), n >= 1."""
        return cls.join(
            [
                cls.compute(tiles.read(part), tiles.read_grey_levels(part), bands=tiles.bands)
                for part in np.array_split(rows, -(-len(rows) // _CHUNK))
            ]
        )

    @classmethod
    def join(cls, parts: "Sequence[Fingerprints]") -> "Fingerprints":
        """Return the fingerprints of several parts, one after the other."""
        import torch

        return cls(
            torch.cat([part.grids for part in parts]),
            np.concatenate([part.contrasts for part in parts]),
            np.concatenate([part.colours for part in parts]),
            [digest for part in parts for digest in part.digests],
        )


def _nearest_pairs(
    prints: Fingerprints, first: np.ndarray, *, second: np.ndarray
) -> list[tuple[int, int, float]]:
    """Return (row in first, row in second, distance) of near-duplicates, sorted."""
    known = {prints.digests[row]: row for row in first.tolist()}
    best = {row: (0.0, known[d]) for row in second.tolist() if (d := prints.digests[row]) in known}
    whole = prints.grids[first].reshape(len(first), -1).T.contiguous()
    for start in range(0, len(second), _CHUNK):
        rows = second[start : start + _CHUNK]
        for view in dihedral_views(prints.grids[rows]):
            correlation = view.reshape(len(rows), -1) @ whole
            if correlation.max() < 1 - MAX_DISTANCE:
                continue  # nearly always
            places = (correlation >= 1 - MAX_DISTANCE).nonzero()
            distances = 1 - correlation[places[:, 0], places[:, 1]].numpy()
            ones, others = first[places[:, 1].numpy()], rows[places[:, 0].numpy()]
            for i in np.flatnonzero(_are_near(prints, ones, others=others, distances=distances)):
                found = (max(0.0, float(distances[i])), int(ones[i]))
                best[int(others[i])] = min(found, best.get(int(others[i]), found))
    return sorted(((one, row, far) for row, (far, one) in best.items()), key=lambda pair: pair[2])


def _are_near(
    prints: Fingerprints, ones: np.ndarray, *, others: np.ndarray, distances: np.ndarray
) -> np.ndarray:
    """Return which pairs, at most `MAX_DISTANCE` apart, are near-duplicates."""
    colours, contrasts = prints.colours + 1, prints.contrasts  # + 1, so that black tiles can be compared
    limit = 1 + TOLERANCE
    flat = np.minimum(contrasts[ones], contrasts[others]) < FLAT
    colour = np.maximum(colours[ones] / colours[others], colours[others] / colours[ones]).max(1)
    contrast = np.maximum(contrasts[ones] / contrasts[others], contrasts[others] / contrasts[ones])
    return (
        (distances <= np.where(flat, MAX_DISTANCE_FLAT, MAX_DISTANCE))
        & (colour <= limit)
        & (contrast <= limit)
    )
