"""Dense prediction of grid cells: most of them without the network.

The network predicts a sample of the scene's cells tile by tile. A kernel head that is fitted to them (see
`dense_fit`) estimates from the texture of every other cell what the network would compute, and so its code.
Cells whose estimate is close to another code are predicted tile by tile as well.
"""

from dataclasses import dataclass, fields

import numpy as np

from orbitune.mapping.grid import CellGrid, CellPredictions, PixelWindow
from orbitune.mapping.kernel_head import KernelHead
from orbitune.mapping.texture import texture_features
from orbitune.mapping.tilewise import TilewisePredictor

_SMALL = 1000  # cells of a scene that take the network about as long as the fit of a head


def is_small(cells: CellGrid) -> bool:
    """Return whether a dense map has too few cells for a head to save time."""
    return cells.rows * cells.columns <= _SMALL


@dataclass(frozen=True)
class DenseHead:
    """What a dense map needs beside the network.

    Attributes:
        kernel: from texture to what `TilewisePredictor.measure_tiles` returns.
        margin: cells whose estimate is closer to another code are predicted tile by tile, see
            `TilewisePredictor.margins`; float32 (1,).
        compared: number of cells compared with tile-wise predictions, fraction with the same code, and the
            mean of that over the codes, float64 (3,).
    """

    kernel: KernelHead
    margin: np.ndarray
    compared: np.ndarray

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return all arrays by name, to be stored."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        kernel = own.pop("kernel")
        return own | {field.name: getattr(kernel, field.name) for field in fields(kernel)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "DenseHead":
        """Return the head that `to_arrays` was called on.

        Raises:
            KeyError: an array is missing.
        """
        kernel = KernelHead(**{field.name: arrays[field.name] for field in fields(KernelHead)})
        return cls(kernel, arrays["margin"], arrays["compared"])


class DensePredictor:
    """Predict cells from their texture, and those that it leaves in doubt tile by tile.

    Args:
        head: fitted on the scene.
        tilewise: the tile-wise predictor of the model.
    """

    def __init__(self, head: DenseHead, tilewise: TilewisePredictor) -> None:
        self._head, self._tilewise = head, tilewise

    def predict(self, window: PixelWindow, where: np.ndarray) -> CellPredictions:
        """Return the predictions of cells, as `tilewise.CellPredictor.predict`."""
        measured = estimate_cells(self._head.kernel, window, where=where)
        doubtful = self._tilewise.margins(measured) < self._head.margin
        measured[doubtful] = self._tilewise.measure(window, where[doubtful])
        return self._tilewise.decide(measured)


def estimate_cells(kernel: KernelHead, window: PixelWindow, *, where: np.ndarray) -> np.ndarray:
    """Return an estimate of what `TilewisePredictor.measure_tiles` returns for cells, float32 (K, C + 1)."""
    return kernel(texture_features(window)[tuple(where.T)], where + window.first)
