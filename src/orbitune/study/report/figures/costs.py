"""Accuracy against cost, with the Pareto front of the methods."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from orbitune.reporting import formatting as fmt
from orbitune.reporting.components import Figure, Panel
from orbitune.reporting.drawing import (
    THIRD_WIDTH,
    legend,
    new_figure,
    set_error_axis,
    shorten,
    to_error_scale,
    to_panel,
)
from orbitune.study.report.figures.styles import Styles
from orbitune.study.report.split_origins import scored_on_each
from orbitune.study.report.view_model import MeanCost, ReportView, RunGroup

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

Cost = tuple[str, str, Callable[[MeanCost], float]]

_TIME: Cost = ("time", "Train time per epoch, s", lambda cost: cost.seconds_per_epoch)
_CPU: Cost = ("cpu", "CPU time of a run, s", lambda cost: cost.cpu_seconds)
_MEMORY: Cost = ("memory", "Peak memory, MB", lambda cost: cost.peak_memory / 1e6)
_SIZE: Cost = ("size", "Size on disk, MB", lambda cost: cost.artefact_bytes / 1e6)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the points on the Pareto front of low cost and high accuracy.

    Args:
        points: (cost, accuracy) of each.

    Returns:
        Positions in rising order of cost. Of equal points, all are on the front.
    """

    def beaten(cost: float, reached: float) -> bool:
        return any(
            other <= cost and better >= reached and (other, better) != (cost, reached)
            for other, better in points
        )

    front = [place for place, point in enumerate(points) if not beaten(*point)]
    return sorted(front, key=lambda place: points[place])


def cost_figure(view: ReportView, styles: Styles) -> Figure:
    """Draw one panel per split and kind of cost."""
    panels = [
        _draw_panel(view, split, styles=styles, cost=cost) for split in view.splits for cost in _costs(view)
    ]
    caption = (
        f"On {scored_on_each(view)}. Up is better, left is cheaper. Bars are 95 % intervals of the test "
        "accuracy. The grey line is the Pareto front of the means: methods that no other beats in both. "
        "Memory is the GPU's where the run used one, else the whole process's."
    )
    return Figure(caption, panels)


def _costs(view: ReportView) -> list[Cost]:
    """Return the costs that are comparable: of several processors, the size on disk alone."""
    if not view.costs_comparable:
        return [_SIZE]
    return [_TIME if view.timings_comparable else _CPU, _MEMORY, _SIZE]


def _draw_panel(view: ReportView, split: str, *, styles: Styles, cost: Cost) -> Panel:
    key, title, value = cost
    groups = view.groups_on(split)
    costs = [value(MeanCost.over(group.runs)) for group in groups]
    figure, axes = new_figure(
        title,
        width=THIRD_WIDTH,
        height=300 + 9 * len(groups) if view.many else 290,
        synthetic=view.synthetic,
    )
    front = pareto_front([(x, group.accuracy[0]) for x, group in zip(costs, groups, strict=True)])
    height = [to_error_scale(group.accuracy[0], group.summary.test_tiles) for group in groups]
    halo: dict[str, Any] = {"color": "#cbd2d9", "linewidth": 5, "marker": "o", "markersize": 14, "zorder": 1}
    axes.plot([costs[i] for i in front], [height[i] for i in front], **halo)
    for group, x in zip(groups, costs, strict=True):
        _point(axes, group, cost=x, look=styles[group.title])
    _axes(axes, groups, costs=costs)
    axes.set_ylabel(
        f"{view.split_name(split)}, accuracy in %" if len(view.splits) > 1 else "test accuracy, %"
    )
    named = not (view.many or view.backbones) and _names(figure, groups, costs=costs, styles=styles)
    if not named:
        entries = [(group.title, {**styles[group.title], "linestyle": "none"}) for group in groups]
        legend(figure, entries, width=THIRD_WIDTH)
    points = "; ".join(
        f"{group.title} {fmt.percent(group.accuracy[0], view.digits)} at {x:,.2f}"
        + (", on the front" if place in front else "")
        for place, (group, x) in enumerate(zip(groups, costs, strict=True))
    )
    alt = f"{view.with_split('Test accuracy', split)}, against {title}: {points}."
    return to_panel(figure, fmt.slug(view.with_split(f"cost {key}", split)), alt=alt, width=THIRD_WIDTH)


def _point(axes: "Axes", group: RunGroup, *, cost: float, look: dict[str, Any]) -> None:
    """Draw one method with the interval of its accuracy."""
    middle, low, high = (to_error_scale(accuracy, group.summary.test_tiles) for accuracy in group.accuracy)
    errors = [[middle - low], [high - middle]]
    axes.errorbar(cost, middle, yerr=errors, fmt=look["marker"], color=look["color"], markersize=7, capsize=3)


def _names(figure: "Canvas", groups: Sequence[RunGroup], *, costs: Sequence[float], styles: Styles) -> bool:
    """Write names at the points, that of the most accurate above and the others below.

    Returns:
        Whether they are written; not where one would lie over another or over the interval of another point.
    """
    from matplotlib.transforms import Bbox

    [axes] = figure.axes
    best = max(groups, key=lambda group: group.accuracy[0])
    names, bars = [], []
    for group, cost in zip(groups, costs, strict=True):
        _, low, high = (to_error_scale(accuracy, group.summary.test_tiles) for accuracy in group.accuracy)
        above = group is best
        names.append(
            axes.annotate(
                shorten(group.title),
                (cost, high if above else low),
                xytext=(0, 4 if above else -4),
                textcoords="offset points",
                ha="center",
                va="bottom" if above else "top",
                color=styles[group.title]["color"],
                fontsize=12,
                # Over the front, a name stays readable.
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            )
        )
        bars.append(((cost, low), (cost, high)))
    figure.draw_without_rendering()
    boxes = [name.get_window_extent().expanded(1.15, 1.0) for name in names]  # browsers' fonts may be wider
    ends = [axes.transData.transform(bar) for bar in bars]
    covered = any(
        one.overlaps(other) or one.overlaps(Bbox(bar).padded(3))
        for place, one in enumerate(boxes)
        for number, (other, bar) in enumerate(zip(boxes, ends, strict=True))
        if number != place
    )
    for name in names * covered:
        name.remove()
    return not covered


def _axes(axes: "Axes", groups: Sequence[RunGroup], *, costs: Sequence[float]) -> None:
    """Set the axis limits; the cost axis is logarithmic over a range of ten."""
    from matplotlib.ticker import LogLocator, NullLocator

    ends = [to_error_scale(accuracy, g.summary.test_tiles) for g in groups for accuracy in g.interval]
    room = 0.08 * max(max(ends) - min(ends), 0.2)
    set_error_axis(axes, "y", low=min(ends) - 1.6 * room, high=max(ends) + room)
    low, high = min(costs), max(costs)
    if high > 10 * low > 0:
        axes.set_xscale("log")
        room = (high / low) ** 0.3  # for the names of the outer points
        axes.set_xlim(low / room, high * room)
        axes.xaxis.set_major_locator(LogLocator(numticks=5))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.set_xlim(0, 1.35 * high)
        axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
