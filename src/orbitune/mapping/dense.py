"""Dense answers: from tokens that the tiles around neighbouring cells share, every patch read once.

Windows that lie side by side go through the backbone, enlarged so that a patch is a cell; its first third
makes tokens of them, which are averaged over each tile; and a linear layer, fitted on this scene to what the
model says tile by tile at some places, makes of these what the model would say.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from orbitune.evaluation.calibration import probabilities
from orbitune.inference.bundle_model import BundleModel
from orbitune.mapping.grid import CellGrid, Part

WINDOW = 14  # tokens along a side of a window: more would cost more attention, fewer see less around them
_WINDOWS = 4  # computed at a time
_DECAY = 1e-2  # of the linear layer's squared weights


def fewest_rows(cells: CellGrid) -> int:
    """Rows of cells that fill windows of tokens, together with the tokens that tiles see around them."""
    return WINDOW - (cells.tile // cells.stride - 1) % WINDOW


@dataclass(frozen=True)
class DenseHead:
    """The linear layer of dense answers: weight float32 (C + 1, D), bias float32 (C + 1,)."""

    weight: np.ndarray
    bias: np.ndarray

    @classmethod
    def fit(cls, features: np.ndarray, targets: np.ndarray) -> "DenseHead":
        """Least cross-entropy of probabilities (N, C + 1) from features (N, D)."""
        import torch

        mean, deviation = features.mean(0), features.std(0) + 1e-6
        inputs = torch.from_numpy((features - mean) / deviation).double()
        wanted = torch.from_numpy(targets).double()
        weight = torch.zeros(targets.shape[1], inputs.shape[1], dtype=torch.double, requires_grad=True)
        bias = torch.zeros(targets.shape[1], dtype=torch.double, requires_grad=True)
        optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

        def loss() -> Any:
            optimizer.zero_grad()
            logits = torch.nn.functional.linear(inputs, weight, bias)
            value = torch.nn.functional.cross_entropy(logits, wanted) + _DECAY * (weight**2).sum()
            value.backward()
            return value

        optimizer.step(loss)
        scaled = weight.detach().numpy() / deviation
        return cls(scaled.astype(np.float32), (bias.detach().numpy() - scaled @ mean).astype(np.float32))

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Float32 (N, C + 1) of features (N, D)."""
        return probabilities(features @ self.weight.T + self.bias, 1.0)


class Dense:
    """Cells by the tokens around them."""

    def __init__(self, network: BundleModel, readout: DenseHead, not_sure: bool) -> None:
        self._network = network
        # Fitted to tiles of which none was not sure, its last row would still say so of some cells.
        self._readout = readout if not_sure else DenseHead(readout.weight[:-1], readout.bias[:-1])
        self._not_sure = not_sure

    def of(self, part: Part, where: np.ndarray) -> np.ndarray:
        """As `Answers.of`."""
        answers = self._readout(dense_features(self._network, part)[tuple(where.T)])
        return answers if self._not_sure else np.column_stack([answers, np.zeros(len(where), np.float32)])


def dense_features(network: BundleModel, part: Part) -> np.ndarray:
    """Float32 (rows, columns, D): the mean over each cell's tile of the tokens that see it."""
    import torch

    stride, tile = part.cells.stride, part.cells.tile
    side = WINDOW * stride
    pixels = part.filled()
    height, width = (-(-n // stride) for n in pixels.shape[:2])
    short = [-n % side for n in pixels.shape[:2]]
    padded = np.pad(pixels, ((0, short[0]), (0, short[1]), (0, 0)), mode="edge")
    rows, columns = (n // side for n in padded.shape[:2])
    windows = padded.reshape(rows, side, columns, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
    tokens = np.concatenate(
        [
            network.tokens(windows[start : start + _WINDOWS], WINDOW)
            for start in range(0, len(windows), _WINDOWS)
        ]
    )
    grid = tokens.reshape(rows, columns, WINDOW, WINDOW, -1).swapaxes(1, 2)
    grid = grid.reshape(rows * WINDOW, columns * WINDOW, -1)[:height, :width]
    channels = torch.from_numpy(grid).permute(2, 0, 1)[None]
    return torch.nn.functional.avg_pool2d(channels, tile // stride, 1)[0].permute(1, 2, 0).numpy()
