"""An exported ONNX file of the run in ONNX Runtime: stored tiles in, probabilities out."""

from typing import Any

import onnxruntime

from orbitune.bench.arms.served import batches, exported
from orbitune.bench.arms.stopwatch import Stopwatch
from orbitune.exporting.formats import FORMATS
from orbitune.training.setup import TrainingSetup


def work(job: TrainingSetup, watch: Stopwatch, run: str, form: str, merge_tokens: str = "") -> dict[str, Any]:
    """Predict batches until the stopwatch has seen enough; `merge_tokens` says how the file was made."""
    path = exported(run, form, merge_tokens)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for tiles in batches(job):
        session.run(None, {"tiles": tiles})
        if not watch.step(len(tiles)):
            break
    return {"form": FORMATS[form].title, "onnxruntime": onnxruntime.__version__}
