"""Test accuracy lost by the int8 export of a run."""

from pathlib import Path
from typing import Any

from orbitune.errors import OrbituneError
from orbitune.evaluation.paired import PairedTest
from orbitune.evaluation.run_result import RunResult
from orbitune.evaluation.saved_outputs import read_predictions
from orbitune.exporting.export_report import ExportReport
from orbitune.exporting.formats import FORMATS
from orbitune.exporting.reference import ReferenceModel, predict_in_batches


def measure(run: str) -> dict[str, Any]:
    """Return the test accuracy that int8 loses, in percentage points.

    Compares RUN/export/model-int8.onnx with the run's predictions. The test split is read, which is counted
    in result.json.
    """
    folder, form = Path(run), FORMATS["onnx-int8"]
    if not (file := folder / "export" / form.path).is_file():
        raise OrbituneError(f"{run} has no {form.path}: make it with orbitune export {run} --to onnx-int8.")
    original, result = ReferenceModel.open(folder, progress=False), RunResult.load(folder)
    tiles = original.setup.tiles
    kept = read_predictions(folder, "test")
    indices, reference = kept.indices, kept.logits.argmax(1)
    found = predict_in_batches(form.open(file, original), tiles, indices=indices).argmax(1)
    result.model_copy(update={"test_reads": result.test_reads + 1}).save(folder)
    labels = tiles.labels[indices]
    score = PairedTest.from_correct((found == labels)[None], (reference == labels)[None])
    low, high = (-100 * bound for bound in reversed(score.interval()))
    accuracy = f"{(reference == labels).mean():.2%} before, {(found == labels).mean():.2%} after"
    interval = f"{low:.2f} to {high:.2f} points"
    details = [["95 % interval", interval], ["test accuracy", accuracy], ["test tiles", f"{len(labels):,}"]]
    if blocks := ExportReport.load(folder / "export").formats[form.name].merge_tokens:
        details.append(["tokens merged after blocks", ", ".join(map(str, blocks))])
    return {"value": -100 * score.difference + 0.0, "details": details}
