"""Accuracy by the value of a swept setting."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orbitune.reporting import formatting as fmt
from orbitune.reporting.components import Figure, Panel
from orbitune.reporting.drawing import (
    HALF_WIDTH,
    legend,
    new_figure,
    set_error_axis,
    to_error_scale,
    to_panel,
)
from orbitune.study.findings import SWEPT_FIELDS
from orbitune.study.report.figures.styles import Styles
from orbitune.study.report.split_origins import scored_on_each
from orbitune.study.report.view_model import ReportView, RunGroup

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Lines = dict[str, list[tuple[Any, RunGroup]]]


@dataclass(frozen=True)
class Sweep:
    """A swept setting.

    Attributes:
        name: in results.json.
        title: heading of its section.
        axis: label of its axis.
    """

    name: str
    title: str
    axis: str


SWEEPS = (
    Sweep("shots", "Fewer training tiles", "training tiles per class"),
    Sweep("ranks", "Ranks", "rank"),
    Sweep("image_sizes", "Image sizes", "image size, pixels"),
)


def sweep_lines(view: ReportView, sweep: Sweep, *, split: str) -> Lines:
    """Return (value, group) pairs of each swept method and split, in rising order.

    All tiles come last. The value of the recipe itself belongs to the comparison, so its group is taken from
    there.
    """
    swept = [group for group in view.groups if group.split == split]
    methods = {group.method for group in swept if group.summary.sweep == sweep.name}
    lines: Lines = {}
    for group in swept:
        if group.method in methods and group.summary.sweep in (None, sweep.name):
            lines.setdefault(group.title, []).append(
                (getattr(group.summary, SWEPT_FIELDS[sweep.name]), group)
            )
    return {
        title: sorted(points, key=lambda point: (point[0] is None, point[0] or 0))
        for title, points in lines.items()
    }


def sweep_figure(view: ReportView, sweep: Sweep, *, styles: Styles) -> Figure:
    """Draw one panel per split."""
    panels = [
        _draw_panel(view, sweep, split=split, styles=styles)
        for split in view.splits
        if sweep_lines(view, sweep, split=split)
    ]
    logarithmic = " The horizontal axis is logarithmic." if sweep.name != "image_sizes" else ""
    axis = "The axis of accuracy is logarithmic in the error rate."
    caption = f"On {scored_on_each(view)}. Bars are 95 % intervals.{logarithmic} {axis}"
    return Figure(caption, panels)


def _draw_panel(view: ReportView, sweep: Sweep, *, split: str, styles: Styles) -> Panel:
    lines = sweep_lines(view, sweep, split=split)
    figure, axes = new_figure(
        view.with_split("Test accuracy, %", split), width=HALF_WIDTH, height=400, synthetic=view.synthetic
    )
    for title, points in lines.items():
        x = [_place(value, group) for value, group in points]
        y = [[to_error_scale(accuracy, g.summary.test_tiles) for accuracy in g.accuracy] for _, g in points]
        errors = [[m - low for m, low, _ in y], [high - m for m, _, high in y]]
        axes.errorbar(x, [m for m, *_ in y], yerr=errors, **styles[title], capsize=2, elinewidth=1)
    groups = [group for points in lines.values() for _, group in points]
    ends = [to_error_scale(accuracy, g.summary.test_tiles) for g in groups for accuracy in g.interval]
    set_error_axis(axes, "y", low=min(ends), high=max(ends))
    _value_axis(axes, sweep, lines=lines)
    legend(figure, [(title, {**styles[title], "linestyle": "-"}) for title in lines], width=HALF_WIDTH)
    texts = "; ".join(
        f"{title} "
        + ", ".join(
            f"{fmt.percent(group.accuracy[0], view.digits)} at {'all' if value is None else value}"
            for value, group in points
        )
        for title, points in lines.items()
    )
    alt = f"{view.with_split('Test accuracy', split)}, by {sweep.axis}: {texts}."
    return to_panel(
        figure, fmt.slug(view.with_split(f"sweep {sweep.name}", split)), alt=alt, width=HALF_WIDTH
    )


def _place(value: int | None, group: RunGroup) -> float:
    """Return the position of a value on its axis.

    All tiles count as the mean number per class.
    """
    if value is not None:
        return value
    data = group.runs[0].finished.data
    return float(data.sizes["train"]) / len(data.classes)


def _value_axis(axes: "Axes", sweep: Sweep, *, lines: Lines) -> None:
    """Label the values that were run."""
    from matplotlib.ticker import NullLocator

    if sweep.name != "image_sizes":
        axes.set_xscale("log")
    ticks = {
        _place(value, group): "all" if value is None else f"{value}"
        for points in lines.values()
        for value, group in points
    }
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(sweep.axis)
