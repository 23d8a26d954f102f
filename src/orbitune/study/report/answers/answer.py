"""The answer of a study in two sentences: what a method loses against the reference, and what it saves."""

from collections.abc import Sequence

from orbitune.errors import counted
from orbitune.evaluation.statistics.sentences import advice, claim, format_points, interval_name, with_sign
from orbitune.reporting import formatting as fmt
from orbitune.study.arms import split_arm
from orbitune.study.display_names import OUTCOMES, describe_margins, method_name
from orbitune.study.findings import VerdictRecord
from orbitune.study.report.answers.backbone_answers import intervals, role
from orbitune.study.report.view_model import MethodRow, ReportView

_ASKED = "lora"  # without a named primary comparison, a study that has it among its methods is about this one


def write_answer(view: ReportView) -> list[str]:
    """Return two sentences that can be quoted alone, and what they rest on; none without a comparison."""
    verdicts = asked_verdicts(view)
    if not verdicts:
        return []
    if len({each.method for each in verdicts}) == 1:
        sentences = [_answer(view, verdicts), *_saving(view, verdicts[0]), *_on_others(view, verdicts)]
    else:
        sentences = _summary(view, verdicts)
    return [" ".join(sentences), *_basis(view, verdicts)]


def asked_verdicts(view: ReportView) -> list[VerdictRecord]:
    """Return the verdicts that answer the question of a study.

    They are those on the primary comparison that was named; else those on LoRA; else on all methods. Those
    that were fixed beforehand come first, if any was. A study of backbones asks another question.
    """
    design, found = view.results.design, view.results.verdicts
    primary = design.primary if design and len(design.primary) < len(design.comparisons) else ()
    if named := [each for each in found if (each.method, each.reference) in primary]:
        return named
    if view.backbones:
        return []
    fixed = {each.method for each in found if each.role == "primary"}
    found = [each for each in found if each.method in fixed] or found
    return [each for each in found if split_arm(each.method)[0] == _ASKED] or [*found]


def rows_within(view: ReportView, verdicts: Sequence[VerdictRecord]) -> list[MethodRow]:
    """Return the methods that are within the margin on every split of the verdicts, the smallest file first.

    A method that is not judged on one of them, as a run of it is missing, is not among them.
    """
    within = {(each.method, each.split) for each in verdicts if each.is_within}
    splits = {each.split for each in verdicts}
    rows = [row for row in view.rows if all((row.method, split) in within for split in splits)]
    return sorted(rows, key=lambda row: row.cost.artefact_bytes)


def times_smaller(view: ReportView, verdict: VerdictRecord) -> float | None:
    """Return how many times smaller the file of a method is than that of full fine-tuning.

    None where the verdict on the method is against another reference.
    """
    pair = _beside_full(view, verdict)
    return None if pair is None else _times_smaller(*pair)


def _times_smaller(row: MethodRow, full: MethodRow) -> float:
    """Return how many times smaller the file of a method is than another."""
    return full.cost.artefact_bytes / row.cost.artefact_bytes


def _beside_full(view: ReportView, verdict: VerdictRecord) -> tuple[MethodRow, MethodRow] | None:
    """Return the rows of a method and of full fine-tuning; None where the verdict is against another."""
    row = next(row for row in view.rows if row.method == verdict.method)
    full = view.full_on(row.backbone)
    return (row, full) if full and full.method == verdict.reference else None


def _answer(view: ReportView, verdicts: Sequence[VerdictRecord]) -> str:
    """Return what one method loses against the reference, splits of the same claim together."""
    method, reference = method_name(verdicts[0].method), method_name(verdicts[0].reference)
    claims: dict[str, list[VerdictRecord]] = {}
    for each in verdicts:
        claims.setdefault(claim(each, method=method, reference=reference), []).append(each)
    clauses = []
    for number, (found, alike) in enumerate(claims.items()):
        if number and len({each.reference for each in verdicts}) == 1:
            found = claim(alike[0], method=method)
        where = f"on {name_splits(view, alike)} " if len(view.splits) > 1 else ""
        clauses.append(f"{where}{found} ({_numbers(alike, of=verdicts)})")
    return fmt.capital(f"{'; '.join(clauses)}{_tested_on(verdicts)}{_trained_on(view)}.")


