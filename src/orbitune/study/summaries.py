"""Summaries over seeds and folds, one per group of runs.

A group contains the runs that differ only in seed and fold; points of sweeps have groups of their own.
Everything is computed from the runs' records and their predictions.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from orbitune.evaluation.calibration import fit_temperature, score_calibration
from orbitune.evaluation.metrics import ClassScores, SplitScores, score
from orbitune.evaluation.statistics.intervals import mean_accuracy
from orbitune.evaluation.statistics.macro_f1 import macro_f1_over_seeds
from orbitune.study.findings import CalibrationRecord, ClassRecord, GroupSummary, SeedCalibration
from orbitune.study.predictions import (
    AlignedLogits,
    by_seed,
    complete_runs,
    load_logits,
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


def _summarise(runs: Sequence[RunRecord], folder: Path) -> GroupSummary:
    """Summarise the finished runs of one group."""
    shared = ("group", "method", "split", "sweep", "shots", "rank", "image_size")
    seeds = by_seed(runs)
    test = load_logits(runs, folder)
    predicted = test.logits.argmax(2)
    scores = [
        own[0].finished.test if len(own) == 1 else _pooled_scores(own[0], test, row)
        for row, own in enumerate(seeds)
    ]
    return GroupSummary(
        **{name: getattr(runs[0], name) for name in shared},
        folds=len(seeds[0]) if runs[0].fold else None,
        seeds=[own[0].seed for own in seeds],
        test_tiles=len(test.labels),
        accuracy=mean_accuracy(predicted == test.labels),
        macro_f1=fmean(each.macro_f1 for each in scores),
        macro_f1_interval=macro_f1_over_seeds(predicted, test.labels, classes=test.logits.shape[2]),
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
