"""Scores of the tiles that a model has not seen, beside those of all tiles."""

from typing import TypeVar

import numpy as np

from orbitune.evaluation.metrics import SplitScores
from orbitune.evaluation.tasks.task import Decision, Task
from orbitune.models.lineage.overlap import ENOUGH, OtherTiles, Overlap, SeenCounts

_Scores = TypeVar("_Scores", bound=SplitScores)


def with_seen(
    scores: _Scores,
    overlap: Overlap | None,
    *,
    task: Task,
    logits: np.ndarray,
    labels: np.ndarray,
    decision: Decision,
) -> _Scores:
    """Return scores with the number of tiles that the model has seen, and the score of the others.

    Args:
        scores: of all tiles.
        overlap: which of them were seen; None where it is not known.
        task: of the model.
        logits, labels: of the tiles, as for `Task.score`.
        decision: of the model.
    """
    if overlap is None or not overlap.any.any():
        return scores
    others = score_others(task, logits, labels=labels, seen=overlap.any, decision=decision)
    return scores.model_copy(update={"seen": SeenCounts.of(overlap, others)})


def score_others(
    task: Task, logits: np.ndarray, *, labels: np.ndarray, seen: np.ndarray, decision: Decision
) -> OtherTiles:
    """Return the main score of the tiles that were not seen, bool (N,)."""
    rest, probabilities = ~seen, task.probabilities(logits, decision)
    count = int(rest.sum())
    part = rest if count >= ENOUGH else np.ones_like(rest)  # of all tiles only the score's name is used
    found = task.main_scores(probabilities[part], labels=labels[part], decision=decision)
    score, value = next(iter(found.items()))
    return OtherTiles(count=count, score=score, value=value if count >= ENOUGH else None)
