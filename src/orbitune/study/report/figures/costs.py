"""Accuracy against what it costs, and which methods no other beats in both."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from orbitune.study.report import formatting as say
from orbitune.study.report.components import Panel, Plate
from orbitune.study.report.figures.canvas import (
    THIRD,
    Looks,
    canvas,
    legend,
    panel,
    plain,
    stretch,
    stretched_axis,
)
from orbitune.study.report.view_model import Group, View, mean_cost

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Cost = tuple[str, str, Callable[[dict[str, Any]], float]]

_TIME: Cost = ("time", "Train time per epoch, s", lambda cost: cost["seconds_per_epoch"])
_CPU: Cost = ("cpu", "CPU time of a run, s", lambda cost: cost["cpu_seconds"])
_OTHERS: tuple[Cost, ...] = (
    ("memory", "Peak memory, MB", lambda cost: say.memory(cost) / 1e6),
    ("size", "Size on disk, MB", lambda cost: cost["artefact_bytes"] / 1e6),
)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The points, by their places, that no other point beats: none costs as little and reaches as much.

    Args:
        points: cost and accuracy of each.

    Returns:
        In rising order of cost. Of points that are equal in both, all are on the front.
    """

    def beaten(cost: float, reached: float) -> bool:
        return any(
            other <= cost and better >= reached and (other, better) != (cost, reached)
            for other, better in points
        )

    front = [place for place, point in enumerate(points) if not beaten(*point)]
    return sorted(front, key=lambda place: points[place])


def cost_plate(view: View, looks: Looks) -> Plate:
    """A panel for each split and cost."""
    panels = [
        _cost_panel(view, split, looks, cost)
        for split in view.splits
        for cost in (_TIME if view.timings_comparable else _CPU, *_OTHERS)
    ]
    caption = (
        "Up is better, left is cheaper. Bars are 95 % intervals of the test accuracy. The grey line joins "
        "the methods that no other beats in both (the Pareto front of the means). "
        "Memory is the GPU's where the run used one, else the whole process's."
    )
    return Plate(caption, panels)


def _cost_panel(view: View, split: str, looks: Looks, cost: Cost) -> Panel:
    key, title, value = cost
    groups = view.on(split)
    costs = [value(mean_cost(group.runs)) for group in groups]
    figure, axes = canvas(THIRD, 290 if not view.many else 300 + 9 * len(groups), title, view)
    front = pareto_front([(x, group.accuracy[0]) for x, group in zip(costs, groups, strict=True)])
    height = [stretch(group.accuracy[0], group.summary["test_tiles"]) for group in groups]
    halo: dict[str, Any] = {"color": "#cbd2d9", "linewidth": 5, "marker": "o", "markersize": 14, "zorder": 1}
    axes.plot([costs[i] for i in front], [height[i] for i in front], **halo)
    for group, x in zip(groups, costs, strict=True):
        _point(axes, group, x, looks[group.title])
    _axes(axes, groups, costs)
    axes.set_ylabel(
        f"{view.split_name(split)}, accuracy in %" if len(view.splits) > 1 else "test accuracy, %"
    )
    if view.many:
        entries = [(group.title, {**looks[group.title], "linestyle": "none"}) for group in groups]
        legend(figure, entries, THIRD)
    else:
        _names(axes, groups, costs, looks)
    named = "; ".join(
        f"{group.title} {say.percent(group.accuracy[0], view.digits)} at {x:,.2f}"
        + (", on the front" if place in front else "")
        for place, (group, x) in enumerate(zip(groups, costs, strict=True))
    )
    alt = f"{view.of(split, 'Test accuracy')}, against {title}: {named}."
    return panel(figure, say.slug(view.of(split, f"cost {key}")), alt, THIRD)


def _point(axes: "Axes", group: Group, cost: float, look: dict[str, Any]) -> None:
    middle, low, high = (stretch(share, group.summary["test_tiles"]) for share in group.accuracy)
    errors = [[middle - low], [high - middle]]
    axes.errorbar(cost, middle, yerr=errors, fmt=look["marker"], color=look["color"], markersize=7, capsize=3)


def _names(axes: "Axes", groups: Sequence[Group], costs: Sequence[float], looks: Looks) -> None:
    """Write the names beside the points, at opposite ends of the bars of neighbours in accuracy."""
    ranked = sorted(zip(groups, costs, strict=True), key=lambda pair: pair[0].accuracy[0], reverse=True)
    for rank, (group, cost) in enumerate(ranked):
        _, low, high = (stretch(share, group.summary["test_tiles"]) for share in group.accuracy)
        above = rank % 2 == 0
        axes.annotate(
            plain(group.title),
            (cost, high if above else low),
            xytext=(0, 4 if above else -4),
            textcoords="offset points",
            ha="center",
            va="bottom" if above else "top",
            color=looks[group.title]["color"],
            fontsize=11,
        )


def _axes(axes: "Axes", groups: Sequence[Group], costs: Sequence[float]) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    ends = [stretch(share, g.summary["test_tiles"]) for g in groups for share in g.interval]
    room = 0.08 * max(max(ends) - min(ends), 0.2)
    stretched_axis(axes, "y", min(ends) - room, max(ends) + room)
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
