"""Dense prediction of grid cells: overlapping tiles share tokens.

Each pixel is encoded once. The scene is cut into windows, enlarged so that one patch of the backbone is one
cell. The first third of the backbone encodes them, tokens are averaged over each cell's tile, and a linear
head predicts the classes. The head is fitted on each scene to tile-wise predictions of a sample of cells, and
to the labelled points that a model was adapted to there. Cells that it is in doubt about are predicted tile
by tile (see `orbitune.mapping.dense.fit`).
"""

from dataclasses import dataclass

import numpy as np

from orbitune.inference.bundle_model import BundleModel
from orbitune.inference.linear_head import LinearHead
from orbitune.mapping.grid import CellGrid, PixelWindow
from orbitune.mapping.tilewise import CellPredictor

WINDOW_TOKENS = 14  # tokens along a side of a window: larger ones cost more attention, smaller lack context
MIN_FIT = 500  # cells that a head is fitted to, of a small scene half of the cells
_BATCH = 4  # windows encoded at a time


@dataclass(frozen=True)
class DenseFit:
    """A head that was fitted to a scene.

    Attributes:
        head: the head. Its C + 1 classes are those of the model, and out of distribution.
        margin: cells whose two highest probabilities differ by no more are predicted tile by tile.
        cells: row and column in the map of the cells that it was fitted to, int (N, 2).
        labelled_points: number of labelled points of the model's adaptation that it was fitted to.
    """

    head: LinearHead
    margin: float
    cells: np.ndarray
    labelled_points: int = 0


def min_rows(cells: CellGrid) -> int:
    """Return the smallest number of rows of cells that fills whole token windows."""
    return WINDOW_TOKENS - (cells.tile // cells.stride - 1) % WINDOW_TOKENS


class DensePredictor:
    """Predict cells from the averaged tokens of their tiles, and doubtful ones tile by tile.

    Args:
        network: the model.
        fit: the head that was fitted to the scene.
        tilewise: predicts the doubtful cells.
        out_of_distribution: whether cells may be out of distribution.
    """

    def __init__(
        self, network: BundleModel, fit: DenseFit, *, tilewise: CellPredictor, out_of_distribution: bool
    ) -> None:
        self._network, self._tilewise, self._margin = network, tilewise, fit.margin
        head = fit.head
        # Even a head fitted to no out-of-distribution tile gives some cells that class: drop its row.
        self._head = head if out_of_distribution else LinearHead(head.weight[:-1], head.bias[:-1])
        self._out_of_distribution = out_of_distribution

    def predict(self, window: PixelWindow, where: np.ndarray) -> np.ndarray:
        """Return probabilities of cells, as `tilewise.CellPredictor.predict`.

        Args:
            window: pixels of a block of cells.
            where: cells to predict, int (K, 2) of row and column.

        Returns:
            float (K, C + 1).
        """
        found = self._head(dense_features(self._network, window)[tuple(where.T)])
        if not self._out_of_distribution:
            found = np.column_stack([found, np.zeros(len(where), np.float32)])
        doubtful = margins(found) <= self._margin
        found[doubtful] = self._tilewise.predict(window, where[doubtful])
        return found


def margins(probabilities: np.ndarray) -> np.ndarray:
    """Return the differences of the two highest probabilities, (N,), of (N, C)."""
    second, highest = np.partition(probabilities, -2)[:, -2:].T
    return np.asarray(highest - second)


def dense_features(network: BundleModel, window: PixelWindow) -> np.ndarray:
    """Return the mean token over the tile of each cell, float32 (rows, columns, D).

    Args:
        network: the model.
        window: pixels of a block of cells.

    Returns:
        float32 (rows, columns, D).
    """
    import torch

    stride, tile = window.cells.stride, window.cells.tile
    side = WINDOW_TOKENS * stride
    pixels = window.filled()
    height, width = (-(-n // stride) for n in pixels.shape[:2])
    short = [-n % side for n in pixels.shape[:2]]
    padded = np.pad(pixels, ((0, short[0]), (0, short[1]), (0, 0)), mode="edge")
    rows, columns = (n // side for n in padded.shape[:2])
    bands = padded.shape[2]
    blocks = padded.reshape(rows, side, columns, side, bands).swapaxes(1, 2).reshape(-1, side, side, bands)
    tokens = np.concatenate(
        [
            network.tokens(blocks[start : start + _BATCH], WINDOW_TOKENS)
            for start in range(0, len(blocks), _BATCH)
        ]
    )
    grid = tokens.reshape(rows, columns, WINDOW_TOKENS, WINDOW_TOKENS, -1).swapaxes(1, 2)
    grid = grid.reshape(rows * WINDOW_TOKENS, columns * WINDOW_TOKENS, -1)[:height, :width]
    channels = torch.from_numpy(grid).permute(2, 0, 1)[None]
    return torch.nn.functional.avg_pool2d(channels, tile // stride, 1)[0].permute(1, 2, 0).numpy()
