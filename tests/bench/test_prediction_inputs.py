import pytest

from orbitune.bench.arms.prediction_inputs import find_export
from orbitune.bench.suites import Suite
from orbitune.errors import OrbituneError
from orbitune.exporting.export_report import ExportedFormat, ExportReport

MEASURES = {
    "tiles": 24,
    "agreement": 1.0,
    "largest_difference": 0.01,
    "accuracy": 0.9,
    "reference_accuracy": 0.9,
    "points_lost": 0.0,
    "low": -1.0,
    "high": 1.0,
    "bytes": 0,
    "latency": {"1": {"p50": 1.0, "p99": 1.0}},
}


def export_folder(run, blocks):
    (run / "export").mkdir()
    (run / "export" / "model-int8.onnx").write_bytes(b"")
    find_export = ExportedFormat(path="model-int8.onnx", merge_tokens=blocks, **MEASURES)
    ExportReport(hashes={}, formats={"onnx-int8": find_export}).save(run / "export")
    return str(run)


@pytest.mark.parametrize(("blocks", "named"), [([], ""), ([3, 6], "3,6")])
def test_an_export_is_found_where_its_merging_is_what_the_suite_says(tmp_path, blocks, named):
    run = export_folder(tmp_path, blocks)
    assert find_export(run, "onnx-int8", merge_tokens=named).name == "model-int8.onnx"


@pytest.mark.parametrize(
    ("blocks", "named", "message"),
    [
        ([3, 6], "", "merges tokens after 3,6, the suite says none: .* --to onnx-int8.$"),
        ([], "3,6", "merges tokens after no blocks, the suite says 3,6: .* --merge-tokens 3,6.$"),
    ],
)
def test_an_export_that_merges_otherwise_is_not_measured(tmp_path, blocks, named, message):
    with pytest.raises(OrbituneError, match=message):
        find_export(export_folder(tmp_path, blocks), "onnx-int8", merge_tokens=named)


def test_an_arm_that_merges_tokens_has_it_in_its_name(tmp_path):
    ours = {"kind": "export", "form": "onnx-int8", "merge_tokens": "3,6"}
    suite = Suite.make(
        {
            "name": "s",
            "data": "synthetic:9",
            "comparisons": [{"title": "t", "candidate": ours, "baseline": {"kind": "pipeline"}}],
        }
    )
    assert suite.arms()[0].name == "export, form onnx-int8, merge_tokens 3,6"
