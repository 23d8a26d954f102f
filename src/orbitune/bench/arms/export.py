"""Exported file of a run, as export validation opens it: stored tiles to probabilities."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

from orbitune.bench.arms.prediction_inputs import batches, find_export
from orbitune.bench.arms.stopwatch import Stopwatch
from orbitune.exporting.formats import FORMATS
from orbitune.exporting.reference import ReferenceModel
from orbitune.training.setup import TrainingSetup


def run_arm(
    setup: TrainingSetup,
    watch: Stopwatch,
    *,
    run: str,
    form: str,
    folder: str = "export",
    merge_tokens: str = "",
) -> dict[str, Any]:
    """Predict batches until the stopwatch has seen enough.

    `folder`, below the run, and `merge_tokens` say where the file is and how it was made.
    """
    path = find_export(run, form, folder=folder, merge_tokens=merge_tokens)
    predict = FORMATS[form].open(path, ReferenceModel.open(Path(run), progress=False))
    for tiles in batches(setup):
        predict(tiles)
        if not watch.step(len(tiles)):
            break
    libraries = {name: version(name) for name in FORMATS[form].needs if name != "onnx"}
    return {"form": FORMATS[form].title, **libraries}
