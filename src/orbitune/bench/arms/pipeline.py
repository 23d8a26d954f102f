"""The pipeline of transformers on the merged model of the run: images of Pillow in, labels out."""

from typing import Any

from PIL import Image
from transformers import pipeline

from orbitune.bench.arms.served import batches, exported
from orbitune.bench.arms.stopwatch import Stopwatch
from orbitune.training.setup import TrainingSetup


def work(job: TrainingSetup, watch: Stopwatch, run: str) -> dict[str, Any]:
    """Predict batches until the stopwatch has seen enough."""
    folder = str(exported(run, "merged"))
    classify = pipeline("image-classification", model=folder, device="cpu", trust_remote_code=False)
    size = job.recipe.batch_size
    for tiles in batches(job):
        classify([Image.fromarray(tile) for tile in tiles], batch_size=size)
        if not watch.step(len(tiles)):
            break
    return {"dtype": str(classify.model.dtype), "processor": type(classify.image_processor).__name__}
