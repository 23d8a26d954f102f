"""Whether the methods are as often right as they say, before and after their temperatures."""

from orbitune.study.report import numbers as say
from orbitune.study.report.blocks import Panel, Plate
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
from orbitune.study.report.view import Group, View

_STATES = (("before", "Before the temperature"), ("after", "After the temperature"))


def reliability_plate(view: View, split: str, looks: Looks) -> Plate:
    """Accuracy against confidence in bins of equal mass, a panel before and one after."""
    groups = [group for group in view.on(split) if "calibration" in group.summary]
    ends = [end for group in groups for state, _ in _STATES for point in _points(group, state) for end in point]
    panels = [_reliability(view, split, groups, state, (min(ends), max(ends)), looks) for state, _ in _STATES]
    caption = (
        "Test tiles in bins of equal numbers by confidence. On the diagonal a method is as often right as it "
        "says; below it, it is too sure. Both axes are stretched towards 100 %, where most tiles lie; a bin "
        "without errors is drawn as if half a tile were wrong."
    )
    return Plate(caption, panels)


def _points(group: Group, state: str) -> list[tuple[float, float]]:
    """Confidence and accuracy of each bin, on the stretched axes."""
    return [
        (stretch(row["confidence"], row["count"]), stretch(row["accuracy"], row["count"]))
        for row in group.summary["calibration"][state]["reliability"]
    ]


def _reliability(
    view: View, split: str, groups: list[Group], state: str, ends: tuple[float, float], looks: Looks
) -> Panel:
    title = dict(_STATES)[state]
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
    where = f", {view.split_name(split)}" if view.split_name(split) else ""
    errors = "; ".join(
        f"{group.title} {say.percent(group.summary['calibration'][state]['ece'], 2)}" for group in groups
    )
    name = say.slug(f"reliability {state} {split if where else ''}")
    alt = f"Reliability diagram{where}, {title.lower()}. Expected calibration errors: {errors}."
    return panel(figure, name, alt, HALF)
