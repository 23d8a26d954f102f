"""Training curves, the mean over the seeds."""

from typing import TYPE_CHECKING, Any

import numpy as np

from orbitune.study.report import formatting as fmt
from orbitune.study.report.components import Figure, Subfigure
from orbitune.study.report.figures.new_figure import (
    HALF_WIDTH,
    INK,
    MethodStyles,
    legend,
    new_figure,
    save_svg,
)
from orbitune.study.report.view_model import ReportView, RunGroup

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_MEASURES = (("loss", "Loss, nats", 1), ("accuracy", "Accuracy, %", 100))


def curve_figure(view: ReportView, method_styles: MethodStyles) -> Figure:
    """Loss and accuracy by epoch; of few methods on the training split too."""
    subfigures = [
        _curve_panel(view, split, measure, title, scale, method_styles)
        for split in view.splits
        for measure, title, scale in _MEASURES
    ]
    return Figure(_caption(view), subfigures)


def _curve_panel(
    view: ReportView, split: str, measure: str, title: str, scale: int, method_styles: MethodStyles
) -> Subfigure:
    groups = view.on(split)
    sides = [("validation", "-")] if view.many else [("train", "--"), ("validation", "-")]
    figure, axes = new_figure(HALF_WIDTH, 340, view.of(split, title), view)
    for group in groups:
        for side, line in sides:
            _curve(axes, group, f"{side}_{measure}", scale, {**method_styles[group.title], "linestyle": line})
        _ring(axes, group, f"validation_{measure}", scale, method_styles[group.title]["color"])
    _epoch_axis(axes, max(len(run["result"]["history"]) for group in groups for run in group.runs))
    entries: list[tuple[str, dict[str, Any]]] = [
        (group.title, {"linestyle": "-", **method_styles[group.title]}) for group in groups
    ]
    if not view.many:
        entries += [(side, {"linestyle": line, "color": INK}) for side, line in reversed(sides)]
    legend(figure, entries, HALF_WIDTH)
    tiles = fmt.listed([side for side, _ in sides])
    names = ", ".join(group.title for group in groups)
    alt = f"{view.of(split, 'Line chart')}: {measure} by epoch on the {tiles} tiles for {names}."
    return save_svg(figure, fmt.slug(view.of(split, f"curves {measure}")), alt, HALF_WIDTH)


def _caption(view: ReportView) -> str:
    sentences = [
        "On validation tiles."
        if view.many
        else "Solid: validation. Dashed: training, measured while the weights move."
    ]
    if any(len(group.runs) > 1 for group in view.groups):
        return " ".join([*sentences, "Means over the seeds."])
    return " ".join([*sentences, "Ring: the epoch kept."])


def _curve(axes: "Axes", group: RunGroup, key: str, scale: int, look: dict[str, Any]) -> None:
    histories = [run["result"]["history"] for run in group.runs]
    epochs = [row["epoch"] for row in max(histories, key=len)]
    values = [
        np.mean([scale * row[key] for history in histories for row in history if row["epoch"] == epoch])
        for epoch in epochs
    ]
    axes.plot(epochs, values, **look, alpha=0.55 if key.startswith("train") else 1)


def _ring(axes: "Axes", group: RunGroup, key: str, scale: int, colour: str) -> None:
    """Mark the epoch that was kept, where the line is that of one run."""
    if len(group.runs) > 1:
        return
    result = group.runs[0]["result"]
    for row in result["history"]:
        if row["epoch"] == result["best_epoch"]:
            ring: dict[str, Any] = {"marker": "o", "markersize": 11, "markerfacecolor": "none"}
            axes.plot(row["epoch"], scale * row[key], linestyle="none", color=colour, **ring)


def _epoch_axis(axes: "Axes", epochs: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    axes.set_xlim(0.7, epochs + 0.3)