def judges_all_splits(view: ReportView, verdicts: Sequence[VerdictRecord]) -> bool:
    """Return whether there are verdicts on each split; while runs are missing, there may be none on some."""
    return {each.split for each in verdicts} == {*view.splits}


def name_splits(view: ReportView, verdicts: Sequence[VerdictRecord]) -> str:
    """Return the splits of some verdicts, such as "both splits"."""
    splits = list(dict.fromkeys(each.split for each in verdicts))
    if len(splits) == len(view.splits) == 2:
        return "both splits"
    return f"the {fmt.listed(splits)} split{'s' if len(splits) > 1 else ''}"


def _numbers(alike: Sequence[VerdictRecord], *, of: Sequence[VerdictRecord]) -> str:
    """Return the differences with their intervals, for brackets.

    Args:
        alike: verdicts, of several splits where there are several.
        of: all verdicts of the sentence; each says its seeds and tiles where they differ.
    """
    parts, named = [], ""
    for each in alike:
        split = f"{each.split} " if len(alike) > 1 else ""
        own = f"; {_scope(each)}" if len({*map(_scope, of)}) > 1 else ""
        parts.append(f"{split}{_interval(each).replace(named, '') if named else _interval(each)}{own}")
        named = f"{interval_name(each)} "
    return "; ".join(parts)


def _interval(verdict: VerdictRecord) -> str:
    """Return a difference with its interval, the margin where the claim does not name it, and the role."""
    margin = f"; margin {format_points(verdict.margin)}" if verdict.outcome == "better" else ""
    return f"{with_sign(verdict.difference)} points, {intervals(verdict)}{margin}{role(verdict)}"


def _scope(verdict: VerdictRecord) -> str:
    """Return the seeds and test tiles that a verdict rests on."""
    seeds = min(verdict.seeds, verdict.reference_seeds)
    return f"{counted(seeds, 'seed')}, {verdict.images:,} test tiles"


def _tested_on(verdicts: Sequence[VerdictRecord]) -> str:
    """Return the end of a sentence with what all its verdicts rest on; empty where they differ in it."""
    if len({*map(_scope, verdicts)}) > 1:
        return ""
    seeds = min(verdicts[0].seeds, verdicts[0].reference_seeds)
    over = f"over {seeds} seeds" if seeds > 1 else "for these models of one seed"
    each_split = " of each split" * (len({each.split for each in verdicts}) > 1)
    return f", {over} and {verdicts[0].images:,} test tiles{each_split}"


def _trained_on(view: ReportView) -> str:
    """Return the end of a sentence with the few training tiles of all methods; else an empty text."""
    shots = {run.shots for run in view.results.runs if run.sweep is None}
    few = shots.pop() if len(shots) == 1 else None
    return f", trained on {counted(few, 'tile')} of each class" if few else ""


def _saving(view: ReportView, verdict: VerdictRecord) -> list[str]:
    """Return what a method saves against full fine-tuning; none against another reference."""
    if (pair := _beside_full(view, verdict)) is None:
        return []
    row, reference = pair
    mine, full = row.cost, reference.cost
    times = _times_smaller(row, reference)
    stores = (
        f"stores {fmt.size(mine.artefact_bytes)} instead of {fmt.size(full.artefact_bytes)}"
        + f", {times:,.0f} times less" * (times >= 2)
    )
    trains = f"{fmt.capital(row.title)} trains {fmt.trained_share(row.parameters)} of its parameters"
    if not view.costs_comparable:
        return [f"{trains} and {stores}."]
    time, memory = mine.cpu_seconds / full.cpu_seconds, mine.peak_memory / full.peak_memory
    return [
        f"{trains}, takes {_of(time)} the CPU time and {_of(memory)} the peak memory of {reference.title}, "
        f"and {stores}."
    ]


