"""The answer of a study in two sentences: what a method loses against the reference, and what it saves."""

from collections.abc import Sequence

from orbitune.evaluation.statistics.sentences import claim, format_points, scope
from orbitune.reporting import formatting as fmt
from orbitune.study.arms import crosses_backbones, split_arm
from orbitune.study.display_names import describe_margins, method_name
from orbitune.study.findings import VerdictRecord
from orbitune.study.report.answers.backbone_answers import intervals, role, which_backbone_is_best
from orbitune.study.report.view_model import FEW, MethodRow, ReportView

_ASKED = "lora"  # without a named primary comparison, a study that has it among its methods is about this one


def write_headline(view: ReportView) -> list[str]:
    """Return one or two sentences that can be quoted alone; none where no run is finished."""
    named = _named(view)
    if view.backbones and not named:
        found = [which_backbone_is_best(view, split) for split in view.splits]
        return [fmt.capital(f"{each}.") for each in found if each]
    verdicts = named or _asked(view)
    if not verdicts:
        return [_reached(row) for row in view.rows] if len(view.rows) <= FEW else []
    if len({each.method for each in verdicts}) == 1:
        return [_answer(view, verdicts), *_saving(view, verdicts[0])]
    return _summary(view, verdicts)


def _named(view: ReportView) -> list[VerdictRecord]:
    """Return the verdicts on the primary comparison that was named; none where none was."""
    design = view.results.design
    if design is None or len(design.primary) == len(design.comparisons):
        return []
    return [each for each in view.results.verdicts if (each.method, each.reference) in design.primary]


def _asked(view: ReportView) -> list[VerdictRecord]:
    """Return the verdicts on LoRA, else on all methods; on those that were fixed beforehand, if any was."""
    verdicts = [each for each in view.results.verdicts if not crosses_backbones(each.method, each.reference)]
    fixed = {each.method for each in verdicts if each.role == "primary"}
    found = [each for each in verdicts if each.method in fixed] or verdicts
    return [each for each in found if split_arm(each.method)[0] == _ASKED] or found


def _reached(row: MethodRow) -> str:
    """Return the accuracy of a method that is judged against no other."""
    parts = [
        f"{fmt.with_interval(group.accuracy, 1)} of {group.summary.test_tiles:,} test tiles"
        + (f" of the {split} split" if len(row.groups) > 1 else "")
        for split, group in row.groups.items()
    ]
    return f"{fmt.capital(row.title)} classifies {fmt.listed(parts)} correctly."


def _answer(view: ReportView, verdicts: Sequence[VerdictRecord]) -> str:
    """Return what one method loses against the reference, splits of the same claim together."""
    scopes = list(dict.fromkeys(map(_scope, verdicts)))
    claims: dict[tuple[str, str], list[VerdictRecord]] = {}
    for each in verdicts:
        found = claim(each, method=method_name(each.method), reference=method_name(each.reference))
        claims.setdefault((_scope(each), found), []).append(each)
    clauses = []
    for (own, found), alike in claims.items():
        splits = f"{fmt.listed([each.split for each in alike])} split{'s' if len(alike) > 1 else ''}"
        where = f"on the {splits} " if len(view.splits) > 1 else ""
        if len(scopes) > 1:
            where = f"{where.rstrip()}, {own[0].lower()}{own[1:]}, "
        of_each = [
            f"{_interval(each)}{f' on the {each.split} split' if len(alike) > 1 else ''}" for each in alike
        ]
        clauses.append(f"{where}{found} ({'; '.join(of_each)})")
    answer = f"{fmt.listed(clauses)}."
    return f"{scopes[0]}, {answer}" if len(scopes) == 1 else fmt.capital(answer)


def _scope(verdict: VerdictRecord) -> str:
    """Return what a verdict holds for and rests on, as the beginning of a sentence."""
    return f"{scope(verdict)} and {verdict.images:,} test tiles"


def _interval(verdict: VerdictRecord) -> str:
    """Return a difference with its interval, the margin where the claim does not name it, and the role."""
    margin = f"; margin {format_points(verdict.margin)}" if verdict.outcome == "better" else ""
    return f"{fmt.signed(verdict.difference)} points, {intervals(verdict)}{margin}{role(verdict)}"


def _saving(view: ReportView, verdict: VerdictRecord) -> list[str]:
    """Return what a method saves against full fine-tuning; none against another reference."""
    row = next(row for row in view.rows if row.method == verdict.method)
    reference = view.full_on(row.backbone)
    if reference is None or reference.method != verdict.reference:
        return []
    mine, full = row.cost, reference.cost
    times = full.artefact_bytes / mine.artefact_bytes
    stores = (
        f"stores {fmt.size(mine.artefact_bytes)} instead of {fmt.size(full.artefact_bytes)}"
        + f", {times:,.0f} times less" * (times >= 2)
    )
    trains = f"{fmt.capital(row.title)} trains {fmt.trained_percentage(row.parameters)} of the parameters"
    if not view.costs_comparable:
        return [f"{trains} and {stores}."]
    return [
        f"{trains}, {stores}, and takes "
        f"{fmt.ratio(mine.cpu_seconds, full.cpu_seconds)} the CPU time and "
        f"{fmt.ratio(mine.peak_memory, full.peak_memory)} the peak memory of {reference.title}."
    ]


def _summary(view: ReportView, verdicts: Sequence[VerdictRecord]) -> list[str]:
    """Return how many of many methods are within the margin on every split, and the smallest of them."""
    methods: dict[str, list[VerdictRecord]] = {}
    for each in verdicts:
        methods.setdefault(each.method, []).append(each)
    within = [method for method, own in methods.items() if all(each.is_within for each in own)]
    explored = sum(any(each.role == "exploratory" for each in own) for own in methods.values())
    note = f" ({explored} of them exploratory)" if explored else ""
    where = " on every split" if len(view.splits) > 1 else ""
    found = (
        f"{_scopes(verdicts)}, {len(within)} of {len(methods)} methods{note} are within "
        f"{_margins(verdicts)} of {_reference(verdicts)}{where}"
    )
    if not within:
        return [f"{found}."]
    small = min((row for row in view.rows if row.method in within), key=lambda row: row.cost.artefact_bytes)
    own = [
        _interval(each) + (f" on the {view.split_name(each.split)}" if len(view.splits) > 1 else "")
        for each in methods[small.method]
    ]
    saving = _saving(view, methods[small.method][0])
    return [f"{found}; the smallest is {small.title} ({'; '.join(own)}).", *saving]


def _scopes(verdicts: Sequence[VerdictRecord]) -> str:
    """Return what several verdicts hold for, as the beginning of a sentence."""
    seeds = sorted({min(each.seeds, each.reference_seeds) for each in verdicts})
    over = scope(verdicts[0]) if len(seeds) == 1 else f"Over {seeds[0]} to {seeds[-1]} seeds"
    return f"{over} and {' or '.join(dict.fromkeys(f'{each.images:,}' for each in verdicts))} test tiles"


def _margins(verdicts: Sequence[VerdictRecord]) -> str:
    """Return the margin, of each split where they differ."""
    margins = {each.split: each.margin for each in verdicts}
    named = describe_margins(margins)
    return named if len({*margins.values()}) == 1 else f"the margin ({named})"


def _reference(verdicts: Sequence[VerdictRecord]) -> str:
    """Return the title of the reference; on some split it may be another one."""
    references = {each.reference for each in verdicts}
    return method_name(verdicts[0].reference) if len(references) == 1 else "the reference"
