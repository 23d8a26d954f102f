"""Pipeline of transformers on the merged model of a run: Pillow images to labels."""

from typing import Any

from PIL import Image
from transformers import pipeline

from orbitune.bench.arms.prediction_inputs import batches, find_export
from orbitune.bench.arms.stopwatch import Stopwatch
from orbitune.training.setup import TrainingSetup


def run_arm(setup: TrainingSetup, watch: Stopwatch, *, run: str) -> dict[str, Any]:
    """Predict batches until the stopwatch has seen enough."""
    folder = str(find_export(run, "merged"))
    classify = pipeline("image-classification", model=folder, device="cpu", trust_remote_code=False)
    size = setup.recipe.batch_size
    for tiles in batches(setup):
        classify([Image.fromarray(tile) for tile in tiles], batch_size=size)
        if not watch.step(len(tiles)):
            break
    return {"dtype": str(classify.model.dtype), "processor": type(classify.image_processor).__name__}
