"""Planes of a finished part with several labels a cell.

Behind the three planes of every part come the probability of each class in percent and that of being *not
sure*, 0 or 100, then 1 or 0 for each class by its threshold and for *not sure*.
"""

import numpy as np

from orbitune.evaluation.tasks.thresholds import HALF
from orbitune.inference.bundle import Bundle
from orbitune.mapping.grid import NODATA, NOT_SURE, PixelWindow

NO_VALUE = 255  # in these planes: no data, or for a class not sure
SURE = 1  # code of a cell whose classes are known, maybe none
_FIRST = 3  # planes of every part, see `Worker.label`


def thresholds_of(bundle: Bundle) -> tuple[float, ...] | None:
    """Return the probability from which a cell has each class; None with one label a tile."""
    if bundle.task.name == "single-label":
        return None
    return bundle.decision.thresholds or (HALF,) * len(bundle.classes)


def percent_planes(classes: int) -> list[int]:
    """Return the planes of the probabilities of the classes, then that of *not sure*."""
    return list(range(_FIRST, _FIRST + classes + 1))


def label_planes(classes: int) -> list[int]:
    """Return the planes of the labels of the classes, then that of *not sure*."""
    return [plane + classes + 1 for plane in percent_planes(classes)]


def encode_label_sets(
    window: PixelWindow, where: np.ndarray, *, predicted: np.ndarray, thresholds: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return codes, and the planes of the classes, of all cells of a window.

    Args:
        where: int (K, 2), the predicted cells, from `grid.select_cells`.
        predicted: float (K, C + 1), calibrated probabilities of the classes; the last column is 1 for tiles
            that are out of distribution, else 0.
        thresholds: of the C classes.

    Returns:
        Codes, uint8 (rows, columns): NODATA, NOT_SURE or SURE; and uint8 (2 (C + 1), rows, columns), as
        `percent_planes` and `label_planes` number them.
    """
    outside = predicted[:, -1] > 0
    codes = np.where(window.has_data, NOT_SURE, NODATA).astype(np.uint8)
    codes[tuple(where.T)] = np.where(outside, NOT_SURE, SURE)
    planes = []
    for values, yes in ((np.round(100 * predicted), 100), (predicted >= np.array([*thresholds, HALF]), 1)):
        of_classes = np.full((len(thresholds), *codes.shape), NO_VALUE, np.uint8)
        rows, columns = where[~outside].T
        of_classes[:, rows, columns] = values[~outside, :-1].T
        not_sure = np.where(codes == NOT_SURE, yes, 0).astype(np.uint8)
        not_sure[codes == NODATA] = NO_VALUE
        planes += [of_classes, not_sure[None]]
    return codes, np.concatenate(planes)
