"""Reliability diagrams before and after temperature scaling."""

from orbitune.evaluation.calibration import Calibration
from orbitune.study.report import formatting as fmt
from orbitune.study.report.components import Figure, Panel
from orbitune.study.report.figures.drawing import (
    HALF_WIDTH,
    QUIET,
    Styles,
    legend,
    new_figure,
    set_error_axis,
    to_error_scale,
    to_panel,
)
from orbitune.study.report.view_model import ReportView, RunGroup

_STATES = (("before", "Before temperature scaling"), ("after", "After temperature scaling"))


def reliability_figure(view: ReportView, splits: list[str], *, styles: Styles) -> Figure:
    """Draw accuracy against confidence in bins of equal size; two panels per split."""
    panels = [
        _draw_panel(view, split, state=state, styles=styles) for split in splits for state, _ in _STATES
    ]
    caption = (
        "Test tiles in bins of equal size by confidence. On the diagonal, accuracy equals confidence; below "
        "it, a method is overconfident. Both axes are logarithmic in the error rate, as most tiles lie near "
        "100 %; a bin without errors is drawn with half an error."
    )
    return Figure(caption, panels)


def _scores(group: RunGroup, state: str) -> Calibration:
    assert group.summary.calibration is not None
    return group.summary.calibration.before if state == "before" else group.summary.calibration.after


def _points(group: RunGroup, state: str) -> list[tuple[float, float]]:
    """Return (confidence, accuracy) of each bin in the scale of the axes."""
    return [
        (to_error_scale(row.confidence, row.count), to_error_scale(row.accuracy, row.count))
        for row in _scores(group, state).reliability
    ]


def _draw_panel(view: ReportView, split: str, *, state: str, styles: Styles) -> Panel:
    groups = [group for group in view.groups_on(split) if group.summary.calibration]
    both = [end for group in groups for each, _ in _STATES for point in _points(group, each) for end in point]
    low, high = min(both), max(both)
    title = view.with_split(dict(_STATES)[state], split)
    figure, axes = new_figure(view, title, width=HALF_WIDTH, height=420)
    axes.plot((low, high), (low, high), color=QUIET, linewidth=1, linestyle="--")
    for group in groups:
        points = _points(group, state)
        axes.plot(*zip(*points, strict=True), **styles[group.title], linewidth=1.2, alpha=0.9)
    for which in ("x", "y"):
        set_error_axis(axes, which, low=low, high=high)
    axes.set_xlabel("confidence, %")
    axes.set_ylabel("accuracy, %")
    legend(
        figure,
        [(group.title, {**styles[group.title], "linestyle": "-"}) for group in groups],
        width=HALF_WIDTH,
    )
    errors = "; ".join(f"{group.title} {fmt.percent(_scores(group, state).ece, 2)}" for group in groups)
    alt = f"Reliability diagram, {title.lower()}. Expected calibration errors: {errors}."
    return to_panel(
        figure, fmt.slug(view.with_split(f"reliability {state}", split)), alt=alt, width=HALF_WIDTH
    )
