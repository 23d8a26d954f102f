"""Test score lost by the int8 export of a run."""

from pathlib import Path
from typing import Any

from orbitune.bench.arms.prediction_inputs import find_export
from orbitune.bench.figures.scored_tiles import describe_tiles
from orbitune.evaluation.run_result import RunResult
from orbitune.evaluation.saved_outputs import read_predictions
from orbitune.exporting.formats import FORMATS
from orbitune.exporting.reference import ReferenceModel, predict_in_batches


def measure(
    run: str, form: str = "onnx-int8", *, folder: str = "export", merge_tokens: str = ""
) -> dict[str, Any]:
    """Return the test accuracy, or mAP, that an export in int8 loses, in percentage points.

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
    task, decision = original.bundle.task, original.bundle.decision
    reference = task.probabilities(kept.logits, decision)
    found = predict_in_batches(FORMATS[form].open(path, original), tiles, indices=kept.indices)
    result.model_copy(update={"test_reads": result.test_reads + 1}).save(Path(run))
    labels = tiles.labels[kept.indices]
    lost = task.lost_scores(found, reference, labels=labels, decision=decision)[0]
    details = [
        ["95 % interval", f"{lost.low:.2f} to {lost.high:.2f} points"],
        [f"test {lost.score}", f"{lost.reference:.2%} before, {lost.found:.2%} after"],
        *describe_tiles(result, "test"),
    ]
    if merge_tokens:
        details.append(["tokens merged after blocks", merge_tokens])
    return {"value": lost.points_lost, "interval": (lost.low, lost.high), "details": details}
