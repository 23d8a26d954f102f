"""The headline of a study's report: what each method loses against the reference, and what it saves."""

from orbitune.evaluation.statistics.significance import Verdict
from orbitune.reporting import formatting as fmt
from orbitune.study.arms import crosses_backbones
from orbitune.study.findings import VerdictRecord
from orbitune.study.report.backbone_answers import which_backbone_is_best
from orbitune.study.report.view_model import FEW, MethodRow, ReportView

_CLAIMS: dict[Verdict, str] = {
    "yes": "no loss above {margin:g} points",
    "no": "a loss of more than {margin:g} points",
    "cannot be told": "not clear whether the loss is above {margin:g} points",
}


def write_headline(view: ReportView) -> list[str]:
    """Return sentences that can be quoted alone; none where no run is finished."""
    if view.backbones:
        found = [which_backbone_is_best(view, split) for split in view.splits]
        return [fmt.capital(f"{each}.") for each in found if each]
    if not view.results.verdicts:
        return [_reached(row) for row in view.rows] if len(view.rows) <= FEW else []
    reference = view.reference
    assert reference is not None
    others = [row for row in view.rows if row is not reference]
    if len(others) < FEW:
        return [_against(view, row, reference=reference) for row in others]
    return [_summary(view, others, reference=reference)]


def _reached(row: MethodRow) -> str:
    """Return the accuracy of a method that is judged against no other."""
    parts = [
        f"{fmt.with_interval(group.accuracy, 1)} of {group.summary.test_tiles:,} test tiles"
        + (f" of the {split} split" if len(row.groups) > 1 else "")
        for split, group in row.groups.items()
    ]
    return f"{fmt.capital(row.title)} classifies {fmt.listed(parts)} correctly."


def _against(view: ReportView, row: MethodRow, *, reference: MethodRow) -> str:
    """Return what one method loses against the reference on each split, and how much smaller it is."""
    verdicts = [each for each in _verdicts(view) if each.method == row.method]
    points = [_points(view, each) for each in verdicts]
    groups: dict[Verdict, list[int]] = {}
    for place, each in enumerate(verdicts):
        groups.setdefault(each.verdict, []).append(place)
    margin = verdicts[0].margin
    claims = [
        f"{_CLAIMS[verdict].format(margin=margin)} ({', '.join(points[place] for place in places)})"
        for verdict, places in groups.items()
    ]
    clauses = "; ".join([*claims, *_smaller(row, reference)])
    return f"{fmt.capital(row.title)} against {reference.title}: {clauses}."


def _points(view: ReportView, verdict: VerdictRecord) -> str:
    where = f" on the {view.split_name(verdict.split)}" if len(view.splits) > 1 else " points"
    return f"{fmt.signed(verdict.difference, 1)}{where}"


def _smaller(row: MethodRow, reference: MethodRow) -> list[str]:
    """Return the clause on how many times smaller the saved file is; none where that is nothing to name."""
    times = reference.cost.artefact_bytes / row.cost.artefact_bytes
    return [f"file {times:,.0f} times smaller"] if reference.is_full and times >= 2 else []


def _summary(view: ReportView, others: list[MethodRow], *, reference: MethodRow) -> str:
    """Return how many of many methods stay within the margin on every split."""
    margin = view.results.verdicts[0].margin
    within = [
        row
        for row in others
        if all(each.verdict == "yes" for each in _verdicts(view) if each.method == row.method)
    ]
    where = " on every split" if len(view.splits) > 1 else ""
    claim = (
        f"{len(within)} of {len(others)} methods show no loss above {margin:g} points against "
        f"{reference.title}{where}"
    )
    if not within:
        return f"{claim}."
    small = min(within, key=lambda row: row.cost.artefact_bytes)
    return f"{claim}; the smallest is {', '.join([small.title, *_smaller(small, reference)])}."


def _verdicts(view: ReportView) -> list[VerdictRecord]:
    return [each for each in view.results.verdicts if not crosses_backbones(each.method, each.reference)]
