"""Main figure: test accuracy per method and split, with trivial baselines."""

from typing import TYPE_CHECKING

from orbitune.evaluation.baselines import COLOURS
from orbitune.reporting import formatting as fmt
from orbitune.reporting.components import Figure
from orbitune.reporting.drawing import (
    HALF_WIDTH,
    QUIET,
    legend,
    new_figure,
    set_error_axis,
    shorten,
    to_error_scale,
    to_panel,
)
from orbitune.study.arms import split_arm
from orbitune.study.display_names import method_name
from orbitune.study.report.leakage import PooledBaseline, baselines_on
from orbitune.study.report.split_origins import scored_on_each
from orbitune.study.report.view_model import ReportView

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SPLITS = (("#0072b2", "o"), ("#d55e00", "D"), ("#009e73", "s"), ("#cc79a7", "^"))
"""Colour and marker of each split, in the order of the study."""


def accuracy_figure(view: ReportView) -> Figure:
    """Draw one row per method, with a dot and an interval per split; grouped by backbone."""
    places = _places(view)
    rows = len(view.rows) + len(view.backbones)
    height = 120 + 30 * rows + 20 * len(view.splits)
    figure, axes = new_figure("Test accuracy, %", width=HALF_WIDTH, height=height, synthetic=view.synthetic)
    ends = [*_dots(axes, view, places=places), *_baselines(axes, view)]
    set_error_axis(axes, "x", low=min(ends), high=max(ends))
    labels = [shorten(method_name(split_arm(row.method)[0])) for row in view.rows]
    headings = {label: places[_first_row(view, label)] - 1 for label in view.backbones}
    axes.set_yticks([*places, *headings.values()], [*labels, *map(shorten, headings)])
    for tick in axes.get_yticklabels()[len(places) :]:
        tick.set_fontweight("bold")
    axes.set_ylim(rows - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    entries = [
        (view.split_name(split) or "accuracy", {"color": colour, "marker": marker, "linestyle": "-"})
        for split, (colour, marker) in zip(view.splits, SPLITS, strict=False)
    ]
    if _colour_baselines(view, *view.splits):
        entries += [
            ("colours alone", {"color": QUIET, "linestyle": "--"}),
            ("chance", {"color": QUIET, "linestyle": ":"}),
        ]
    if len(entries) > 1:
        legend(figure, entries, width=HALF_WIDTH)
    return Figure(_caption(view), [to_panel(figure, "accuracy", alt=_alt(view), width=HALF_WIDTH)])


def _places(view: ReportView) -> list[int]:
    """Return the height of each row; each backbone has a heading above its rows."""
    return [
        number + (view.backbones.index(row.backbone) + 1 if row.backbone else 0)
        for number, row in enumerate(view.rows)
    ]


def _first_row(view: ReportView, backbone: str) -> int:
    return next(number for number, row in enumerate(view.rows) if row.backbone == backbone)


def _dots(axes: "Axes", view: ReportView, *, places: list[int]) -> list[float]:
    """Draw accuracies with their intervals; return the ends of all intervals."""
    ends: list[float] = []
    apart = 0.16 if len(view.splits) > 1 else 0.0
    for place, row in zip(places, view.rows, strict=True):
        middles = []
        for number, (split, (colour, marker)) in enumerate(zip(view.splits, SPLITS, strict=False)):
            if split not in row.groups:
                continue
            group = row.groups[split]
            middle, low, high = (
                to_error_scale(accuracy, group.summary.test_tiles) for accuracy in group.accuracy
            )
            height = place + apart * (number - (len(view.splits) - 1) / 2)
            axes.plot([low, high], [height] * 2, color=colour, linewidth=2.2, solid_capstyle="butt")
            axes.plot(middle, height, color=colour, marker=marker, markersize=6.5, linestyle="none")
            ends += [low, high]
            middles.append(middle)
        if len(middles) > 1:
            axes.plot([min(middles), max(middles)], [place] * 2, color="#cbd2d9", linewidth=1, zorder=1)
    return ends


def _baselines(axes: "Axes", view: ReportView) -> list[float]:
    """Draw the accuracy of colour statistics and of chance; return their positions."""
    places = []
    for split, (colour, _) in zip(view.splits, SPLITS, strict=False):
        for baseline in _colour_baselines(view, split):
            for fraction, dash in ((baseline.accuracy, "--"), (baseline.chance, ":")):
                place = to_error_scale(fraction, baseline.count)
                axes.axvline(place, color=colour, linestyle=dash, linewidth=1.2, zorder=0)
                places.append(place)
    return places


def _colour_baselines(view: ReportView, *splits: str) -> list[PooledBaseline]:
    """Return the baseline of colour statistics of some splits, where it was measured."""
    return [each for split in splits for each in baselines_on(view, split) if each.name == COLOURS]


def _caption(view: ReportView) -> str:
    """Return the caption of the figure."""
    sentences = ["Bars are 95 % intervals. The axis is logarithmic in the error rate."]
    if len(view.splits) > 1:
        sentences += ["The grey line joins the splits."]
    if _colour_baselines(view, *view.splits):
        sentences += [
            "Dashed: a classifier that sees colour statistics only. Dotted: chance, always predicting the "
            "commonest class of the training tiles."
        ]
        sentences += [f"Both are of {view.checked_folds}."] if view.folds else []
    return " ".join([f"On {scored_on_each(view)}.", *sentences])


def _alt(view: ReportView) -> str:
    """Return the text alternative of the figure."""
    texts = [
        f"{row.title} {split} {fmt.with_interval(group.accuracy, view.digits)}"
        if len(view.splits) > 1
        else f"{row.title} {fmt.with_interval(group.accuracy, view.digits)}"
        for row in view.rows
        for split, group in row.groups.items()
    ]
    return f"Dot plot of test accuracies with their 95 % intervals: {'; '.join(texts)}."
