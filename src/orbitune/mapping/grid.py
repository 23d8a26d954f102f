"""Grid cells of a map: squares of `stride` pixels, labelled from centred tiles."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

NODATA, NOT_SURE = 0, 255  # codes of a map; class index k has code k + 1
# Fractions of a tile that must hold data for a cell to have any code but nodata, and to have a class.
_MIN_VALID, _MIN_VALID_FOR_CLASS = 0.5, 0.9


def code_names(classes: Iterable[str]) -> dict[int, str]:
    """Return the name of each code of a map."""
    return {NODATA: "no data", **dict(enumerate(classes, 1)), NOT_SURE: "not sure"}


def valid_strides(tile: int) -> list[int]:
    """Return the strides that a tile of `tile` pixels allows, largest first.

    A stride divides the side of the tile, and its cell can be centred in the tile.
    """
    return [side for side in range(tile, 0, -1) if tile % side == 0 and (tile - side) % 2 == 0]


@dataclass(frozen=True)
class CellGrid:
    """A regular grid of cells over a scene, or over the part of it that is mapped.

    Attributes:
        height, width: size of the mapped part in pixels.
        stride: side of a cell in pixels; it divides the side of a tile.
        tile: side in pixels of the tile that a cell is labelled from; the cell lies in its centre.
        top, left: first row and column of the mapped part in the scene, multiples of the stride.
    """

    height: int
    width: int
    stride: int
    tile: int
    top: int = 0
    left: int = 0

    @property
    def rows(self) -> int:
        """Number of rows of cells; the last row may reach beyond the scene."""
        return -(-self.height // self.stride)

    @property
    def columns(self) -> int:
        """Number of cells in a row; the last cell may reach beyond the scene."""
        return -(-self.width // self.stride)

    @property
    def margin(self) -> int:
        """Number of pixels of a tile on each side of its cell."""
        return (self.tile - self.stride) // 2

    def window(self, row: int, column: int, *, rows: int, columns: int) -> tuple[int, int, int, int]:
        """Return the pixel window of a block's tiles: top, left, height, width.

        Args:
            row, column: first cell of the block.
            rows, columns: size of the block in cells.
        """
        height, width = (count * self.stride + 2 * self.margin for count in (rows, columns))
        top, left = self.top + row * self.stride, self.left + column * self.stride
        return top - self.margin, left - self.margin, height, width


@dataclass(frozen=True)
class PixelWindow:
    """The pixels of a block of cells, with the margin that their tiles need.

    Attributes:
        pixels: uint8 or uint16 (H, W, bands).
        valid: bool (H, W), False where the scene has no data.
        cells: the grid that the block belongs to.
        wanted: bool (rows, columns), False for cells outside the area of interest; None for all cells.
    """

    pixels: np.ndarray
    valid: np.ndarray
    cells: CellGrid
    wanted: np.ndarray | None = None

    @cached_property
    def tile_coverage(self) -> np.ndarray:
        """Fraction of each cell's tile that holds data, float (rows, columns), 0..1."""
        return _block_means(self.valid, side=self.cells.tile, step=self.cells.stride)

    @cached_property
    def cell_coverage(self) -> np.ndarray:
        """Fraction of each cell that holds data, float (rows, columns), 0..1."""
        stride, margin = self.cells.stride, self.cells.margin
        inner = self.valid[margin : len(self.valid) - margin, margin : self.valid.shape[1] - margin]
        return _block_means(inner, side=stride, step=stride)

    @cached_property
    def has_data(self) -> np.ndarray:
        """Return whether each cell gets any code but nodata, bool (rows, columns)."""
        enough = (self.tile_coverage >= _MIN_VALID) & (self.cell_coverage >= _MIN_VALID)
        return enough if self.wanted is None else enough & self.wanted

    def tiles(self, where: np.ndarray) -> np.ndarray:
        """Return the tiles around some cells.

        Pixels without data are filled with the tile's mean.

        Args:
            where: int (K, 2), row and column of each cell.

        Returns:
            uint8 or uint16 (K, tile, tile, bands).
        """
        tile, stride = self.cells.tile, self.cells.stride
        starts = where * stride
        tiles = np.stack([self.pixels[y : y + tile, x : x + tile] for y, x in starts])
        valid = np.stack([self.valid[y : y + tile, x : x + tile] for y, x in starts])
        for index in np.flatnonzero(~valid.all((1, 2))):
            if valid[index].any():
                tiles[index][~valid[index]] = tiles[index][valid[index]].mean(0)
        return tiles

    def filled(self) -> np.ndarray:
        """Return pixels (H, W, bands) with gaps filled by the mean of the valid pixels."""
        if self.valid.all() or not self.valid.any():
            return self.pixels
        pixels = self.pixels.copy()
        pixels[~self.valid] = pixels[self.valid].mean(0)
        return pixels


def select_cells(window: PixelWindow, not_sure: bool = True) -> np.ndarray:
    """Return the cells with enough data, int (K, 2) of row and column.

    Args:
        not_sure: whether cells may be coded as not sure. If not, every cell with enough data for any code
            gets a class.
    """
    needed = _MIN_VALID_FOR_CLASS if not_sure else _MIN_VALID
    return np.argwhere(window.has_data & (window.tile_coverage >= needed))


def encode_cells(window: PixelWindow, where: np.ndarray, *, predicted: np.ndarray) -> np.ndarray:
    """Return codes and confidence of all cells of a window.

    Args:
        where: int (K, 2), the classified cells, from `select_cells`.
        predicted: float (K, C + 1), calibrated class probabilities; the last column is the probability
            that the tile is out of distribution.

    Returns:
        uint8 (2, rows, columns): codes, and the highest class probability in percent, 0 for cells without
        a class.
    """
    codes = np.where(window.has_data, NOT_SURE, NODATA).astype(np.uint8)
    confidence = np.zeros_like(codes)
    classified = to_codes(predicted)
    codes[tuple(where.T)] = classified
    percent = np.round(100 * predicted.max(1))
    confidence[tuple(where.T)] = np.where(classified == NOT_SURE, 0, percent)
    return np.stack([codes, confidence])


def to_codes(predicted: np.ndarray) -> np.ndarray:
    """Return the codes, uint8 (K,), of probabilities (K, C + 1) as in `encode_cells`."""
    best = predicted.argmax(1)
    return np.where(best < predicted.shape[1] - 1, best + 1, NOT_SURE).astype(np.uint8)


def _block_means(valid: np.ndarray, *, side: int, step: int) -> np.ndarray:
    """Return the fraction of True in squares of `side` pixels, `step` apart."""
    tops = np.arange(0, valid.shape[0] - side + 1, step)
    lefts = np.arange(0, valid.shape[1] - side + 1, step)
    if valid.all():
        return np.ones((len(tops), len(lefts)))
    sums = np.zeros((valid.shape[0] + 1, valid.shape[1] + 1), np.int32)
    sums[1:, 1:] = valid.cumsum(0, dtype=np.int32).cumsum(1)
    across = sums[:, lefts + side] - sums[:, lefts]
    return (across[tops + side] - across[tops]) / side**2
