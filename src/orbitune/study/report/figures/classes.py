"""Difference in F1 of each class and method to the reference."""

from typing import TYPE_CHECKING

import numpy as np

from orbitune.errors import counted
from orbitune.evaluation.statistics.sentences import with_sign
from orbitune.reporting import formatting as fmt
from orbitune.reporting.components import Figure
from orbitune.reporting.drawing import (
    FULL_WIDTH,
    HALF_WIDTH,
    INK,
    LINE,
    new_figure,
    shorten,
    to_panel,
)
from orbitune.study.report.split_origins import scored_on_each
from orbitune.study.report.view_model import MethodRow, ReportView

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STRONG = 5.0  # points of F1 that have the full colour
_FEW_TILES = 50
LEAST_SUPPORT = 20
"""Test tiles that some class needs for a comparison of classes."""
_WIDE = 9  # methods that fit half the page


def class_figure(view: ReportView, reference: MethodRow) -> Figure:
    """Draw the F1 difference to the reference per class and method, in points."""
    panels, few = [], False
    for split in view.splits:
        if split not in reference.groups or len(view.groups_on(split)) < 2:
            continue
        others = [group for group in view.groups_on(split) if group.method != reference.method]
        classes = [row for row in reference.groups[split].summary.per_class if row.support]
        first = np.array([row.f1 for row in classes])
        f1 = np.array([[row.f1 for row in group.summary.per_class if row.support] for group in others]).T
        width = HALF_WIDTH if len(others) < _WIDE else FULL_WIDTH
        heading = f"F1 minus that of {reference.title}"
        figure, axes = new_figure(
            view.split_name(split) or heading,
            width=width,
            height=90 + 22 * len(classes),
            synthetic=view.synthetic,
        )
        columns = [group.title for group in others]
        names = [shorten(row.name) + f" ({row.support})" * (row.support < _FEW_TILES) for row in classes]
        _matrix(axes, 100 * (f1 - first[:, None]), rows=names, columns=columns)
        few = few or any(row.support < _FEW_TILES for row in classes)
        worst = np.unravel_index(np.argmin(f1 - first[:, None]), f1.shape)
        alt = (
            f"Matrix of {counted(len(classes), 'class')} by "
            f"{counted(len(others), 'method')}: {view.with_split(heading, split)}. "
            f"The largest loss is that of {columns[worst[1]]} on {classes[worst[0]].name}, "
            f"{with_sign(100 * (f1 - first[:, None])[worst], '+.1f')} points."
        )
        panels.append(to_panel(figure, fmt.slug(view.with_split("classes", split)), alt=alt, width=width))
    caption = (
        f"F1 of each class minus that of {reference.title}, in points, on {scored_on_each(view)}. "
        "Orange is worse, blue is better; the "
        f"colour scale ends at {_STRONG:g} points."
    )
    if few:
        caption += (
            f" Classes with fewer than {_FEW_TILES} test tiles have their number in brackets: their "
            "differences may be chance."
        )
    return Figure(caption, panels)


def _matrix(axes: "Axes", values: np.ndarray, *, rows: list[str], columns: list[str]) -> None:
    """Draw values in points, (classes, methods), with a diverging colour scale."""
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("change", ["#d55e00", "#ffffff", "#0072b2"])
    edges = np.arange(len(columns) + 1), np.arange(len(rows) + 1)
    axes.pcolormesh(*edges, values, cmap=colours, vmin=-_STRONG, vmax=_STRONG, edgecolor=LINE, linewidth=0.5)
    for (row, column), value in np.ndenumerate(values):
        ink = "white" if abs(value) > 0.7 * _STRONG else INK
        text = with_sign(value, "+.1f")
        axes.text(column + 0.5, row + 0.5, text, color=ink, fontsize=10.5, ha="center", va="center")
    axes.set_xticks(
        edges[0][:-1] + 0.5, columns, rotation=40, ha="right", rotation_mode="anchor", fontsize=12
    )
    axes.set_yticks(edges[1][:-1] + 0.5, rows, fontsize=12)
    axes.set_ylim(len(rows), 0)
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
