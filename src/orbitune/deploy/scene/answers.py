"""What a model says of cells: a tile at a time, as it was trained, or densely, from tokens that tiles share.

Dense answers read every patch once. Windows that lie side by side go through the backbone, enlarged so that a
patch is a cell; its first third makes tokens of them, which are averaged over each tile; and a linear layer,
fitted on this scene to what the model says tile by tile at some places, makes of these what the model would
say. How well that agrees is measured on the finished map, elsewhere.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from orbitune.deploy.bundle import Bundle
from orbitune.deploy.network import BundleNetwork
from orbitune.deploy.scene.cells import Cells, Part, askable
from orbitune.errors import ModelError
from orbitune.evaluation.calibration import probabilities

BATCH = 256  # tiles cut out at a time
WINDOW = 14  # tokens along a side of a window: more would cost more attention, fewer see less around them
_WINDOWS = 8  # computed at a time
_DECAY = 1e-2  # of the linear layer's squared weights


class Answers(Protocol):
    """Says of cells what they are."""

    def of(self, part: Part, where: np.ndarray) -> np.ndarray:
        """Float32 (K, C + 1) of the cells (row, column) in int (K, 2); see `cells.coded`."""


class TileByTile:
    """Every cell by its own tile, as `Classifier` would."""

    def __init__(self, bundle: Bundle, network: BundleNetwork, not_sure: bool) -> None:
        self._bundle = bundle
        self._network = network
        self._likeness = bundle.likeness if not_sure else None

    def of(self, part: Part, where: np.ndarray) -> np.ndarray:
        """As `Answers.of`; the last column is 0 or 1, by the distance from the training tiles."""
        answers = np.zeros((len(where), len(self._bundle.classes) + 1), np.float32)
        for start in range(0, len(where), BATCH):
            chosen = slice(start, start + BATCH)
            logits, features = self._network.compute(part.tiles(where[chosen]))
            answers[chosen, :-1] = probabilities(logits, self._bundle.temperature)
            if self._likeness is not None:
                answers[chosen, -1] = self._likeness.distances(features) > self._likeness.threshold
        answers[answers[:, -1] == 1, :-1] = 0
        return answers


@dataclass(frozen=True)
class Readout:
    """The linear layer of dense answers: weight float32 (C + 1, D), bias float32 (C + 1,)."""

    weight: np.ndarray
    bias: np.ndarray

    @classmethod
    def fit(cls, features: np.ndarray, targets: np.ndarray) -> "Readout":
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

    def __init__(self, network: BundleNetwork, readout: Readout) -> None:
        self._network = network
        self._readout = readout

    def of(self, part: Part, where: np.ndarray) -> np.ndarray:
        """As `Answers.of`."""
        return self._readout(dense_features(self._network, part)[tuple(where.T)])


def dense_features(network: BundleNetwork, part: Part) -> np.ndarray:
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


def check_dense(bundle: Bundle, network: BundleNetwork, cells: Cells) -> None:
    """A ModelError where a model has no dense answers."""
    if not network.is_fast:
        raise ModelError("This backbone has dropout of its own, so it has no dense answers: --mode tiles.")
    if bundle.tile_size[0] % cells.stride:
        raise ModelError(f"Dense answers need a stride that divides {bundle.tile_size[0]}: --mode tiles.")


def pairs(
    network: BundleNetwork, teacher: Answers, part: Part, random: np.random.Generator, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, D), and what the teacher says (N, C + 1), of up to `count` cells of a part."""
    where = askable(part)
    where = where[np.sort(random.permutation(len(where))[:count])]
    if not len(where):
        return np.empty((0, 0), np.float32), np.empty((0, 0), np.float32)
    return dense_features(network, part)[tuple(where.T)], teacher.of(part, where)
