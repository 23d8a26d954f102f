"""The cells of a map: squares of `stride` pixels, each labelled by what a tile around it shows."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

NODATA, UNSURE = 0, 255  # codes of a map; class number k has k + 1
_SHOWN, _WHOLE = 0.5, 0.9  # shares of a tile that must be there for any answer, and for a class


def strides(tile: int) -> list[int]:
    """The sides that cells of a tile may have, largest first: they divide it, and lie in its middle."""
    return [side for side in range(tile, 0, -1) if tile % side == 0 and (tile - side) % 2 == 0]


@dataclass(frozen=True)
class CellGrid:
    """How a scene is cut.

    Attributes:
        height, width: of the scene, in pixels.
        stride: side of a cell in pixels; it divides the tile's.
        tile: side of a tile in pixels, in whose middle the cell lies.
    """

    height: int
    width: int
    stride: int
    tile: int

    @property
    def rows(self) -> int:
        """Rows of cells; the last may reach beyond the scene."""
        return -(-self.height // self.stride)

    @property
    def columns(self) -> int:
        """Cells in a row."""
        return -(-self.width // self.stride)

    @property
    def margin(self) -> int:
        """Pixels of a tile on each side of its cell."""
        return (self.tile - self.stride) // 2

    def window(self, row: int, column: int, rows: int, columns: int) -> tuple[int, int, int, int]:
        """Top, left, height and width in pixels of what the tiles of these cells see."""
        sides = (rows * self.stride + 2 * self.margin, columns * self.stride + 2 * self.margin)
        return (row * self.stride - self.margin, column * self.stride - self.margin, *sides)


@dataclass(frozen=True)
class Part:
    """The pixels below some rows and columns of cells, with their margin.

    Attributes:
        pixels: uint8 (H, W, 3).
        valid: bool (H, W).
        cells: how the scene is cut.
    """

    pixels: np.ndarray
    valid: np.ndarray
    cells: CellGrid

    @cached_property
    def shares(self) -> tuple[np.ndarray, np.ndarray]:
        """float (rows, columns): which share of each tile is there, and of each cell."""
        tile, stride, margin = self.cells.tile, self.cells.stride, self.cells.margin
        inner = self.valid[margin : len(self.valid) - margin, margin : self.valid.shape[1] - margin]
        return _means(self.valid, tile, stride), _means(inner, stride, stride)

    def tiles(self, where: np.ndarray) -> np.ndarray:
        """uint8 (K, tile, tile, 3), of the cells (row, column) in int (K, 2); gaps have the tile's mean."""
        tile, stride = self.cells.tile, self.cells.stride
        starts = where * stride
        tiles = np.stack([self.pixels[y : y + tile, x : x + tile] for y, x in starts])
        valid = np.stack([self.valid[y : y + tile, x : x + tile] for y, x in starts])
        for index in np.flatnonzero(~valid.all((1, 2))):
            if valid[index].any():
                tiles[index][~valid[index]] = tiles[index][valid[index]].mean(0)
        return tiles

    def filled(self) -> np.ndarray:
        """The pixels, where gaps have the mean of what is there."""
        if self.valid.all() or not self.valid.any():
            return self.pixels
        pixels = self.pixels.copy()
        pixels[~self.valid] = pixels[self.valid].mean(0)
        return pixels


def askable(part: Part, not_sure: bool = True) -> np.ndarray:
    """Return the cells (row, column), int (K, 2), that can have a class.

    Args:
        not_sure: whether cells may be not sure; else all have a class of which as much is there as for any
            answer.
    """
    tiles, own = part.shares
    return np.argwhere((tiles >= (_WHOLE if not_sure else _SHOWN)) & (own >= _SHOWN))


def coded(part: Part, where: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Codes and confidence of a part.

    Args:
        where: the cells that were asked for, from `askable`.
        answers: float (K, C + 1), calibrated probabilities of the classes, and of being like none of the
            training tiles.

    Returns:
        uint8 (2, rows, columns): codes; and the largest probability of a class in percent, 0 where there is
        no class.
    """
    tiles, own = part.shares
    codes = np.where((tiles >= _SHOWN) & (own >= _SHOWN), UNSURE, NODATA).astype(np.uint8)
    confidence = np.zeros_like(codes)
    said = codes_of(answers)
    codes[tuple(where.T)] = said
    confidence[tuple(where.T)] = np.where(said == UNSURE, 0, np.round(100 * answers.max(1)))
    return np.stack([codes, confidence])


def codes_of(answers: np.ndarray) -> np.ndarray:
    """The codes, uint8 (K,), of answers as in `coded`."""
    best = answers.argmax(1)
    return np.where(best < answers.shape[1] - 1, best + 1, UNSURE).astype(np.uint8)


def _means(valid: np.ndarray, side: int, step: int) -> np.ndarray:
    """The share of every square of `side` pixels, `step` apart, that is there."""
    tops = np.arange(0, valid.shape[0] - side + 1, step)
    lefts = np.arange(0, valid.shape[1] - side + 1, step)
    if valid.all():
        return np.ones((len(tops), len(lefts)))
    sums = np.zeros((valid.shape[0] + 1, valid.shape[1] + 1), np.int32)
    sums[1:, 1:] = valid.cumsum(0, dtype=np.int32).cumsum(1)
    across = sums[:, lefts + side] - sums[:, lefts]
    return (across[tops + side] - across[tops]) / side**2
