"""Verdicts on methods: each against a reference, on the same test tiles.

The reference is full fine-tuning where it was run, else the first method. Each split is judged separately,
over all seeds, with the statistics of `orbitune.evaluation.significance`.
"""

from collections.abc import Sequence
from pathlib import Path

from orbitune.evaluation.significance import compare_all, difference_sentence, verdict_sentence
from orbitune.study.display_names import method_name
from orbitune.study.findings import VerdictRecord
from orbitune.study.predictions import load_predictions
from orbitune.study.records import RunRecord


def choose_reference(methods: Sequence[str]) -> str:
    """Return the method that the others are compared with."""
    return "full" if "full" in methods else methods[0]


def compare_methods(runs: Sequence[RunRecord], folder: Path) -> list[VerdictRecord]:
    """Compare every method with the reference on each split; sweeps are left out.

    Args:
        runs: all runs of the study.
        folder: the study's folder.

    Returns:
        One verdict per split and method other than the reference.

    Raises:
        RunError: runs of a split were scored on different tiles.
    """
    done = [run for run in runs if run.status == "done" and run.sweep is None]
    verdicts = []
    for split in dict.fromkeys(run.split for run in done):
        correct = load_predictions(done, folder, split=split).correct
        names = {method: method_name(method) for method in correct}
        for comparison in compare_all(correct, choose_reference(list(correct))):
            sentences = [verdict_sentence(comparison, names), difference_sentence(comparison, names)]
            verdicts.append(VerdictRecord(split=split, **comparison.to_json(), sentences=sentences))
    return verdicts
