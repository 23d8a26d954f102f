"""Orbitune's classifier in PyTorch: stored tiles to probabilities."""

from typing import Any

from orbitune.bench.arms.prediction_inputs import batches
from orbitune.bench.arms.stopwatch import Stopwatch
from orbitune.inference.classifier import Classifier
from orbitune.training.setup import TrainingSetup


def run_arm(setup: TrainingSetup, watch: Stopwatch, *, run: str) -> dict[str, Any]:
    """Predict batches until the stopwatch has seen enough."""
    classifier = Classifier.from_pretrained(run)
    for tiles in batches(setup):
        classifier.predict_proba(tiles)
        if not watch.step(len(tiles)):
            break
    return {"precision": setup.recipe.precision}
