"""Risk among the accepted places of labelled scenes, at a given coverage."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from orbitune.bench.figures.labelled_scenes import answer_places, read_labelled_scenes
from orbitune.bench.figures.scenes import describe_map, temporary_bundle

_FIRST = 1000  # added to the percentages of places that a map is sure of, so that they come first


def measure(
    run: str,
    labelled_scenes: str,
    *,
    groups: Mapping[str, Sequence[str]],
    coverage: float,
    stride: int | None = None,
) -> dict[str, Any]:
    """Return the mean fraction of wrong answers among the accepted places, 0..1.

    A scene's places are ranked as *not sure* ranks them: those that have a class by default come before
    those that get one with `--no-not-sure` alone, and each kind is in order of the probability of the class.
    The first of them are accepted (selective classification, El-Yaniv and Wiener 2010, JMLR 11:1605-1641).

    Args:
        run, labelled_scenes, groups, stride: as in `orbitune.bench.figures.scene_accuracy`.
        coverage: fraction of the places with data that are accepted, in 0..1.
    """
    risks, details = [], []
    with temporary_bundle(run) as folder:
        for scene in read_labelled_scenes(labelled_scenes):
            sure, forced = (
                answer_places(folder, scene, groups=groups, stride=stride, not_sure=not_sure)
                for not_sure in (True, False)
            )
            answers = np.where(sure.given, sure.groups, forced.groups)
            rank = np.where(sure.given, sure.confidence + _FIRST, forced.confidence)
            there = answers != ""
            risk = risk_at(rank[there], (answers != scene.truth)[there], coverage=coverage)
            risks.append(risk)
            details.append([scene.name, f"{risk:.2f} of {there.sum()} places"])
    ranked = "places with a class by default first, then the others, each by the probability of the class"
    details += [["ranked", ranked], ["maps", describe_map(forced.metadata)]]
    return {"value": float(np.mean(risks)), "details": details}


def risk_at(rank: np.ndarray, wrong: np.ndarray, *, coverage: float) -> float:
    """Return the fraction of wrong answers among the highest ranks, 0..1.

    Of places with the rank at which the limit falls, the expected number of wrong ones counts.

    Args:
        rank: int or float (N,), N > 0.
        wrong: bool (N,).
        coverage: fraction of the places that are accepted; at least one is.
    """
    accepted = max(1, round(coverage * len(rank)))
    limit = np.sort(rank)[-accepted]
    above, level = rank > limit, rank == limit
    expected = wrong[above].sum() + wrong[level].mean() * (accepted - above.sum())
    return float(expected / accepted)
