"""What the int8 file of a run loses of its test accuracy."""

from json import loads
from pathlib import Path
from typing import Any

from orbitune.errors import OrbituneError
from orbitune.evaluation.paired import PairedTest
from orbitune.evaluation.run_result import RunResult
from orbitune.evaluation.saved_outputs import read_predictions
from orbitune.exporting.exporter import EXPORTS
from orbitune.exporting.reference import ReferenceModel
from orbitune.exporting.validation import in_batches


def measure(run: str) -> dict[str, Any]:
    """Points of test accuracy that RUN/export/model-int8.onnx loses against the run's own predictions.

    It reads the test split, which is counted in result.json as any other reading.
    """
    folder, form = Path(run), EXPORTS["onnx-int8"]
    if not (file := folder / "export" / form.path).is_file():
        raise OrbituneError(f"{run} has no {form.path}: make it with orbitune export {run} --to onnx-int8.")
    original, result = ReferenceModel.open(folder, progress=False), RunResult.load(folder)
    tiles = original.job.tiles
    kept = read_predictions(folder, "test")
    indices, reference = kept.indices, kept.logits.argmax(1)
    found = in_batches(form.open(file, original), tiles, indices).argmax(1)
    result.model_copy(update={"test_reads": result.test_reads + 1}).save(folder)
    labels = tiles.labels[indices]
    score = PairedTest.of((found == labels)[None], (reference == labels)[None])
    low, high = (-100 * bound for bound in reversed(score.interval()))
    accuracy = f"{(reference == labels).mean():.2%} before, {(found == labels).mean():.2%} after"
    interval = f"{low:.2f} to {high:.2f} points"
    details = [["95 % interval", interval], ["test accuracy", accuracy], ["test tiles", f"{len(labels):,}"]]
    if blocks := loads((folder / "export" / "gate.json").read_text())["forms"][form.name].get("merge_tokens"):
        details.append(["tokens merged after blocks", ", ".join(map(str, blocks))])
    return {"value": -100 * score.difference + 0.0, "details": details}
