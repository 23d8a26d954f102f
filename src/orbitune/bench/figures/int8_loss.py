"""Test accuracy lost by the int8 export of a run."""

from pathlib import Path
from typing import Any

from orbitune.bench.arms.prediction_inputs import find_export
from orbitune.evaluation.paired import PairedTest
from orbitune.evaluation.run_result import RunResult
from orbitune.evaluation.saved_outputs import read_predictions
from orbitune.exporting.formats import FORMATS
from orbitune.exporting.reference import ReferenceModel, predict_in_batches


def measure(
    run: str, form: str = "onnx-int8", *, folder: str = "export", merge_tokens: str = ""
) -> dict[str, Any]:
    """Return the test accuracy that an export in int8 loses, in percentage points.

    Its predictions are compared with the run's. The test split is read, which is counted in result.json.

    Args:
        run: folder of the run.
        form: name of the export format.
        folder: folder of the exports, below the run's.
        merge_tokens: blocks after which it must merge tokens, such as 3,6.
    """
    path = find_export(run, form, folder=folder, merge_tokens=merge_tokens)
    original, result = ReferenceModel.open(Path(run), progress=False), RunResult.load(Path(run))
    tiles = original.setup.tiles
    kept = read_predictions(Path(run), "test")
    indices, reference = kept.indices, kept.logits.argmax(1)
    found = predict_in_batches(FORMATS[form].open(path, original), tiles, indices=indices).argmax(1)
    result.model_copy(update={"test_reads": result.test_reads + 1}).save(Path(run))
    labels = tiles.labels[indices]
    score = PairedTest.from_correct((found == labels)[None], (reference == labels)[None])
    low, high = (-100 * bound for bound in reversed(score.interval()))
    accuracy = f"{(reference == labels).mean():.2%} before, {(found == labels).mean():.2%} after"
    interval = f"{low:.2f} to {high:.2f} points"
    details = [["95 % interval", interval], ["test accuracy", accuracy], ["test tiles", f"{len(labels):,}"]]
    if merge_tokens:
        details.append(["tokens merged after blocks", merge_tokens])
    return {"value": -100 * score.difference + 0.0, "details": details}
