"""Gaps between splits: what each method loses from one to another, as it is and at one mix of classes."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from orbitune.evaluation.statistics.intervals import bootstrap_unpaired_difference
from orbitune.evaluation.statistics.resampled import unpaired_resampled_interval
from orbitune.evaluation.statistics.standardised import (
    ClassCorrect,
    class_mixes,
    mix_split,
    standardised_gaps,
)
from orbitune.study.findings import SplitGap, StandardisedGap
from orbitune.study.over_folds import fold_accuracies
from orbitune.study.predictions import complete_runs, load_predictions
from orbitune.study.records import RunRecord


def split_gaps(runs: Sequence[RunRecord], folder: Path) -> list[SplitGap]:
    """Compare the accuracy of each method on each pair of splits, without sweeps.

    The 95 % intervals are those of `bootstrap_unpaired_difference`, at one mix of classes those of
    `standardised_gaps`; a cross-validation has them over folds too, as its verdicts have.

    Args:
        runs: all runs of the study.
        folder: the study's folder.

    Raises:
        RunError: see `orbitune.study.predictions.load_logits`.
    """
    done = [run for run in complete_runs(runs) if run.sweep is None]
    splits = list(dict.fromkeys(run.split for run in done))
    found = {split: load_predictions(done, folder, split=split) for split in splits}
    gaps = []
    for method in dict.fromkeys(run.method for run in done):
        for pair in combinations([split for split in splits if method in found[split].predicted], 2):
            first, second = (
                ClassCorrect(found[split].correct[method], found[split].labels) for split in pair
            )
            low, high = bootstrap_unpaired_difference(first.correct, second.correct)
            gap = SplitGap(
                method=method,
                splits=list(pair),
                difference=float(first.correct.mean() - second.correct.mean()),
                low=low,
                high=high,
                over_folds=_gap_over_folds(done, method, pair),
            )
            gaps.append(_standardised(gap, first, second=second, classes=done[0].finished.data.classes))
    return gaps


def _standardised(
    gap: SplitGap, first: ClassCorrect, *, second: ClassCorrect, classes: Sequence[str]
) -> SplitGap:
    """Return a gap with its figures at one mix of classes; as it is where the splits share no class."""
    counts = [np.bincount(each.labels, minlength=len(classes)) for each in (first, second)]
    mix = mix_split(gap.splits)
    mixes = class_mixes(*counts, mix_of_second=mix == gap.splits[1])
    shared = mixes[1] > 0
    if not shared.any():
        return gap
    standardised, balanced = (
        StandardisedGap(mix=name, difference=difference, interval=interval)
        for name, (difference, interval) in zip(
            (mix, None), standardised_gaps(first, second, mixes=mixes), strict=True
        )
    )
    left_out = [name for name, kept in zip(classes, shared, strict=True) if not kept]
    return gap.model_copy(update={"standardised": standardised, "balanced": balanced, "left_out": left_out})


def _gap_over_folds(
    runs: Sequence[RunRecord], method: str, splits: Sequence[str]
) -> tuple[float, float] | None:
    """Return the interval of a gap over the folds of both splits, -1..1; None for ordinary splits."""
    first, second = (fold_accuracies([run for run in runs if run.split == each], method) for each in splits)
    if first is None or second is None:
        return None
    ratios = (first.test_to_train, second.test_to_train)
    low, high = unpaired_resampled_interval(first.percent, second.percent, test_to_train=ratios)
    return low / 100, high / 100
