"""The one picture: the accuracy of every method on every split, with its interval, above what is trivial."""

from typing import TYPE_CHECKING

from orbitune.study.report import formatting as fmt
from orbitune.study.report.components import Figure
from orbitune.study.report.figures.new_figure import (
    HALF_WIDTH,
    QUIET,
    legend,
    new_figure,
    save_svg,
    set_error_axis,
    shorten,
    to_error_scale,
)
from orbitune.study.report.view_model import ReportView

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SPLITS = (("#0072b2", "o"), ("#d55e00", "D"), ("#009e73", "s"), ("#cc79a7", "^"))


def accuracy_figure(view: ReportView) -> Figure:
    """A row for each method, a dot with its interval for each split, a thin line over the gap."""
    figure, axes = new_figure(
        HALF_WIDTH, 120 + 30 * len(view.rows) + 20 * len(view.splits), "Test accuracy, %", view
    )
    ends = [*_dots(axes, view), *_baselines(axes, view)]
    set_error_axis(axes, "x", min(ends), max(ends))
    axes.set_yticks(range(len(view.rows)), [shorten(row.title) for row in view.rows])
    axes.set_ylim(len(view.rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    entries = [
        (view.split_name(split) or "test split", {"color": colour, "marker": marker, "linestyle": "-"})
        for split, (colour, marker) in zip(view.splits, _SPLITS, strict=False)
    ]
    if _alarms(view):
        entries += [
            ("colours alone, of that split", {"color": QUIET, "linestyle": "--"}),
            ("chance", {"color": QUIET, "linestyle": ":"}),
        ]
    if len(entries) > 1:
        legend(figure, entries, HALF_WIDTH)
    return Figure(_caption(view), [save_svg(figure, "accuracy", _alt(view), HALF_WIDTH)])


def _dots(axes: "Axes", view: ReportView) -> list[float]:
    """Draw what the methods reached; the places of all ends."""
    ends: list[float] = []
    apart = 0.16 if len(view.splits) > 1 else 0.0
    for place, row in enumerate(view.rows):
        middles = []
        for number, (split, (colour, marker)) in enumerate(zip(view.splits, _SPLITS, strict=False)):
            if split not in row.groups:
                continue
            group = row.groups[split]
            middle, low, high = (
                to_error_scale(share, group.summary["test_tiles"]) for share in group.accuracy
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
    """Draw what colours alone and chance reach; their places."""
    places = []
    for split, (colour, _) in zip(view.splits, _SPLITS, strict=False):
        for base in _alarms(view).get(split, []):
            accuracy, count = base["test"]["accuracy"], base["test"]["count"]
            for share, dash in ((accuracy, "--"), (base["chance"], ":")):
                axes.axvline(
                    to_error_scale(share, count), color=colour, linestyle=dash, linewidth=1.2, zorder=0
                )
                places.append(to_error_scale(share, count))
    return places


def _alarms(view: ReportView) -> dict[str, list[dict]]:
    """The baseline of colours of each split, where the study has it."""
    return {
        entry["split"]: [base for base in entry["baselines"] if base["name"] == "colour statistics"]
        for entry in view.results.get("alarms", [])
    }


def _caption(view: ReportView) -> str:
    sentences = [
        "Bars are 95 % intervals. The axis is stretched: equal steps are equal factors of the errors."
    ]
    if len(view.splits) > 1:
        sentences += ["The grey line is the gap between the splits."]
    if _alarms(view):
        sentences += [
            "Dashed: what a classifier reaches that sees colour statistics alone; dotted: chance, always "
            "naming the commonest class."
        ]
    return " ".join(sentences)


def _alt(view: ReportView) -> str:
    texts = [
        f"{row.title} {split} {fmt.with_interval(group.accuracy, view.digits)}"
        if len(view.splits) > 1
        else f"{row.title} {fmt.with_interval(group.accuracy, view.digits)}"
        for row in view.rows
        for split, group in row.groups.items()
    ]
    return f"Dot plot of test accuracies with their 95 % intervals: {'; '.join(texts)}."
