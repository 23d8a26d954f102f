"""Reports of earlier versions are read; a newer one and a damaged one are told apart."""

import json

import pytest

from orbitune.errors import OrbituneError, RunError
from orbitune.exporting.export_report import ExportedFormat, ExportReport

HASHES = {"recipe": "a", "tiles": "b", "backbone": "c"}
ONNX = {
    "tiles": 12,
    "agreement": 0.9,
    "largest_difference": 2e-4,
    "accuracy": 0.9,
    "reference_accuracy": 0.906,
    "points_lost": 0.6,
    "low": -0.1,
    "high": 1.3,
    "bytes": 1000,
    "milliseconds": {"1": 1.0, "64": 1.0},
    "path": "model-int8.onnx",
    "merge_tokens": [3, 6],
}


def store(folder, **values):
    (folder / "validation.json").write_text(json.dumps({"hashes": HASHES, **values}))


def upgraded(stored):
    """The same format in today's report."""
    latency = {count: {"p50": median} for count, median in stored["milliseconds"].items()}
    return ExportedFormat(**{k: v for k, v in stored.items() if k != "milliseconds"}, latency=latency)


def test_a_report_that_states_its_layout_as_version_is_read_and_written_anew(tmp_path):
    store(tmp_path, version=1, formats={"onnx-int8": ONNX})
    report = ExportReport.resume(tmp_path, HASHES)
    assert report.formats == {"onnx-int8": upgraded(ONNX)}
    report.save(tmp_path)
    stored = json.loads((tmp_path / "validation.json").read_text())
    assert stored["format"] == ExportReport.FORMAT and "version" not in stored
    assert ExportReport.load(tmp_path) == report


def test_a_report_of_a_newer_version_is_not_called_damaged(tmp_path):
    store(tmp_path, format=ExportReport.FORMAT + 1, formats={"onnx-int8": ONNX})
    with pytest.raises(RunError, match=r"validation\.json was written by a newer Orbitune") as error:
        ExportReport.resume(tmp_path, HASHES)
    assert "damaged" not in str(error.value) and "remove" not in str(error.value)


@pytest.mark.parametrize("content", ["[]", "{}", '{"forms": 3, "hashes": {}}', "{"])
def test_a_damaged_report_is_one_line(tmp_path, content):
    (tmp_path / "validation.json").write_text(content)
    with pytest.raises(OrbituneError, match=r"validation\.json .* damaged"):
        ExportReport.load(tmp_path)
