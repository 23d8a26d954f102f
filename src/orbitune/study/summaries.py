"""What a study measured, over seeds: one summary for each group of runs, and the gaps between splits.

A group are the runs that differ in the seed alone, sweeps included. All is computed from the runs' entries
and their predictions.
"""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from orbitune.evaluation.calibration import calibration, fit_temperature
from orbitune.evaluation.intervals import accuracy_over_seeds, bootstrap_gap
from orbitune.study.results import Entry, Logits, compared_splits, load_logits, load_predictions


def summarise_groups(results: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """One entry for each group that has a finished run, in the order of the study.

    Args:
        results: what results.json holds.
        folder: of the study, with the runs below it.

    Returns:
        What the runs of the group share; seeds, of those that are done; test_tiles; accuracy on test, see
        `accuracy_over_seeds`; macro_f1 and validation_accuracy, means over the seeds; per_class, name,
        support, f1, the mean over the seeds, low and high, the least and the largest of them; calibration.

    Raises:
        RunError: see `orbitune.study.results.load_logits`.
    """
    groups: dict[str, list[Entry]] = {}
    for run in results["runs"]:
        if run["status"] == "done":
            groups.setdefault(run["group"], []).append(run)
    return [_summary(runs, folder) for runs in groups.values()]


def split_gaps(results: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """How much less accurate each method is on one split than on another; sweeps are left out.

    Returns:
        For each method and pair of splits: method; splits, the two; difference, the accuracy on the first
        minus that on the second, in -1..1; low and high, its 95 % interval by `bootstrap_gap`.

    Raises:
        RunError: see `orbitune.study.results.load_logits`.
    """
    splits = compared_splits(results)
    correct = {split: load_predictions(results, folder, split).correct for split in splits}
    entries = []
    for method in dict.fromkeys(run["method"] for run in results["runs"]):
        for pair in combinations([split for split in splits if method in correct[split]], 2):
            first, second = (correct[split][method] for split in pair)
            low, high = bootstrap_gap(first, second)
            difference = float(first.mean() - second.mean())
            entries.append(
                {"method": method, "splits": list(pair), "difference": difference, "low": low, "high": high}
            )
    return entries


def _summary(runs: Sequence[Entry], folder: Path) -> dict[str, Any]:
    """Of the finished runs of one group."""
    shared = ("group", "method", "split", "sweep", "shots", "rank", "image_size")
    done = [run["result"] for run in runs]
    test = load_logits(runs, folder)
    return {
        **{name: runs[0][name] for name in shared},
        "seeds": [run["seed"] for run in runs],
        "test_tiles": len(test.labels),
        "accuracy": accuracy_over_seeds(test.logits.argmax(2) == test.labels),
        "macro_f1": fmean(result["test"]["macro_f1"] for result in done),
        "validation_accuracy": fmean(result["validation"]["accuracy"] for result in done),
        "per_class": [
            _class_over_seeds(seen) for seen in zip(*(r["test"]["per_class"] for r in done), strict=True)
        ],
        "calibration": _calibration(load_logits(runs, folder, "validation"), test),
    }


def _class_over_seeds(seen: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One class, from its scores with each seed."""
    f1 = [scores["f1"] for scores in seen]
    return {
        "name": seen[0]["name"],
        "support": seen[0]["support"],
        "f1": fmean(f1),
        "low": min(f1),
        "high": max(f1),
    }


def _calibration(validation: Logits, test: Logits) -> dict[str, Any]:
    """Of test, the tiles of all seeds together: as the models say, and with temperatures from validation.

    Each seed is a model of its own, hence it has a temperature of its own.
    """
    temperatures = [fit_temperature(logits, validation.labels) for logits in validation.logits]
    seeds, _, classes = test.logits.shape
    labels = np.tile(test.labels, seeds)
    scaled = test.logits / np.array(temperatures)[:, None, None]
    return {
        "temperatures": temperatures,
        "before": calibration(test.logits.reshape(-1, classes), labels),
        "after": calibration(scaled.reshape(-1, classes), labels),
    }
