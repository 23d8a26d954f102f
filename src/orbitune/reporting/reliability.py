"""Reliability diagram as a panel: accuracy against confidence."""

from collections.abc import Sequence
from dataclasses import dataclass

from orbitune.evaluation.calibration import Calibration
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

LEGEND = (
    "{tiles} in bins of equal size by confidence. On the diagonal, accuracy equals confidence; below "
    "it, {subject} is overconfident. Both axes are logarithmic in the error rate, as most tiles lie near "
    "100 %; a bin without errors is drawn with half an error."
)
"""How to read a diagram; `tiles` is what is binned, `subject` what is calibrated."""


@dataclass(frozen=True)
class ReliabilityCurve:
    """The calibration of one model, with its title and look."""

    title: str
    look: Look
    calibration: Calibration

    def points(self) -> list[tuple[float, float]]:
        """Return (confidence, accuracy) of each bin in the scale of the axes."""
        return [
            (to_error_scale(row.confidence, row.count), to_error_scale(row.accuracy, row.count))
            for row in self.calibration.reliability
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
        axes.plot(*zip(*curve.points(), strict=True), **curve.look, linewidth=1.2, alpha=0.9)
    for which in ("x", "y"):
        set_error_axis(axes, which, low=low, high=high)
    axes.set_xlabel("confidence, %")
    axes.set_ylabel("accuracy, %")
    legend(figure, [(curve.title, {**curve.look, "linestyle": "-"}) for curve in curves], width=HALF_WIDTH)
    errors = "; ".join(f"{curve.title} {fmt.percent(curve.calibration.ece, 2)}" for curve in curves)
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
    bins = curve.calibration.reliability
    points = [100 * row.confidence for row in bins], [100 * row.accuracy for row in bins]
    axes.plot(*points, **curve.look, linewidth=1.2, alpha=0.9)
    axes.set(xlabel="probability, %", ylabel="frequency, %", xlim=(-2, 102), ylim=(-2, 102))
    legend(figure, [(curve.title, {**curve.look, "linestyle": "-"})], width=HALF_WIDTH)
    alt = f"Reliability diagram of the labels, {title.lower()}."
    return to_panel(figure, name, alt=alt, width=HALF_WIDTH)
