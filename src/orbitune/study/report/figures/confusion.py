"""Confusion matrices on the test split, summed over the seeds."""

from typing import TYPE_CHECKING

import numpy as np

from orbitune.study.report import formatting as fmt
from orbitune.study.report.components import Figure, Panel
from orbitune.study.report.figures.drawing import (
    FULL_WIDTH,
    HALF_WIDTH,
    INK,
    LARGE_WIDTH,
    LINE,
    Styles,
    new_figure,
    shorten,
    to_panel,
)
from orbitune.study.report.view_model import ReportView, RunGroup

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

_NUMBERED = 24  # classes; beyond that a number no longer fits its cell


def confusion_figure(view: ReportView, styles: Styles) -> Figure:
    """Draw the matrix of every method.

    For many methods, only the reference and the method closest to it.
    """
    groups = [group for split in view.splits for group in shown_groups(view, split)]
    seeds = "; tiles are counted once per seed" if any(g.seeds > 1 for g in groups) else ""
    chosen = " Only the reference and the method closest to it in accuracy are shown." if view.many else ""
    caption = (
        f"Rows are true classes, columns predicted classes. Numbers are tiles, zeros left out{seeds}; "
        "the colour is the fraction of the row, on a square-root scale that shows rare errors." + chosen
    )
    return Figure(caption, [_draw_panel(view, group, styles=styles) for group in groups])


def shown_groups(view: ReportView, split: str) -> list[RunGroup]:
    """Return the groups whose matrices are drawn for a split."""
    groups, reference = view.groups_on(split), view.reference
    if not view.many or reference is None or split not in reference.groups:
        return groups[:2] if view.many else groups
    first = reference.groups[split]
    others = [group for group in groups if group is not first]
    return [first, min(others, key=lambda group: abs(group.accuracy[0] - first.accuracy[0]))]


def _draw_panel(view: ReportView, group: RunGroup, *, styles: Styles) -> Panel:
    tests = [run.finished.test for run in group.runs]
    counts = np.sum([test.confusion for test in tests], axis=0)
    classes = [row.name for row in tests[0].per_class]
    width = HALF_WIDTH if len(classes) <= 12 else LARGE_WIDTH if len(classes) <= 24 else FULL_WIDTH
    heading = view.with_split(fmt.capital(group.title), group.split)
    figure = _confusion(
        view, heading, counts=counts, classes=classes, colour=styles[group.title]["color"], width=width
    )
    alt = (
        f"Confusion matrix of {group.title} on the {view.with_split('test split', group.split)}: "
        f"{np.trace(counts):,} of {counts.sum():,} tiles are correct."
    )
    return to_panel(figure, f"confusion-{fmt.slug(group.summary.group)}", alt=alt, width=width)


def _confusion(
    view: ReportView, heading: str, *, counts: np.ndarray, classes: list[str], colour: str, width: int
) -> "Drawing":
    """Draw a confusion matrix of counts, int (C, C), rows are true classes."""
    from matplotlib.collections import PatchCollection
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Rectangle

    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = new_figure(view, heading, width=width, height=width)
    fade = LinearSegmentedColormap.from_list("fade", ["white", colour])
    # With many classes nearly all cells are empty: drawing them would cost megabytes.
    hits = np.nonzero(counts)
    cells = [Rectangle((column, row), 1, 1) for row, column in zip(*hits, strict=True)]
    axes.add_collection(PatchCollection(cells, facecolors=fade(np.sqrt(fractions[hits]))))
    if len(counts) <= _NUMBERED:
        for row, column in zip(*hits, strict=True):
            ink = "white" if fractions[row, column] > 0.3 else INK
            size = 9 if counts[row, column] < 1000 else 8
            text = f"{counts[row, column]}"
            axes.text(column + 0.5, row + 0.5, text, color=ink, fontsize=size, ha="center", va="center")
    _class_axes(axes, [shorten(name) for name in classes], width=width)
    return figure


def _class_axes(axes: "Axes", names: list[str], *, width: int) -> None:
    """Label both axes with the class names, and draw the grid."""
    size = min(10.5, 0.62 * width / len(names))
    middles = [i + 0.5 for i in range(len(names))]
    axes.set_xticks(middles, names, rotation=90, fontsize=size)
    axes.set_yticks(middles, names, fontsize=size)
    axes.tick_params(length=0)
    axes.grid(False)
    for lines in (axes.hlines, axes.vlines):
        lines(range(len(names) + 1), 0, len(names), colors=LINE, linewidth=0.5)
    axes.set(xlim=(0, len(names)), ylim=(len(names), 0), aspect="equal")
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
