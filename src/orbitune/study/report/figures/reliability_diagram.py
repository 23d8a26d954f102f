"""Whether the methods are as often right as they say, before and after their temperatures."""

from orbitune.study.report import formatting as fmt
from orbitune.study.report.components import Figure, Subfigure
from orbitune.study.report.figures.new_figure import (
    HALF_WIDTH,
    QUIET,
    MethodStyles,
    legend,
    new_figure,
    save_svg,
    set_error_axis,
    to_error_scale,
)
from orbitune.study.report.view_model import ReportView, RunGroup

_STATES = (("before", "Before the temperature"), ("after", "After the temperature"))


def reliability_figure(view: ReportView, splits: list[str], method_styles: MethodStyles) -> Figure:
    """Accuracy against confidence in bins of equal mass; for each split a panel before and one after."""
    subfigures = [_reliability(view, split, state, method_styles) for split in splits for state, _ in _STATES]
    caption = (
        "Test tiles in bins of equal numbers by confidence. On the diagonal a method is as often right as it "
        "says; below it, it is too sure. Both axes are stretched towards 100 %, where most tiles lie; a bin "
        "without errors is drawn as if half a tile were wrong, and no confidence is drawn beyond that."
    )
    return Figure(caption, subfigures)


def _points(group: RunGroup, state: str) -> list[tuple[float, float]]:
    """Confidence and accuracy of each bin, on the stretched axes."""
    return [
        (to_error_scale(row["confidence"], row["count"]), to_error_scale(row["accuracy"], row["count"]))
        for row in group.summary["calibration"][state]["reliability"]
    ]


def _reliability(view: ReportView, split: str, state: str, method_styles: MethodStyles) -> Subfigure:
    groups = [group for group in view.on(split) if "calibration" in group.summary]
    both = [end for group in groups for each, _ in _STATES for point in _points(group, each) for end in point]
    ends = min(both), max(both)
    title = view.of(split, dict(_STATES)[state])
    figure, axes = new_figure(HALF_WIDTH, 420, title, view)
    axes.plot(ends, ends, color=QUIET, linewidth=1, linestyle="--")
    for group in groups:
        points = _points(group, state)
        axes.plot(*zip(*points, strict=True), **method_styles[group.title], linewidth=1.2, alpha=0.9)
    for which in ("x", "y"):
        set_error_axis(axes, which, *ends)
    axes.set_xlabel("confidence, %")
    axes.set_ylabel("accuracy, %")
    legend(
        figure,
        [(group.title, {**method_styles[group.title], "linestyle": "-"}) for group in groups],
        HALF_WIDTH,
    )
    errors = "; ".join(
        f"{group.title} {fmt.percent(group.summary['calibration'][state]['ece'], 2)}" for group in groups
    )
    alt = f"Reliability diagram, {title.lower()}. Expected calibration errors: {errors}."
    return save_svg(figure, fmt.slug(view.of(split, f"reliability {state}")), alt, HALF_WIDTH)
