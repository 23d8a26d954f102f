"""Conclusions on the points of sweeps."""

from collections.abc import Sequence

from orbitune.errors import counted
from orbitune.study.arms import crosses_backbones
from orbitune.study.findings import SWEPT_FIELDS, SweepVerdict
from orbitune.study.report.answers.outcomes import accuracy_clause, outcome_sentences
from orbitune.study.report.view_model import ReportView, RunGroup


def sweep_conclusions(view: ReportView) -> list[str]:
    """Return a paragraph for each point of a sweep, split and reference.

    All ranks have one where the reference has no rank.
    """
    found: dict[tuple[str, str, str], list[SweepVerdict]] = {}
    for verdict in view.results.sweep_verdicts:
        if not crosses_backbones(verdict.method, verdict.reference):
            own = found.setdefault((verdict.split, _place(view, verdict), verdict.reference), [])
            own.append(verdict)
    return [_paragraph(view, place, own) for (_, place, _), own in found.items()]


def _paragraph(view: ReportView, place: str, verdicts: Sequence[SweepVerdict]) -> str:
    """Return the outcomes of comparisons with one reference."""
    where = place + (f" on the {verdicts[0].split} split" if len(view.splits) > 1 else "")
    note = " (exploratory)" if verdicts[0].role else ""
    sentences = [f"{where}{note}, {accuracy_clause(view, _reference(view, verdicts[0]))}."]
    sentences += outcome_sentences(verdicts)
    if not all(verdict.tests_methods for verdict in verdicts):
        sentences.append("Where a method has one seed, this holds for these trained models.")
    return " ".join(sentences)


def _place(view: ReportView, verdict: SweepVerdict) -> str:
    """Name a point; all ranks together where the reference has none."""
    if verdict.sweep == "shots":
        few = "all training tiles" if verdict.value is None else counted(verdict.value, "training tile")
        return f"With {few}" + " per class" * (verdict.value is not None)
    if verdict.sweep == "image_sizes":
        return f"At {verdict.value} pixels"
    return f"At rank {verdict.value}" if _reference(view, verdict).summary.sweep else "Beside other ranks"


def _reference(view: ReportView, verdict: SweepVerdict) -> RunGroup:
    """Return the runs of the reference at a point; those of the comparison where it has none there."""
    own = [
        group for group in view.groups if (group.split, group.method) == (verdict.split, verdict.reference)
    ]
    field = SWEPT_FIELDS[verdict.sweep]
    at_point = [
        group
        for group in own
        if group.summary.sweep == verdict.sweep and getattr(group.summary, field) == verdict.value
    ]
    return next(group for group in (*at_point, *own) if group in at_point or group.summary.sweep is None)
