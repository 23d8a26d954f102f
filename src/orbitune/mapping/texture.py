"""Texture of grid cells: statistics of their pixels, by which a dense map tells cells apart."""

import numpy as np

from orbitune.mapping.grid import PixelWindow

_ROWS = 4  # rows of blocks computed at once: their pixels stay in the processor's cache


def texture_features(window: PixelWindow) -> np.ndarray:
    """Return features of the tile of each cell.

    They are mean, deviation, darkest and brightest value of each band, and its mean difference between
    neighbouring pixels in each direction. Where tiles overlap, blocks of `stride` pixels are measured once,
    and the features of a tile are the mean and the deviation of those of its blocks.

    Args:
        window: pixels of a block of cells.

    Returns:
        float32 (rows, columns, D).
    """
    pixels, side = window.filled(), window.cells.stride
    height, width = (n // side * side for n in pixels.shape[:2])
    strips = range(0, height, _ROWS * side)
    blocks = np.concatenate(
        [_measure_blocks(pixels[top : min(top + _ROWS * side, height), :width], side) for top in strips]
    )
    across = window.cells.tile // side
    return blocks if across == 1 else _pool(blocks, across)


def _measure_blocks(pixels: np.ndarray, side: int) -> np.ndarray:
    """Return the features of squares of `side` pixels, float32 (rows, columns, 6 * bands)."""
    bands = pixels.shape[2]
    rows, columns = (n // side for n in pixels.shape[:2])
    strips = pixels.reshape(rows, side, columns, side * bands)
    blocks = pixels.reshape(rows, side, columns, side, bands)
    signed, squared = (np.int16, np.uint16) if pixels.dtype == np.uint8 else (np.int32, np.uint32)
    across = np.abs(np.subtract(strips[..., bands:], strips[..., :-bands], dtype=signed))
    down = np.abs(np.subtract(strips[:, 1:], strips[:, :-1], dtype=signed))
    mean = _block_mean(blocks)
    variance = _block_mean(np.square(blocks, dtype=squared)) - mean**2
    spread = [
        np.sqrt(np.maximum(variance, 0)),
        _block_mean(across.reshape(rows, side, columns, -1, bands)),
        _block_mean(down.reshape(rows, -1, columns, side, bands)),
    ]
    ends = [blocks.min(1).min(2), blocks.max(1).max(2)]
    return np.concatenate([mean, np.log1p(spread).transpose(1, 2, 0, 3).reshape(rows, columns, -1), *ends], 2)


def _block_mean(values: np.ndarray) -> np.ndarray:
    """Return means over rows and columns of blocks (rows, h, columns, w, bands), float64."""
    total = values.sum(1, dtype=np.uint64 if values.itemsize > 2 else np.uint32).sum(2)
    return total / max(values.shape[1] * values.shape[3], 1)


def _pool(blocks: np.ndarray, across: int) -> np.ndarray:
    """Return mean and deviation over squares of `across` x `across` blocks, float32 (.., .., 2 * D)."""
    sums = []
    for values in (blocks, blocks**2):
        total = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0), (0, 0)))
        wide = total[:, across:] - total[:, :-across]
        sums.append((wide[across:] - wide[:-across]) / across**2)
    deviation = np.sqrt(np.maximum(sums[1] - sums[0] ** 2, 0))
    return np.concatenate([sums[0], deviation], 2)
