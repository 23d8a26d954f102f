"""Summaries over seeds and folds, one per group of runs, and gaps between splits.

A group contains the runs that differ only in seed and fold; points of sweeps have groups of their own.
Everything is computed from the runs' records and their predictions.
"""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean

import numpy as np

from orbitune.evaluation.calibration import fit_temperature, score_calibration
from orbitune.evaluation.metrics import ClassScores, SplitScores, score
from orbitune.evaluation.statistics.intervals import bootstrap_unpaired_difference, mean_accuracy
from orbitune.evaluation.statistics.resampled import unpaired_resampled_interval
from orbitune.study.findings import CalibrationRecord, ClassRecord, GroupSummary, SeedCalibration, SplitGap
from orbitune.study.over_folds import fold_accuracies
from orbitune.study.predictions import (
    AlignedLogits,
    by_seed,
    complete_runs,
    load_logits,
    load_predictions,
)
from orbitune.study.records import RunRecord


def summarise_groups(runs: Sequence[RunRecord], folder: Path) -> list[GroupSummary]:
    """Summarise each group that has a finished run, in the order of the study.

    Args:
        runs: all runs of the study.
        folder: the study's folder.

    Raises:
        RunError: see `orbitune.study.predictions.load_logits`.
    """
    groups: dict[str, list[RunRecord]] = {}
    for run in complete_runs(runs):
        groups.setdefault(run.group, []).append(run)
    return [_summarise(members, folder) for members in groups.values()]


def split_gaps(runs: Sequence[RunRecord], folder: Path) -> list[SplitGap]:
    """Compare the accuracy of each method on each pair of splits, without sweeps.

    The 95 % intervals are those of `bootstrap_unpaired_difference`; a cross-validation has them over folds
    too, as its verdicts have.

    Args:
        runs: all runs of the study.
        folder: the study's folder.

    Raises:
        RunError: see `orbitune.study.predictions.load_logits`.
    """
    done = [run for run in complete_runs(runs) if run.sweep is None]
    splits = list(dict.fromkeys(run.split for run in done))
    correct = {split: load_predictions(done, folder, split=split).correct for split in splits}
    gaps = []
    for method in dict.fromkeys(run.method for run in runs):
        for pair in combinations([split for split in splits if method in correct[split]], 2):
            first, second = (correct[split][method] for split in pair)
            low, high = bootstrap_unpaired_difference(first, second)
            gaps.append(
                SplitGap(
                    method=method,
                    splits=list(pair),
                    difference=float(first.mean() - second.mean()),
                    low=low,
                    high=high,
                    over_folds=_gap_over_folds(done, method, pair),
                )
            )
    return gaps


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


def _summarise(runs: Sequence[RunRecord], folder: Path) -> GroupSummary:
    """Summarise the finished runs of one group."""
    shared = ("group", "method", "split", "sweep", "shots", "rank", "image_size")
    seeds = by_seed(runs)
    test = load_logits(runs, folder)
    accuracy = mean_accuracy(test.logits.argmax(2) == test.labels)
    scores = [
        own[0].finished.test if len(own) == 1 else _pooled_scores(own[0], test, row)
        for row, own in enumerate(seeds)
    ]
    return GroupSummary(
        **{name: getattr(runs[0], name) for name in shared},
        folds=len(seeds[0]) if runs[0].fold else None,
        seeds=[own[0].seed for own in seeds],
        test_tiles=len(test.labels),
        accuracy=accuracy,
        macro_f1=fmean(each.macro_f1 for each in scores),
        validation_accuracy=fmean(run.finished.validation.accuracy for run in runs),
        per_class=[
            _class_over_seeds(each) for each in zip(*(every.per_class for every in scores), strict=True)
        ],
        calibration=_calibrate(runs, folder),
    )


def _pooled_scores(run: RunRecord, test: AlignedLogits, row: int) -> SplitScores:
    """Return the scores of one seed's pooled folds, as if they were one split.

    Scores of single folds are not averaged: the mean of a few F1 of few tiles is biased (Forman and Scholz
    2010, doi:10.1145/1882471.1882479).
    """
    return score(test.logits[row], test.labels, classes=run.finished.data.classes)


def _class_over_seeds(scores: Sequence[ClassScores]) -> ClassRecord:
    """Summarise one class from its scores with each seed."""
    f1 = [each.f1 for each in scores]
    first = scores[0]
    return ClassRecord(name=first.name, support=first.support, f1=fmean(f1), low=min(f1), high=max(f1))


def _calibrate(runs: Sequence[RunRecord], folder: Path) -> CalibrationRecord:
    """Score calibration on the test tiles, of each seed and of all together.

    Each run has a temperature from its validation tiles.
    """
    temperatures, seeds = list[float](), list[SeedCalibration]()
    logits, scaled, labels, tiles = (list[np.ndarray]() for _ in range(4))
    for own in by_seed(runs):
        validation, test = (
            [load_logits([run], folder, part=part) for run in own] for part in ("validation", "test")
        )
        fitted = [fit_temperature(each.logits[0], each.labels) for each in validation]
        temperatures += fitted
        labels.append(np.concatenate([each.labels for each in test]))
        tiles.append(np.concatenate([each.indices for each in test]))
        logits.append(np.concatenate([each.logits[0] for each in test]))
        scaled.append(
            np.concatenate([each.logits[0] / value for each, value in zip(test, fitted, strict=True)])
        )
        before, after = (score_calibration(each[-1], labels[-1]) for each in (logits, scaled))
        seeds.append(SeedCalibration.of(own[0].seed, before, after=after))
    together, of_tiles = np.concatenate(labels), np.concatenate(tiles)
    before, after = (
        score_calibration(np.concatenate(each), together, tiles=of_tiles) for each in (logits, scaled)
    )
    return CalibrationRecord(temperatures=temperatures, before=before, after=after, seeds=seeds)
