"""Reliability diagram as a panel: accuracy against confidence."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from orbitune.errors import counted
from orbitune.evaluation.calibration import Calibration
from orbitune.evaluation.details.calibration_check import LEAST_TILES, merge_bins
from orbitune.reporting import formatting as fmt
from orbitune.reporting.components import Panel
from orbitune.reporting.drawing import (
    HALF_WIDTH,
    QUIET,
    Look,
    legend,
    new_figure,
    set_error_axis,
    to_error_scale,
    to_panel,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_EXPECTED = 5  # errors in a bin, as in a chi-squared test (Cochran 1954)
LEGEND = (
    "{tiles} by confidence, in bins of at least 20 tiles and five expected errors; bars are 95 % intervals "
    "of the accuracy. On the dashed line, accuracy equals confidence; below it, {subject} is overconfident. "
    "Both axes are logarithmic in the error rate, as most tiles lie near 100 %; half an error is drawn where "
    "there is none."
)
"""How to read a diagram; `tiles` is what is binned, `subject` what is calibrated."""


def too_few(tiles: int) -> str:
    """Say that calibration cannot be judged from a number of tiles."""
    few = counted(tiles, "tile is", several="tiles are")
    return f"{few} too few to judge calibration, which needs {LEAST_TILES} or more."


@dataclass(frozen=True)
class ReliabilityCurve:
    """The calibration of one model, or of those of several seeds.

    Attributes:
        title, look: of the curve.
        calibration: of the tiles of all seeds together.
        tiles: number of different tiles.
        error: expected calibration error, 0..1; of several seeds the mean.
    """

    title: str
    look: Look
    calibration: Calibration
    tiles: int
    error: float

    def points(self) -> list[tuple[float, ...]]:
        """Return (confidence, accuracy, low, high) of each bin in the scale of error rates."""
        return [
            tuple(
                to_error_scale(value, max(1, round(each.tiles)))
                for value in (each.confidence, each.accuracy, each.low, each.high)
            )
            for each in merge_bins(self.calibration.reliability, self.tiles, expected=_EXPECTED)
        ]


def reliability_panel(
    name: str,
    title: str,
    *,
    curves: Sequence[ReliabilityCurve],
    beside: Sequence[ReliabilityCurve],
    synthetic: bool,
) -> Panel:
    """Draw a reliability diagram.

    Args:
        name: of the panel, unique in the report.
        title: of the axes.
        curves: what is drawn.
        beside: curves of the diagrams beside this one, which share its axis limits.
        synthetic: whether the tiles are synthetic.
    """
    both = [end for curve in (*curves, *beside) for point in curve.points() for end in point]
    low, high = min(both), max(both)
    figure, axes = new_figure(title, width=HALF_WIDTH, height=420, synthetic=synthetic)
    axes.plot((low, high), (low, high), color=QUIET, linewidth=1, linestyle="--")
    for curve in curves:
        _plot(axes, curve.points(), look=curve.look)
    for which in ("x", "y"):
        set_error_axis(axes, which, low=low, high=high)
    axes.set_xlabel("confidence, %")
    axes.set_ylabel("accuracy, %")
    if len(curves) > 1:
        entries = [(curve.title, {**curve.look, "linestyle": "-"}) for curve in curves]
        legend(figure, entries, width=HALF_WIDTH)
    errors = "; ".join(f"{curve.title} {fmt.percent(curve.error, 2)}" for curve in curves)
    alt = f"Reliability diagram, {title.lower()}. Expected calibration errors: {errors}."
    return to_panel(figure, name, alt=alt, width=HALF_WIDTH)


def frequency_panel(name: str, title: str, *, curve: ReliabilityCurve, synthetic: bool) -> Panel:
    """Draw the frequency of labels against their probability, of several labels a tile.

    Args:
        name: of the panel, unique in the report.
        title: of the axes.
        curve: what is drawn.
        synthetic: whether the tiles are synthetic.
    """
    figure, axes = new_figure(title, width=HALF_WIDTH, height=420, synthetic=synthetic)
    axes.plot((0, 100), (0, 100), color=QUIET, linewidth=1, linestyle="--")
    points = [
        tuple(100 * value for value in (each.confidence, each.accuracy, each.low, each.high))
        for each in merge_bins(curve.calibration.reliability, curve.calibration.predictions or curve.tiles)
    ]
    _plot(axes, points, look=curve.look)
    axes.set(xlabel="probability, %", ylabel="frequency, %", xlim=(-2, 102), ylim=(-2, 102))
    alt = f"Reliability diagram of the labels, {title.lower()}."
    return to_panel(figure, name, alt=alt, width=HALF_WIDTH)


def _plot(axes: "Axes", points: Sequence[tuple[float, ...]], *, look: Look) -> None:
    """Draw (x, y, low, high) of each bin, with a thin line to follow."""
    x, y, low, high = (np.array(values) for values in zip(*points, strict=True))
    axes.plot(x, y, color=look["color"], linewidth=0.8, alpha=0.5)
    axes.errorbar(x, y, yerr=[y - low, high - y], **look, linestyle="none", elinewidth=1.1, capsize=2)
