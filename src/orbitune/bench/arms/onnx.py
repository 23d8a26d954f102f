"""Exported ONNX file of a run in ONNX Runtime: stored tiles to probabilities."""

from typing import Any

import onnxruntime

from orbitune.bench.arms.prediction_inputs import batches, find_export
from orbitune.bench.arms.stopwatch import Stopwatch
from orbitune.exporting.formats import FORMATS
from orbitune.training.setup import TrainingSetup


def run_arm(
    setup: TrainingSetup, watch: Stopwatch, *, run: str, form: str, merge_tokens: str = ""
) -> dict[str, Any]:
    """Predict batches until the stopwatch has seen enough.

    `merge_tokens` says how the file was made.
    """
    path = find_export(run, form, merge_tokens=merge_tokens)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for tiles in batches(setup):
        session.run(None, {"tiles": tiles})
        if not watch.step(len(tiles)):
            break
    return {"form": FORMATS[form].title, "onnxruntime": onnxruntime.__version__}
