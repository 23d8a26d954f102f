"""What the finished runs of a study say about its methods: each against one of them, on the same test tiles.

That one is full fine-tuning where it was run, else the first method. Each split is judged by itself, over all
seeds; the statistics are those of `orbitune.evaluation.significance`.
"""

from pathlib import Path
from typing import Any

from orbitune.evaluation.significance import compare_all, difference_sentence, verdict_sentence
from orbitune.study.display_names import method_name
from orbitune.study.results import compared_splits, load_predictions


def choose_reference(methods: list[str]) -> str:
    """The method that the others are compared with."""
    return "full" if "full" in methods else methods[0]


def compare_methods(results: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """One entry for each split and method but the reference; none where a split has a single method.

    Args:
        results: what results.json holds.
        folder: of the study, with the runs below it.

    Returns:
        split, the numbers of the `Comparison`, and its sentences.

    Raises:
        RunError: runs of a split were scored on different tiles.
    """
    entries = []
    for split in compared_splits(results):
        correct = load_predictions(results, folder, split).correct
        names = {method: method_name(method) for method in correct}
        for compared in compare_all(correct, choose_reference(list(correct))):
            sentences = [verdict_sentence(compared, names), difference_sentence(compared, names)]
            entries.append({"split": split, **compared.to_json(), "sentences": sentences})
    return entries
