"""Accuracy against the value of a setting that a study sweeps."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orbitune.study.report import formatting as fmt
from orbitune.study.report.components import Figure, Subfigure
from orbitune.study.report.figures.new_figure import (
    HALF_WIDTH,
    MethodStyles,
    legend,
    new_figure,
    save_svg,
    set_error_axis,
    to_error_scale,
)
from orbitune.study.report.view_model import ReportView, RunGroup

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Lines = dict[str, list[tuple[Any, RunGroup]]]


@dataclass(frozen=True)
class Sweep:
    """A setting: its name in results.json, the field of a summary with its value, and words for both."""

    name: str
    field: str
    title: str
    axis: str


SWEEPS = (
    Sweep("shots", "shots", "Fewer training tiles", "training tiles per class"),
    Sweep("ranks", "rank", "Ranks", "rank"),
    Sweep("image_sizes", "image_size", "Image sizes", "image size, pixels"),
)


def sweep_lines(view: ReportView, sweep: Sweep, split: str) -> Lines:
    """For each method that is swept on a split the values, in rising order with all tiles last, and groups.

    The value of the recipe itself is in the comparison, so its group is found there.
    """
    swept = [group for group in view.groups if group.split == split]
    methods = {group.method for group in swept if group.summary["sweep"] == sweep.name}
    lines: Lines = {}
    for group in swept:
        if group.method in methods and group.summary["sweep"] in (None, sweep.name):
            lines.setdefault(group.title, []).append((group.summary[sweep.field], group))
    return {
        title: sorted(points, key=lambda point: (point[0] is None, point[0] or 0))
        for title, points in lines.items()
    }


def sweep_figure(view: ReportView, sweep: Sweep, method_styles: MethodStyles) -> Figure:
    """A panel for each split."""
    subfigures = [
        _sweep_panel(view, sweep, split, method_styles)
        for split in view.splits
        if sweep_lines(view, sweep, split)
    ]
    logarithmic = " Equal steps to the right are equal factors." if sweep.name != "image_sizes" else ""
    caption = (
        f"Bars are 95 % intervals.{logarithmic} The axis of accuracy is stretched: equal steps are equal "
        "factors of the errors."
    )
    return Figure(caption, subfigures)


def _sweep_panel(view: ReportView, sweep: Sweep, split: str, method_styles: MethodStyles) -> Subfigure:
    lines = sweep_lines(view, sweep, split)
    figure, axes = new_figure(HALF_WIDTH, 400, view.of(split, "Test accuracy, %"), view)
    for title, points in lines.items():
        x = [_place(value, group) for value, group in points]
        y = [[to_error_scale(share, g.summary["test_tiles"]) for share in g.accuracy] for _, g in points]
        errors = [[m - low for m, low, _ in y], [high - m for m, _, high in y]]
        axes.errorbar(x, [m for m, *_ in y], yerr=errors, **method_styles[title], capsize=2, elinewidth=1)
    groups = [group for points in lines.values() for _, group in points]
    ends = [to_error_scale(share, g.summary["test_tiles"]) for g in groups for share in g.interval]
    set_error_axis(axes, "y", min(ends), max(ends))
    _value_axis(axes, sweep, lines)
    legend(figure, [(title, {**method_styles[title], "linestyle": "-"}) for title in lines], HALF_WIDTH)
    texts = "; ".join(
        f"{title} "
        + ", ".join(
            f"{fmt.percent(group.accuracy[0], view.digits)} at {'all' if value is None else value}"
            for value, group in points
        )
        for title, points in lines.items()
    )
    alt = f"{view.of(split, 'Test accuracy')}, by {sweep.axis}: {texts}."
    return save_svg(figure, fmt.slug(view.of(split, f"sweep {sweep.name}")), alt, HALF_WIDTH)


def _place(value: int | None, group: RunGroup) -> float:
    """A value on its axis; all tiles are as many per class as there are on average."""
    if value is not None:
        return value
    data = group.runs[0]["result"]["data"]
    return float(data["sizes"]["train"]) / len(data["classes"])


def _value_axis(axes: "Axes", sweep: Sweep, lines: Lines) -> None:
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
