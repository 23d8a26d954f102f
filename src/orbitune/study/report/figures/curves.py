"""Training curves, mean over the seeds."""

from typing import TYPE_CHECKING, Any

import numpy as np

from orbitune.study.report import formatting as fmt
from orbitune.study.report.components import Figure, Panel
from orbitune.study.report.figures.drawing import (
    HALF_WIDTH,
    INK,
    Styles,
    legend,
    new_figure,
    to_panel,
)
from orbitune.study.report.view_model import ReportView, RunGroup

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_MEASURES = (("loss", "Loss, nats", 1), ("accuracy", "Accuracy, %", 100))


def curve_figure(view: ReportView, styles: Styles) -> Figure:
    """Draw loss and accuracy by epoch; with few methods, of the training split too."""
    panels = [
        _draw_panel(view, split, measure=measure, title=title, scale=scale, styles=styles)
        for split in view.splits
        for measure, title, scale in _MEASURES
    ]
    return Figure(_caption(view), panels)


def _draw_panel(
    view: ReportView, split: str, *, measure: str, title: str, scale: int, styles: Styles
) -> Panel:
    groups = view.groups_on(split)
    sides = [("validation", "-")] if view.many else [("train", "--"), ("validation", "-")]
    figure, axes = new_figure(view, view.with_split(title, split), width=HALF_WIDTH, height=340)
    for group in groups:
        for side, line in sides:
            _curve(
                axes,
                group,
                key=f"{side}_{measure}",
                scale=scale,
                look={**styles[group.title], "linestyle": line},
            )
        _ring(axes, group, key=f"validation_{measure}", scale=scale, colour=styles[group.title]["color"])
    _epoch_axis(axes, max(len(run.finished.history) for group in groups for run in group.runs))
    entries: list[tuple[str, dict[str, Any]]] = [
        (group.title, {"linestyle": "-", **styles[group.title]}) for group in groups
    ]
    if not view.many:
        entries += [(side, {"linestyle": line, "color": INK}) for side, line in reversed(sides)]
    legend(figure, entries, width=HALF_WIDTH)
    tiles = fmt.listed([side for side, _ in sides])
    names = ", ".join(group.title for group in groups)
    alt = f"{view.with_split('Line chart', split)}: {measure} by epoch on the {tiles} tiles for {names}."
    return to_panel(figure, fmt.slug(view.with_split(f"curves {measure}", split)), alt=alt, width=HALF_WIDTH)


def _caption(view: ReportView) -> str:
    """Return the caption of the figure."""
    sentences = [
        "Validation tiles." if view.many else "Solid: validation. Dashed: training, averaged over the epoch."
    ]
    if any(len(group.runs) > 1 for group in view.groups):
        over = "seeds and folds" if view.folds else "seeds"
        return " ".join([*sentences, f"Mean over {over}."])
    return " ".join([*sentences, "Ring: epoch of the checkpoint that was kept."])


def _curve(axes: "Axes", group: RunGroup, *, key: str, scale: int, look: dict[str, Any]) -> None:
    """Draw the mean of one measure over the seeds by epoch."""
    histories = [run.finished.history for run in group.runs]
    epochs = [row.epoch for row in max(histories, key=len)]
    values = [
        np.mean([scale * getattr(row, key) for history in histories for row in history if row.epoch == epoch])
        for epoch in epochs
    ]
    axes.plot(epochs, values, **look, alpha=0.55 if key.startswith("train") else 1)


def _ring(axes: "Axes", group: RunGroup, *, key: str, scale: int, colour: str) -> None:
    """Mark the epoch whose checkpoint was kept, for a single run."""
    if len(group.runs) > 1:
        return
    result = group.runs[0].finished
    for row in result.history:
        if row.epoch == result.best_epoch:
            ring: dict[str, Any] = {"marker": "o", "markersize": 11, "markerfacecolor": "none"}
            axes.plot(row.epoch, scale * getattr(row, key), linestyle="none", color=colour, **ring)


def _epoch_axis(axes: "Axes", epochs: int) -> None:
    """Label the epochs."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    axes.set_xlim(0.7, epochs + 0.3)
