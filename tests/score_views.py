"""Views of the scores of invented models."""

import numpy as np

from orbitune.evaluation.details.score_details import ScoreDetails
from orbitune.evaluation.tasks.known import find_task
from orbitune.evaluation.tasks.task import Decision
from orbitune.reporting.views.choose import view_scores

CLASSES = ("Forest", "River", "Sea")


def view(count, sharpness=1.0, *, task="single-label"):
    """Scores on `count` tiles of a model whose logits are true to `sharpness` of their size."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (count, len(CLASSES)))
    if task == "single-label":
        odds = np.exp(sharpness * logits)
        labels = np.array([random.choice(len(CLASSES), p=row / row.sum()) for row in odds])
    else:
        labels = (random.random(logits.shape) < 1 / (1 + np.exp(-sharpness * logits))).astype(np.uint8)
    decision = Decision(thresholds=None if task == "single-label" else (0.5,) * len(CLASSES))
    details = ScoreDetails.measure(find_task(task), logits, labels=labels, classes=CLASSES, decision=decision)
    return view_scores(details, "test tiles", synthetic=False)
