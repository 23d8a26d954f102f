"""What later versions add to results.json, from the figures that older ones stored."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from orbitune.evaluation.statistics.comparison import ALPHA
from orbitune.evaluation.statistics.standardised import class_mixes, confusion_gaps, mix_split


def outcome_of(verdict: dict[str, Any]) -> dict[str, str]:
    """Return the outcome of a comparison up to format 4, which had a verdict on the margin alone.

    Without a p value of equal methods it was not judged against 0, and its interval does not judge it: it is
    not corrected for several comparisons.
    """
    if verdict.get("verdict") == "no":
        return {"outcome": "worse than margin"}
    equal = verdict.get("equal")
    differs = equal is not None and equal <= 2 * ALPHA and not verdict.get("over_folds")
    if differs and verdict["difference"] > 0:
        return {"outcome": "better"}
    undecided = "worse" if differs else "open"
    return {"outcome": "within margin" if verdict.get("verdict") == "yes" else undecided}


def standardised_of(gap: dict[str, Any], runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures at one mix of classes of a gap up to format 4, from the confusions of its runs.

    Their intervals need the outputs of every tile, which results.json does not have.

    Args:
        gap: between two splits.
        runs: finished runs of all methods and splits.

    Returns:
        The fields of the gap; none for a cross-validation.
    """
    splits = gap["splits"]
    first, second = (
        np.array([run["result"]["test"]["confusion"] for run in runs if _is_of(run, gap["method"], split)])
        for split in splits
    )
    if not len(first) or not len(second):
        return {}
    mix = mix_split(splits)
    mixes = class_mixes(*(each[0].sum(axis=1) for each in (first, second)), mix_of_second=mix == splits[1])
    standardised, balanced = (
        {"mix": name, "difference": difference, "interval": None}
        for name, difference in zip((mix, None), confusion_gaps(first, second, mixes=mixes), strict=True)
    )
    return {"standardised": standardised, "balanced": balanced}


def _is_of(run: dict[str, Any], method: str, split: str) -> bool:
    """Return whether a run is one of the comparison of a method on a split."""
    return (run["method"], run["split"], run.get("sweep"), run.get("fold")) == (method, split, None, None)
