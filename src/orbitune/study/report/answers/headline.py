"""The answer of a study in two sentences: what a method loses against the reference, and what it saves."""

from orbitune.evaluation.statistics.sentences import claim, format_points, interval_name, scope
from orbitune.reporting import formatting as fmt
from orbitune.study.arms import crosses_backbones, split_arm
from orbitune.study.findings import VerdictRecord
from orbitune.study.report.answers.backbone_answers import which_backbone_is_best
from orbitune.study.report.view_model import FEW, MethodRow, ReportView

_ASKED = "lora"  # the question of a study of many methods is about this one, where it is among them


def write_headline(view: ReportView) -> list[str]:
    """Return one or two sentences that can be quoted alone; none where no run is finished."""
    if view.backbones:
        found = [which_backbone_is_best(view, split) for split in view.splits]
        return [fmt.capital(f"{each}.") for each in found if each]
    if not view.results.verdicts:
        return [_reached(row) for row in view.rows] if len(view.rows) <= FEW else []
    reference = view.reference
    assert reference is not None
    others = [row for row in view.rows if row is not reference]
    asked = _asked(view, others)
    if asked:
        return [_answer(view, asked, reference=reference), *_saving(asked, reference)]
    return _summary(view, others, reference=reference)


def _asked(view: ReportView, others: list[MethodRow]) -> MethodRow | None:
    """Return the method that was asked about: of the one primary comparison, else LoRA, or the only one."""
    design = view.results.design
    if design and len(design.primary) == 1:
        return next((row for row in others if row.method == design.primary[0][0]), None)
    if len(others) == 1:
        return others[0]
    return next((row for row in others if split_arm(row.method)[0] == _ASKED), None)


def _reached(row: MethodRow) -> str:
    """Return the accuracy of a method that is judged against no other."""
    parts = [
        f"{fmt.with_interval(group.accuracy, 1)} of {group.summary.test_tiles:,} test tiles"
        + (f" of the {split} split" if len(row.groups) > 1 else "")
        for split, group in row.groups.items()
    ]
    return f"{fmt.capital(row.title)} classifies {fmt.listed(parts)} correctly."


def _answer(view: ReportView, row: MethodRow, *, reference: MethodRow) -> str:
    """Return what one method loses against the reference on each split."""
    verdicts = [each for each in _verdicts(view) if each.method == row.method]
    clauses = []
    for each in verdicts:
        where = f"on the {view.split_name(each.split)} " if len(view.splits) > 1 else ""
        found = claim(each, method=row.title, reference=reference.title)
        clauses.append(f"{where}{found} ({_interval(each)})")
    tiles = ", ".join(dict.fromkeys(f"{each.images:,}" for each in verdicts))
    return f"{scope(verdicts[0])} and {tiles} test tiles, {fmt.listed(clauses)}."


def _interval(verdict: VerdictRecord) -> str:
    """Return a difference with its interval, and the margin where the claim does not name it."""
    margin = f"; margin {format_points(verdict.margin)}" if verdict.outcome == "better" else ""
    low, high = verdict.interval
    folds = f", over folds {fmt.signed_range(*verdict.over_folds)}" if verdict.over_folds else ""
    return (
        f"{fmt.signed(verdict.difference)} points, {interval_name(verdict)} "
        f"{fmt.signed_range(low, high)}{folds}{margin}"
    )


def _saving(row: MethodRow, reference: MethodRow) -> list[str]:
    """Return what a method saves against full fine-tuning; none against another reference."""
    if not reference.is_full:
        return []
    mine, full = row.cost, reference.cost
    times = full.artefact_bytes / mine.artefact_bytes
    smaller = f", {times:,.0f} times less" if times >= 2 else ""
    return [
        f"{fmt.capital(row.title)} trains {fmt.trained_percentage(row.parameters)} of the parameters, stores "
        f"{fmt.size(mine.artefact_bytes)} instead of {fmt.size(full.artefact_bytes)}{smaller}, and takes "
        f"{fmt.ratio(mine.cpu_seconds, full.cpu_seconds)} the CPU time and "
        f"{fmt.ratio(mine.peak_memory, full.peak_memory)} the peak memory of {reference.title}."
    ]


def _summary(view: ReportView, others: list[MethodRow], *, reference: MethodRow) -> list[str]:
    """Return how many of many methods are within the margin on every split, and the smallest of them."""
    verdicts = _verdicts(view)
    within = [row for row in others if all(each.is_within for each in verdicts if each.method == row.method)]
    where = " on every split" if len(view.splits) > 1 else ""
    found = (
        f"{scope(verdicts[0])} and {verdicts[0].images:,} test tiles, {len(within)} of {len(others)} methods "
        f"are within {format_points(verdicts[0].margin)} of {reference.title}{where}"
    )
    if not within:
        return [f"{found}."]
    small = min(within, key=lambda row: row.cost.artefact_bytes)
    own = [
        _interval(each) + (f" on the {view.split_name(each.split)}" if len(view.splits) > 1 else "")
        for each in verdicts
        if each.method == small.method
    ]
    return [f"{found}; the smallest is {small.title} ({'; '.join(own)}).", *_saving(small, reference)]


def _verdicts(view: ReportView) -> list[VerdictRecord]:
    return [each for each in view.results.verdicts if not crosses_backbones(each.method, each.reference)]