def _of(ratio: float) -> str:
    """Return a ratio in words that go on with what it is of; a percentage where it is below 2."""
    return f"{fmt.percent(ratio, 0)} of" if ratio < 2 else f"{ratio:.3g} times"


def _summary(view: ReportView, verdicts: Sequence[VerdictRecord]) -> list[str]:
    """Return how many of many methods are within the margin on every split, and the smallest of them."""
    methods = {each.method for each in verdicts}
    within = rows_within(view, verdicts)
    explored = len({each.method for each in verdicts if each.role == "exploratory"})
    note = f" ({explored} of them exploratory)" if explored else ""
    every = judges_all_splits(view, verdicts)
    splits = "every split" if every else name_splits(view, verdicts)
    where = f" on {splits}" if len(view.splits) > 1 else ""
    found = (
        f"{len(within)} of {len(methods)} methods{note} are within {_margins(verdicts)} of "
        f"{_reference(verdicts)}{where}{_tested_on(verdicts)}"
    )
    if not within:
        return [f"{found}."]
    own = [each for each in verdicts if each.method == within[0].method]
    smallest = f"the smallest is {within[0].title} ({_numbers(own, of=verdicts)})"
    return [f"{found}; {smallest}.", *_saving(view, own[0])]


def _others(view: ReportView, verdicts: Sequence[VerdictRecord]) -> list[VerdictRecord]:
    """Return the verdicts on methods that the answer is not about, of its standing or exploratory."""
    methods, roles = {each.method for each in verdicts}, {"exploratory", *(each.role for each in verdicts)}
    return [each for each in view.results.verdicts if each.role in roles and each.method not in methods]


def _on_others(view: ReportView, verdicts: Sequence[VerdictRecord]) -> list[str]:
    """Return a sentence on each split with the outcomes of the methods that the answer is not about."""
    sentences, own = [], {each.role for each in verdicts}
    for split in view.splits:
        named: dict[str, list[str]] = {}
        for each in _others(view, verdicts):
            if each.split == split:
                outcome = OUTCOMES[each.outcome] + f" ({each.role})" * (each.role not in own)
                named.setdefault(outcome, []).append(method_name(each.method))
        if named:
            where = f" on the {split} split" if len(view.splits) > 1 else ""
            found = "; ".join(f"{fmt.listed(titles)} {outcome}" for outcome, titles in named.items())
            sentences.append(f"The other methods{where}: {found}.")
    return sentences


def _margins(verdicts: Sequence[VerdictRecord]) -> str:
    """Return the margin, of each split where they differ."""
    margins = {each.split: each.margin for each in verdicts}
    named = describe_margins(margins)
    return named if len({*margins.values()}) == 1 else f"the margin ({named})"


def _reference(verdicts: Sequence[VerdictRecord]) -> str:
    """Return the title of the reference; on some split it may be another one."""
    references = {each.reference for each in verdicts}
    return method_name(verdicts[0].reference) if len(references) == 1 else "the reference"


def _basis(view: ReportView, verdicts: Sequence[VerdictRecord]) -> list[str]:
    """Return what was fixed beforehand, and what it would take where a margin stays open; often nothing."""
    sentences = []
    if view.results.design and {each.role for each in verdicts} == {"primary"}:
        margins = "margins" if len({each.margin for each in verdicts}) > 1 else "margin"
        judged = [*verdicts, *_others(view, verdicts)]
        fixed = {(each.method, each.reference) for each in judged if each.role == "primary"}
        subject = "Comparisons" if len(fixed) > 1 else "Comparison"
        added = "; exploratory ones were added later" * any(each.role == "exploratory" for each in judged)
        sentences.append(f"{subject}, {margins} and seeds were fixed before the test split was read{added}.")
    if len({each.method for each in verdicts}) == 1:
        several = len(view.splits) > 1
        sentences += [
            fmt.capital(f"on the {each.split} split, {found}." if several else f"{found}.")
            for each in verdicts
            if (found := advice(each))
        ]
    return [" ".join(sentences)] if sentences else []
