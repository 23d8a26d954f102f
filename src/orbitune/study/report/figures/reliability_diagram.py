"""Whether the methods are as often right as they say, before and after their temperatures."""

from orbitune.study.report import formatting as say
from orbitune.study.report.components import Panel, Plate
from orbitune.study.report.figures.canvas import (
    HALF,
    QUIET,
    Looks,
    canvas,
    legend,
    panel,
    stretch,
    stretched_axis,
)
from orbitune.study.report.view_model import Group, View

_STATES = (("before", "Before the temperature"), ("after", "After the temperature"))


def reliability_plate(view: View, splits: list[str], looks: Looks) -> Plate:
    """Accuracy against confidence in bins of equal mass; for each split a panel before and one after."""
    panels = [_reliability(view, split, state, looks) for split in splits for state, _ in _STATES]
    caption = (
        "Test tiles in bins of equal numbers by confidence. On the diagonal a method is as often right as it "
        "says; below it, it is too sure. Both axes are stretched towards 100 %, where most tiles lie; a bin "
        "without errors is drawn as if half a tile were wrong, and no confidence is drawn beyond that."
    )
    return Plate(caption, panels)


def _points(group: Group, state: str) -> list[tuple[float, float]]:
    """Confidence and accuracy of each bin, on the stretched axes."""
    return [
        (stretch(row["confidence"], row["count"]), stretch(row["accuracy"], row["count"]))
        for row in group.summary["calibration"][state]["reliability"]
    ]


def _reliability(view: View, split: str, state: str, looks: Looks) -> Panel:
    groups = [group for group in view.on(split) if "calibration" in group.summary]
    both = [end for group in groups for each, _ in _STATES for point in _points(group, each) for end in point]
    ends = min(both), max(both)
    title = view.of(split, dict(_STATES)[state])
    figure, axes = canvas(HALF, 420, title, view)
    axes.plot(ends, ends, color=QUIET, linewidth=1, linestyle="--")
    for group in groups:
        points = _points(group, state)
        axes.plot(*zip(*points, strict=True), **looks[group.title], linewidth=1.2, alpha=0.9)
    for which in ("x", "y"):
        stretched_axis(axes, which, *ends)
    axes.set_xlabel("confidence, %")
    axes.set_ylabel("accuracy, %")
    legend(figure, [(group.title, {**looks[group.title], "linestyle": "-"}) for group in groups], HALF)
    errors = "; ".join(
        f"{group.title} {say.percent(group.summary['calibration'][state]['ece'], 2)}" for group in groups
    )
    alt = f"Reliability diagram, {title.lower()}. Expected calibration errors: {errors}."
    return panel(figure, say.slug(view.of(split, f"reliability {state}")), alt, HALF)
