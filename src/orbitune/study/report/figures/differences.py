"""Differences in accuracy to the reference with their intervals, beside the margin."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orbitune.evaluation.statistics.sentences import interval_name, signed_range, with_sign
from orbitune.reporting import formatting as fmt
from orbitune.reporting.components import Figure
from orbitune.reporting.drawing import HALF_WIDTH, INK, legend, new_figure, shorten, to_panel
from orbitune.study.display_names import method_name
from orbitune.study.findings import VerdictRecord
from orbitune.study.report.figures.accuracy import SPLITS
from orbitune.study.report.split_origins import scored_on_each
from orbitune.study.report.view_model import ReportView

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHADE = "#dfe7ee"


def difference_figure(view: ReportView, verdicts: Sequence[VerdictRecord], *, name: str) -> Figure:
    """Draw one row per comparison: its difference and interval, and in a shade what is within the margin.

    Args:
        view: of the study.
        verdicts: on methods, one or more.
        name: of the panel, unique in the report.
    """
    references = list(dict.fromkeys(method_name(each.reference) for each in verdicts))
    reference = references[0] if len(references) == 1 else "the reference"
    height = 120 + 46 * len(verdicts)
    figure, axes = new_figure(
        f"Points against {reference}",
        width=HALF_WIDTH,
        height=height,
        synthetic=view.synthetic,
    )
    for place, each in enumerate(verdicts):
        _draw_row(axes, each, place=place, colour=SPLITS[view.splits.index(each.split) % len(SPLITS)])
    axes.margins(x=0.08)
    _shade_margins(axes, verdicts)
    axes.axvline(0, color=INK, linewidth=1, zorder=2)
    axes.set_yticks(range(len(verdicts)), [_row_label(each, verdicts) for each in verdicts])
    axes.set_ylim(len(verdicts) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    legend(figure, [("within the margin", {"color": _SHADE, "linewidth": 9})], width=HALF_WIDTH)
    kinds: dict[str, list[str]] = {}
    for each in verdicts:
        kinds.setdefault(f"{interval_name(each)}s", []).append(method_name(each.method))
    [intervals, *others] = kinds
    intervals += "".join(f", of {fmt.listed([*dict.fromkeys(kinds[kind])])} {kind}" for kind in others)
    splits = list(dict.fromkeys(each.split for each in verdicts))
    folds = " The interval over folds must agree." if view.folds else ""
    caption = (
        f"Accuracy minus that of {reference}, on {scored_on_each(view, splits)}. Bars are {intervals}. A bar "
        "wholly in the shade is within the margin; one wholly to the left of it is worse by more than the "
        f"margin.{folds}"
    )
    return Figure(caption, [to_panel(figure, name, alt=_alt(verdicts, reference), width=HALF_WIDTH)])


def _draw_row(axes: "Axes", verdict: VerdictRecord, *, place: int, colour: tuple[str, str]) -> None:
    """Draw a difference with its interval."""
    line, marker = colour
    axes.plot(verdict.interval, [place] * 2, color=line, linewidth=2.4, solid_capstyle="butt", zorder=3)
    axes.plot(verdict.difference, place, color=line, marker=marker, markersize=7, linestyle="none", zorder=4)
    axes.plot([-verdict.margin, 0], [place] * 2, linestyle="none")  # the limits hold the margin and 0


def _shade_margins(axes: "Axes", verdicts: Sequence[VerdictRecord]) -> None:
    """Shade what is within the margin of each row, to the right end of the axes."""
    low, high = axes.get_xlim()
    for place, each in enumerate(verdicts):
        axes.barh(place, high + each.margin, left=-each.margin, height=1.0, color=_SHADE, zorder=0.5)
    axes.set_xlim(low, high)


def _row_label(verdict: VerdictRecord, verdicts: Sequence[VerdictRecord]) -> str:
    """Return what tells a row apart, with its numbers below."""
    methods, splits = ({getattr(each, name) for each in verdicts} for name in ("method", "split"))
    names = [
        *([shorten(method_name(verdict.method))] if len(methods) > 1 or len(splits) == 1 else []),
        *([f"{verdict.split} split" if len(methods) == 1 else verdict.split] if len(splits) > 1 else []),
    ]
    return f"{', '.join(names)}\n{_numbers(verdict)}"


def _numbers(verdict: VerdictRecord) -> str:
    return f"{with_sign(verdict.difference)} ({signed_range(*verdict.interval)})"


def _alt(verdicts: Sequence[VerdictRecord], reference: str) -> str:
    """Return the text alternative of the figure."""
    several = len({each.split for each in verdicts}) > 1
    rows = "; ".join(
        f"{method_name(each.method)}{f', {each.split} split' * several}, {_numbers(each)}, "
        f"margin {each.margin:g}"
        for each in verdicts
    )
    return f"Accuracy minus that of {reference} in points, with intervals: {rows}."
