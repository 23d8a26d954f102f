"""Summaries over seeds, one per group of runs, and gaps between splits.

A group contains the runs that differ only in their seed; points of sweeps have groups of their own.
Everything is computed from the runs' records and their predictions.
"""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean

import numpy as np

from orbitune.evaluation.calibration import fit_temperature, score_calibration
from orbitune.evaluation.intervals import bootstrap_unpaired_difference, mean_accuracy
from orbitune.evaluation.metrics import ClassScores
from orbitune.study.findings import CalibrationRecord, ClassRecord, GroupSummary, SplitGap
from orbitune.study.predictions import AlignedLogits, load_logits, load_predictions
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
    for run in runs:
        if run.status == "done":
            groups.setdefault(run.group, []).append(run)
    return [_summarise(members, folder) for members in groups.values()]


def split_gaps(runs: Sequence[RunRecord], folder: Path) -> list[SplitGap]:
    """Compare the accuracy of each method on each pair of splits, without sweeps.

    The 95 % intervals are those of `bootstrap_unpaired_difference`.

    Args:
        runs: all runs of the study.
        folder: the study's folder.

    Raises:
        RunError: see `orbitune.study.predictions.load_logits`.
    """
    done = [run for run in runs if run.status == "done" and run.sweep is None]
    splits = list(dict.fromkeys(run.split for run in done))
    correct = {split: load_predictions(done, folder, split=split).correct for split in splits}
    gaps = []
    for method in dict.fromkeys(run.method for run in runs):
        for pair in combinations([split for split in splits if method in correct[split]], 2):
            first, second = (correct[split][method] for split in pair)
            low, high = bootstrap_unpaired_difference(first, second)
            difference = float(first.mean() - second.mean())
            gaps.append(SplitGap(method=method, splits=list(pair), difference=difference, low=low, high=high))
    return gaps


def _summarise(runs: Sequence[RunRecord], folder: Path) -> GroupSummary:
    """Summarise the finished runs of one group."""
    shared = ("group", "method", "split", "sweep", "shots", "rank", "image_size")
    results = [run.finished for run in runs]
    test = load_logits(runs, folder)
    accuracy = mean_accuracy(test.logits.argmax(2) == test.labels)
    return GroupSummary(
        **{name: getattr(runs[0], name) for name in shared},
        seeds=[run.seed for run in runs],
        test_tiles=len(test.labels),
        accuracy=accuracy,
        macro_f1=fmean(result.test.macro_f1 for result in results),
        validation_accuracy=fmean(result.validation.accuracy for result in results),
        per_class=[
            _class_over_seeds(scores)
            for scores in zip(*(result.test.per_class for result in results), strict=True)
        ],
        calibration=_calibrate(load_logits(runs, folder, part="validation"), test),
    )


def _class_over_seeds(scores: Sequence[ClassScores]) -> ClassRecord:
    """Summarise one class from its scores with each seed."""
    f1 = [each.f1 for each in scores]
    first = scores[0]
    return ClassRecord(name=first.name, support=first.support, f1=fmean(f1), low=min(f1), high=max(f1))


def _calibrate(validation: AlignedLogits, test: AlignedLogits) -> CalibrationRecord:
    """Score calibration on the test tiles of all seeds.

    Each seed has a temperature from validation.
    """
    temperatures = [fit_temperature(logits, validation.labels) for logits in validation.logits]
    seeds, _, classes = test.logits.shape
    labels = np.tile(test.labels, seeds)
    scaled = test.logits / np.array(temperatures)[:, None, None]
    before, after = (
        score_calibration(logits.reshape(-1, classes), labels) for logits in (test.logits, scaled)
    )
    return CalibrationRecord(temperatures=temperatures, before=before, after=after)
