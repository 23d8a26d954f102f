"""Verdicts at the points of sweeps: each method against its reference at the same point.

The points of the comparison itself, such as all training tiles, are judged in `orbitune.study.verdicts`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orbitune.evaluation.statistics.comparison import MARGIN, Comparison, compare_pairs
from orbitune.study.arms import comparisons
from orbitune.study.design.fixed import Design
from orbitune.study.findings import SWEPT_FIELDS, SweepVerdict
from orbitune.study.predictions import complete_runs, predictions_of
from orbitune.study.records import RunRecord
from orbitune.study.verdicts import difference_over_folds


def compare_sweeps(
    runs: Sequence[RunRecord], folder: Path, *, design: Design | None = None
) -> list[SweepVerdict]:
    """Judge the methods at each point of each sweep and split.

    All comparisons of a sweep on a split are corrected together, those of failed runs too. They are
    exploratory, as a design does not fix them. Few training tiles of the folds of a cross-validation are left
    out: the correction of intervals over folds is for training sets that overlap.

    Args:
        runs: all runs of the study.
        folder: the study's folder.
        design: has the margins and the references; None for the default margin.

    Raises:
        RunError: runs of a point were scored on different tiles, or the design has no margin for a split.
    """
    verdicts = []
    for split, sweep in dict.fromkeys((run.split, run.sweep) for run in runs if run.sweep):
        assert sweep is not None
        on_split = [run for run in runs if run.split == split]
        if sweep == "shots" and any(run.fold for run in on_split):
            continue
        points = _points(on_split, sweep, fixed=design.all_comparisons if design else ())
        family = sum(len(point.pairs) for point in points)
        margin = design.margin(split) if design else MARGIN
        verdicts += [
            SweepVerdict(
                split=split,
                role="exploratory" if design else None,
                sweep=sweep,
                value=point.value,
                **compared.to_json(),
            )
            for point in points
            for compared in _judge(point, folder, family=family, margin=margin)
        ]
    return verdicts


@dataclass(frozen=True)
class _Point:
    """A value of a sweep, with the pairs (method, reference) to compare there and their runs."""

    value: int | None
    pairs: list[tuple[str, str]]
    runs: list[RunRecord]


def _points(runs: Sequence[RunRecord], sweep: str, *, fixed: Sequence[tuple[str, str]]) -> list[_Point]:
    """Return the points of a sweep on one split.

    Runs of the comparison that have the value are of the point too, and so are those of methods without a
    rank at every rank.
    """
    field = SWEPT_FIELDS[sweep]
    swept = [run for run in runs if run.sweep == sweep]
    compared = [run for run in runs if run.sweep is None]
    pairs = comparisons(list(dict.fromkeys(run.method for run in compared)), fixed)
    ranked = {run.method for run in swept} if sweep == "ranks" else {run.method for run in runs}
    points = []
    for value in dict.fromkeys(getattr(run, field) for run in swept):
        changed = {run.method for run in swept if getattr(run, field) == value}
        own = [
            run
            for run in (*swept, *compared)
            if getattr(run, field) == value or (run.sweep is None and run.method not in ranked)
        ]
        known = {run.method for run in own}
        judged = [pair for pair in pairs if {*pair} <= known and {*pair} & changed]
        named = {method for pair in judged for method in pair}
        points.append(_Point(value, judged, [run for run in own if run.method in named]))
    return points


def _judge(point: _Point, folder: Path, *, family: int, margin: float) -> list[Comparison]:
    """Compare the methods whose runs at a point are finished."""
    done = complete_runs(point.runs)
    known = {run.method for run in done}
    if not (judged := {pair: family for pair in point.pairs if {*pair} <= known}):
        return []
    found = compare_pairs(predictions_of(done, folder).correct, judged, margin=margin)
    over_folds = [difference_over_folds(done, each) for each in found]
    return [
        each.with_folds(interval) if interval else each
        for each, interval in zip(found, over_folds, strict=True)
    ]
