"""Verdicts at the points of sweeps: each method against its reference at the same point.

The points of the comparison itself, such as all training tiles, are judged in `orbitune.study.verdicts`.
"""

from collections.abc import Sequence
from pathlib import Path

from orbitune.evaluation.statistics.comparison import MARGIN, compare_pairs
from orbitune.study.arms import comparisons
from orbitune.study.design.fixed import Design
from orbitune.study.findings import SWEPT_FIELDS, SweepVerdict
from orbitune.study.predictions import complete_runs, predictions_of
from orbitune.study.records import RunRecord
from orbitune.study.verdicts import difference_over_folds

_Pairs = list[tuple[str, str]]


def compare_sweeps(
    runs: Sequence[RunRecord], folder: Path, *, design: Design | None = None
) -> list[SweepVerdict]:
    """Judge the methods at each point of each sweep and split.

    All comparisons of a sweep on a split are corrected together, those of failed runs too. They are
    exploratory, as a design does not fix them.

    Args:
        runs: all runs of the study.
        folder: the study's folder.
        design: has the margins and the references; None for the default margin.

    Raises:
        RunError: runs of a split were scored on different tiles, or the design has no margin for a split.
    """
    verdicts = []
    for split, sweep in dict.fromkeys((run.split, run.sweep) for run in runs if run.sweep):
        on_split = [run for run in runs if run.split == split]
        points = _points(on_split, str(sweep), fixed=design.all_comparisons if design else ())
        family = sum(len(pairs) for _, pairs in points.values())
        for value, (own, pairs) in points.items():
            done = complete_runs(own)
            known = {run.method for run in done}
            if not (judged := {pair: family for pair in pairs if {*pair} <= known}):
                continue
            correct = predictions_of(done, folder).correct
            for each in compare_pairs(correct, judged, margin=design.margin(split) if design else MARGIN):
                interval = difference_over_folds(done, each)
                compared = each.with_folds(interval) if interval else each
                verdicts.append(
                    SweepVerdict(
                        split=split,
                        role="exploratory" if design else None,
                        sweep=str(sweep),
                        value=value,
                        **compared.to_json(),
                    )
                )
    return verdicts


def _points(
    runs: Sequence[RunRecord], sweep: str, *, fixed: Sequence[tuple[str, str]]
) -> dict[int | str, tuple[list[RunRecord], _Pairs]]:
    """Return the runs and the pairs to compare at each value of a sweep.

    A reference without a rank keeps its runs of the comparison.
    """
    field = SWEPT_FIELDS[sweep]
    swept = [run for run in runs if run.sweep == sweep]
    compared = [run for run in runs if run.sweep is None]
    rest: list[RunRecord] = []
    if sweep == "ranks":
        ranked = {run.method for run in swept}
        rest = [run for run in compared if run.method not in ranked]
    pairs = comparisons(list(dict.fromkeys(run.method for run in compared)), fixed)
    points: dict[int | str, tuple[list[RunRecord], _Pairs]] = {}
    for value in dict.fromkeys(getattr(run, field) for run in swept):
        own = [run for run in swept if getattr(run, field) == value]
        methods, known = {run.method for run in own}, {run.method for run in (*own, *rest)}
        points[value] = (
            [*own, *rest],
            [(method, reference) for method, reference in pairs if method in methods and reference in known],
        )
    return points
