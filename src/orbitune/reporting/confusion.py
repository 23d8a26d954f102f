"""Confusion matrix as a panel."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from orbitune.reporting.components import Panel
from orbitune.reporting.drawing import (
    FULL_WIDTH,
    HALF_WIDTH,
    INK,
    LARGE_WIDTH,
    LINE,
    THIRD_WIDTH,
    new_figure,
    shorten,
    to_panel,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEGEND = (
    "Rows are true classes, columns predicted classes. Numbers are tiles, zeros left out{counted}; "
    "the colour is the fraction of the row, on a square-root scale that shows rare errors."
)
"""How to read a matrix; `counted` is what else is to be said of the numbers."""

_WIDTHS = {5: THIRD_WIDTH, 12: HALF_WIDTH, 24: LARGE_WIDTH}  # by the most classes that are legible at each
_NUMBERED = 24  # classes; beyond that a number no longer fits its cell
_DRAWN = 4000  # cells; more are an image, which is smaller than as many shapes


def confusion_panel(
    name: str,
    heading: str,
    *,
    counts: np.ndarray,
    classes: Sequence[str],
    colour: str,
    of: str,
    synthetic: bool,
) -> Panel:
    """Draw a confusion matrix.

    Args:
        name: of the panel, unique in the report.
        heading: title above the matrix.
        counts: tiles by true class (rows) and predicted class (columns), int (C, C).
        classes: C names.
        colour: of a full row.
        of: what the matrix is of, in its text alternative.
        synthetic: whether the tiles are synthetic.
    """
    from matplotlib.collections import PatchCollection
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Rectangle

    width = next((width for most, width in _WIDTHS.items() if len(classes) <= most), FULL_WIDTH)
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = new_figure(heading, width=width, height=width, synthetic=synthetic)
    fade = LinearSegmentedColormap.from_list("fade", ["white", colour])
    # With many classes nearly all cells are empty: drawing them would cost megabytes.
    hits = np.nonzero(counts)
    if len(hits[0]) > _DRAWN:
        extent = (0, len(classes), len(classes), 0)
        axes.imshow(fade(np.sqrt(fractions)), extent=extent, interpolation="nearest")
    else:
        cells = [Rectangle((column, row), 1, 1) for row, column in zip(*hits, strict=True)]
        axes.add_collection(PatchCollection(cells, facecolors=fade(np.sqrt(fractions[hits]))))
    if len(counts) <= _NUMBERED:
        for row, column in zip(*hits, strict=True):
            ink = "white" if fractions[row, column] > 0.3 else INK
            size = 10.5 if counts[row, column] < 1000 else 9
            text = f"{counts[row, column]}"
            axes.text(column + 0.5, row + 0.5, text, color=ink, fontsize=size, ha="center", va="center")
    _class_axes(axes, [shorten(each) for each in classes], width=width)
    alt = f"Confusion matrix of {of}: {np.trace(counts):,} of {counts.sum():,} tiles are correct."
    return replace(to_panel(figure, name, alt=alt, width=width), shrinks=False)


def _class_axes(axes: "Axes", names: list[str], *, width: int) -> None:
    """Label both axes with the class names, and draw the grid."""
    size = min(12, 0.62 * width / len(names))
    middles = [i + 0.5 for i in range(len(names))]
    axes.set_xticks(middles, names, rotation=90, fontsize=size)
    axes.set_yticks(middles, names, fontsize=size)
    axes.tick_params(length=0)
    axes.grid(False)
    for lines in (axes.hlines, axes.vlines):
        lines(range(len(names) + 1), 0, len(names), colors=LINE, linewidth=0.5)
    axes.set(xlim=(0, len(names)), ylim=(len(names), 0), aspect="equal")
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
