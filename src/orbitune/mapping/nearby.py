"""Places whose windows may overlap with those of other places."""

from collections.abc import Sequence

import numpy as np

REACH = 1.75  # sides of a window: no window of a point overlaps with any of a point this far away


def near_any(points: np.ndarray, places: np.ndarray, *, side: float | np.ndarray) -> np.ndarray:
    """Return which points have windows that may overlap with those of any of the places, bool (N,).

    Args:
        points: two coordinates each, (N, 2); a point that is not finite is near none.
        places: the same, (M, 2).
        side: of a window in the unit of the coordinates, or along each of the two.
    """
    found = np.zeros(len(points), bool)
    for place in places:
        found |= (abs(points - place) < REACH * np.asarray(side)).all(1)
    return found


def from_degrees(degrees: Sequence[tuple[float, float]], crs: str) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y in a CRS (WKT), float (M,), of longitudes and latitudes of WGS 84."""
    import pyproj

    projection = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    x, y = projection.transform(*np.array(degrees, float).reshape(-1, 2).T)
    return x, y
