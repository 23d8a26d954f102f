"""Quality of a finished map, as far as the model itself can tell."""

import numpy as np

from orbitune.mapping.grid import NODATA, NOT_SURE
from orbitune.mapping.part_store import PartStore
from orbitune.records import Record

_MIN_CLASSIFIED = 0.5  # fraction of the cells, below which a map is not usable


class MapQuality(Record):
    """Fraction of the ground that has a class, and expected accuracy there.

    Attributes:
        cells: number of grid cells with data.
        classified: fraction of them that have a class, or with several labels a cell any number of them,
            0..1; the others are *not sure*.
        expected_accuracy: mean probability of the given classes, 0..1; None if the map is not usable, or with
            several labels a cell. It estimates the accuracy on other data as far as the model is calibrated
            there (Hendrycks and Gimpel 2017, arXiv:1610.02136), and is too high where it is not: only
            reference points measure it.
    """

    cells: int
    classified: float
    expected_accuracy: float | None = None

    def describe(self) -> str:
        """Return a line for people."""
        if not self.classified:
            return "no cell has a class"
        if self.expected_accuracy is None:
            return f"{self.classified:.0%} of the cells have an answer; the others are not sure"
        return (
            f"{self.classified:.0%} of the cells have a class; by its own confidence the model expects "
            f"{self.expected_accuracy:.0%} of them to be right, which reference points can measure "
            "(orbitune map-sample)"
        )

    def warnings(self) -> list[str]:
        """Return a warning if the map is not usable."""
        if self.cells == 0 or _usable(self.classified):
            return []
        return [
            f"this map is not usable: only {self.classified:.0%} of the cells have a class, as the scene is "
            "unlike the model's training tiles; check --bands and --scale, or train on tiles like this scene"
        ]


def measure_quality(store: PartStore, parts: int, *, label_sets: bool) -> MapQuality:
    """Return the quality of the map in finished parts.

    Args:
        label_sets: whether a cell has several labels.
    """
    cells = classified = percent = 0
    for number in range(parts):
        codes, confidence = store.read(number)[:2]
        named = (codes != NODATA) & (codes != NOT_SURE)
        cells += int((codes != NODATA).sum())
        classified += int(named.sum())
        percent += int(confidence[named].sum(dtype=np.int64))
    fraction = classified / cells if cells else 0.0
    # The classes of an unknown scene can be wrong and sure.
    expected = percent / classified / 100 if _usable(fraction) and not label_sets else None
    return MapQuality(cells=cells, classified=fraction, expected_accuracy=expected)


def _usable(classified: float) -> bool:
    """Return whether enough of the cells have a class."""
    return classified >= _MIN_CLASSIFIED
