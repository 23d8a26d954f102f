"""Conclusions on the points of sweeps."""

from orbitune.reporting import formatting as fmt
from orbitune.study.arms import crosses_backbones
from orbitune.study.display_names import method_name
from orbitune.study.findings import SWEPT_FIELDS, SweepVerdict
from orbitune.study.report.answers.outcomes import accuracy_clause, outcome_sentences
from orbitune.study.report.view_model import ReportView

_PLACES = {
    "shots": "with {} training tiles per class",
    "image_sizes": "at {} pixels",
    "ranks": "beside other ranks",  # all together, as the reference is the same
}


def sweep_conclusions(view: ReportView) -> list[str]:
    """Return a paragraph for each point of a sweep, split and reference; one for all ranks."""
    found: dict[tuple[str, str, str], list[SweepVerdict]] = {}
    for verdict in view.results.sweep_verdicts:
        if not crosses_backbones(verdict.method, verdict.reference):
            place = _PLACES[verdict.sweep].format(verdict.value)
            found.setdefault((verdict.split, place, verdict.reference), []).append(verdict)
    paragraphs = []
    for (split, place, _), own in found.items():
        where = fmt.capital(place) + (f" on the {split} split" if len(view.splits) > 1 else "")
        note = " (exploratory)" if own[0].role else ""
        paragraphs.append(" ".join([f"{where}{note}, {_reference(view, own[0])}.", *outcome_sentences(own)]))
    return paragraphs


def _reference(view: ReportView, verdict: SweepVerdict) -> str:
    """Return the accuracy of the reference at the point."""
    field = SWEPT_FIELDS[verdict.sweep]
    groups = [group for group in view.groups_on(verdict.split) if group.method == verdict.reference]
    groups += [
        group
        for group in view.groups
        if (group.split, group.method) == (verdict.split, verdict.reference)
        and group.summary.sweep == verdict.sweep
        and getattr(group.summary, field) == verdict.value
    ]
    return accuracy_clause(view, groups[-1]) if groups else method_name(verdict.reference)
