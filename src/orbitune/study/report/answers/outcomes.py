"""Outcomes of comparisons with one reference, in sentences."""

from collections.abc import Sequence
from itertools import product

from orbitune.errors import counted
from orbitune.evaluation.statistics.comparison import Outcome
from orbitune.evaluation.statistics.sentences import (
    corrected,
    format_points,
    interval_name,
    p_of_outcome,
    with_sign,
)
from orbitune.reporting import formatting as fmt
from orbitune.study.display_names import method_name
from orbitune.study.findings import SweepVerdict, VerdictRecord
from orbitune.study.report.answers.backbone_answers import intervals, role
from orbitune.study.report.view_model import ReportView, RunGroup


def outcome_sentences(verdicts: Sequence[VerdictRecord]) -> list[str]:
    """Return a sentence for each outcome and family, with the methods that have it.

    Args:
        verdicts: with one reference and margin.
    """
    margin = format_points(verdicts[0].margin)
    claims: dict[Outcome, str] = {
        "better": "More accurate",
        "within margin": f"Within {margin} of it",
        "worse than margin": f"Less accurate by more than {margin}",
        "worse": f"Less accurate, whether by more than {margin} is open",
        "open": f"Open whether within {margin} of it",
    }
    families = list(dict.fromkeys(verdict.family for verdict in verdicts))  # the primary one first
    sentences = []
    for (outcome, claim), family in product(claims.items(), families):
        named = [verdict for verdict in verdicts if (verdict.outcome, verdict.family) == (outcome, family)]
        if named:
            sentences += [f"{claim}{_largest_p(named)}: {_differences(named)}."]
    return sentences


def accuracy_clause(view: ReportView, group: RunGroup) -> str:
    """Return a group's test accuracy with interval, number of tiles and seeds."""
    seeds = len(group.summary.seeds)
    from_seeds = "from one seed" if seeds == 1 else f"over {seeds} seeds"
    mean, *interval = group.accuracy
    return (
        f"{group.title} reached {fmt.percent(mean, view.digits)} test accuracy "
        f"(95 % interval {fmt.percent_range(interval, view.digits)}) "
        f"on {counted(group.summary.test_tiles, 'test tile')} {from_seeds}"
        + (f", each tested once over {view.folds} folds" if view.folds else "")
    )


def _differences(verdicts: Sequence[VerdictRecord]) -> str:
    """List methods with their differences to the reference, the intervals and their roles.

    Units and the name of the interval are written once.
    """
    named = [
        f"{_name(each)} ({with_sign(each.difference)} points, {intervals(each)}{_role(each)})"
        for each in verdicts
    ]
    repeated = f" points, {interval_name(verdicts[0])} "
    return fmt.listed([named[0], *(text.replace(repeated, ", ", 1) for text in named[1:])])


def _name(verdict: VerdictRecord) -> str:
    """Return the name of a method, with its rank where ranks are compared."""
    rank = verdict.value if isinstance(verdict, SweepVerdict) and verdict.sweep == "ranks" else None
    return method_name(verdict.method) + (f" at rank {rank}" if rank else "")


def _role(verdict: VerdictRecord) -> str:
    """Return the role of a comparison after a comma; that of a sweep is said once."""
    return "" if isinstance(verdict, SweepVerdict) else role(verdict)


def _largest_p(verdicts: Sequence[VerdictRecord]) -> str:
    """Return the largest p value behind equal outcomes of one family; empty where they are open."""
    known = [p for p in map(p_of_outcome, verdicts) if p is not None]
    if len(known) < len(verdicts):
        return ""
    largest = fmt.p_value(max(known))
    sign = "" if largest[0] == "<" else "= " if len(verdicts) == 1 else "\N{LESS-THAN OR EQUAL TO} "
    return f" (p {sign}{largest}{corrected(verdicts[0])})"
