"""How large the land of each class is, and how sure that is.

The areas are stratified estimates from the map and the confusion of test tiles (Olofsson et al. 2014,
doi:10.1016/j.rse.2014.02.015): what the model confuses in testing is taken to be confused as often here. They
hold as far as the scene is like the test tiles; where it is another country or season, it need not be.
"""

from typing import Any

import numpy as np

from orbitune.deploy.scene.cells import UNSURE
from orbitune.deploy.scene.layers import Layers

_NORMAL = 1.96  # of a 95 % interval


def areas(layers: Layers, confusion: np.ndarray | None) -> list[dict[str, Any]]:
    """One row for each class, and one for what is not sure.

    Args:
        confusion: int (C, C), tiles by true class (rows) and answer (columns); None where it is not known.

    Returns:
        name, hectares on the map, share of what is not nodata, and where the confusion is known, the
        estimate with its 95 % interval: estimated_hectares, low_hectares and high_hectares.
    """
    hectares = _pixels(layers) * layers.grid.pixel_area / 1e4
    there = hectares[1:].sum()
    mapped = hectares[1 : len(layers.classes) + 1]
    rows = []
    estimates = None if confusion is None or not mapped.sum() else _estimate(mapped, confusion)
    for number, name in enumerate(layers.classes):
        row: dict[str, Any] = {"name": name, "hectares": float(mapped[number])}
        row["share"] = float(mapped[number] / there) if there else 0.0
        if estimates:
            middle, error = (float(values[number]) for values in estimates)
            row |= {
                "estimated_hectares": middle,
                "low_hectares": max(0.0, middle - _NORMAL * error),
                "high_hectares": middle + _NORMAL * error,
            }
        rows.append(row)
    unsure = float(hectares[UNSURE])
    return [*rows, {"name": "not sure", "hectares": unsure, "share": unsure / there if there else 0.0}]


def _pixels(layers: Layers) -> np.ndarray:
    """Pixels of the scene under each code, float (256,); cells at the edges are cut."""
    cells = layers.order.cells
    heights, widths = (
        np.diff(np.minimum(np.arange(count + 1) * cells.stride, side))
        for count, side in ((cells.rows, cells.height), (cells.columns, cells.width))
    )
    found = np.zeros(256)
    for row, strip in layers.strips():
        codes = strip[0]
        sizes = np.outer(heights[row : row + len(codes)], widths)
        found += np.bincount(codes.ravel(), sizes.ravel(), 256)
    return found


def _estimate(mapped: np.ndarray, confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Estimated area of each class and its standard error; Olofsson's equations 9 and 10."""
    answers = confusion.T.astype(float)  # rows: what the map says
    counts = answers.sum(1, keepdims=True)
    # What the model never answered in testing says nothing about itself: it is taken at its word.
    shares = np.where(counts > 0, answers / np.maximum(counts, 1), np.eye(len(answers)))
    variance = shares * (1 - shares) / np.maximum(counts - 1, 1)
    return mapped @ shares, np.sqrt(mapped**2 @ variance)
