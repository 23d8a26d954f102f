"""The headline of a study: what a method loses and saves, short enough for a heading."""

from collections.abc import Sequence
from itertools import chain

from orbitune.errors import counted
from orbitune.evaluation.statistics.sentences import format_points
from orbitune.reporting import formatting as fmt
from orbitune.study.display_names import describe_margins, method_name
from orbitune.study.findings import VerdictRecord
from orbitune.study.report.answers.answer import (
    asked_verdicts,
    judges_all_splits,
    name_splits,
    rows_within,
    times_smaller,
)
from orbitune.study.report.answers.backbone_answers import which_backbone_is_best
from orbitune.study.report.split_origins import scored_on
from orbitune.study.report.view_model import FEW, MethodRow, ReportView

_LOSSES = {
    "better": "a gain",
    "within margin": "no loss above {margin}",
    "worse than margin": "a loss above {margin}",
    "worse": "a loss that may exceed {margin}",
    "open": "undecided whether the loss exceeds {margin}",
}


def write_headline(view: ReportView) -> list[str]:
    """Return the headline without a full stop, of each split where the splits are not judged together.

    None where no run is finished, or where too many methods are not compared.
    """
    verdicts = asked_verdicts(view)
    if verdicts:
        methods = {each.method for each in verdicts}
        return [_of_one(view, verdicts) if len(methods) == 1 else _of_many(view, verdicts)]
    if view.backbones:
        return [fmt.capital(each) for split in view.splits if (each := which_backbone_is_best(view, split))]
    return [_reached(view, row) for row in view.rows] if len(view.rows) <= FEW else []


def _of_one(view: ReportView, verdicts: Sequence[VerdictRecord]) -> str:
    """Return what one method loses on each split, and how much smaller its file is."""
    alike = len({(each.outcome, _limits([each])) for each in verdicts}) == 1
    if alike and judges_all_splits(view, verdicts):
        margins = describe_margins({each.split: each.margin for each in verdicts})
        found = _loss(verdicts[0], margins)
    else:
        found = fmt.listed(
            [f"{_loss(each, format_points(each.margin))} on the {each.split} split" for each in verdicts]
        )
    title = fmt.capital(method_name(verdicts[0].method))
    return f"{title}: {found}{_smaller('file', times_smaller(view, verdicts[0]))}"


def _loss(verdict: VerdictRecord, margin: str) -> str:
    return _LOSSES[verdict.outcome].format(margin=margin) + _limits([verdict])


def _of_many(view: ReportView, verdicts: Sequence[VerdictRecord]) -> str:
    """Return how many methods are within the margin, and the smallest of them."""
    methods, within = {each.method for each in verdicts}, rows_within(view, verdicts)
    margins = describe_margins({each.split: each.margin for each in verdicts})
    if not judges_all_splits(view, verdicts) and len({each.margin for each in verdicts}) == 1:
        margins += f" on {name_splits(view, verdicts)}"
    margins += _limits(verdicts)
    if not within:
        return f"None of {len(methods)} methods is shown to lose at most {margins}"
    smallest = within[0]
    verdict = next(each for each in verdicts if each.method == smallest.method)
    file = _smaller(f"the file of {smallest.title}", times_smaller(view, verdict))
    return f"{len(within)} of {len(methods)} methods: no loss above {margins}{file}"


def _limits(verdicts: Sequence[VerdictRecord]) -> str:
    """Return in brackets what limits verdicts: single models, or comparisons that were not primary."""
    limits = [
        [
            *(["one seed"] if min(each.seeds, each.reference_seeds) == 1 else []),
            *([each.role] if each.role not in (None, "primary") else []),
        ]
        for each in verdicts
    ]
    words = [
        word if all(word in own for own in limits) else f"partly {word}"
        for word in dict.fromkeys(chain(*limits))
    ]
    return f" ({', '.join(words)})" if words else ""


def _smaller(file: str, times: float | None) -> str:
    """Return how many times smaller a file is; empty where it is about as large, or compared with none."""
    return f"; {file} {times:,.0f} times smaller" if times is not None and times >= 2 else ""


def _reached(view: ReportView, row: MethodRow) -> str:
    """Return the accuracy of a method that is judged against no other."""
    parts = []
    for split, group in row.groups.items():
        value, *interval = group.accuracy
        limits = f"95 % interval {fmt.percent_range(interval, view.digits)}, {counted(group.seeds, 'seed')}"
        parts.append(f"{fmt.percent(value, view.digits)} ({limits}) of {scored_on(view, split)}")
    return f"{fmt.capital(row.title)} classifies {fmt.listed(parts)} correctly"
