"""The arms that predict: whole suites of them, at one tile and at several."""

import json
import shutil

import pytest

from orbitune.bench import runner
from orbitune.bench.arms import stopwatch
from orbitune.bench.arms.__main__ import measure
from orbitune.bench.figures import int8_loss
from orbitune.bench.runner import Bench
from orbitune.bench.suites import Suite
from orbitune.errors import OrbituneError
from orbitune.evaluation.run_result import RunResult
from orbitune.exporting import validation
from orbitune.exporting.exporter import export

FORMS = ("merged", "onnx-int8")
INT8 = {"kind": "export", "form": "onnx-int8", "folder": "elsewhere"}


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """A copy of a run with its exports."""
    place = shutil.copytree(run, tmp_path_factory.mktemp("serving") / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "TIMING_SECONDS", 0.0)
        export(place, ["merged"], progress=False)
        export(place, ["onnx-int8"], out=place / "elsewhere", tolerance=100, progress=False)
    return place


@pytest.fixture(scope="module")
def results(exported, tmp_path_factory):
    comparisons = [
        {"title": "a", "candidate": INT8, "baseline": {"kind": "pipeline"}},
        {
            "title": "b",
            "candidate": {"kind": "classifier", "batch_size": 1},
            "baseline": {**INT8, "batch_size": 1},
            "measure": "latency",
        },
    ]
    values = {"name": "serving", "run": str(exported), "batch_size": 4, "comparisons": comparisons}
    suite = Suite.make({**values, "warmup": 1, "seconds": 0.05, "rounds": 2})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stopwatch, "REPEATS", 1)
        patch.setattr(stopwatch, "BLOCKS", 1)
        patch.setattr(runner, "run_module", lambda module, spec, server: measure(json.loads(spec)))
        bench = Bench(suite, tmp_path_factory.mktemp("out"), "orbitune bench serving.yaml")
        return bench.run(lambda line: None), bench.report.read_text()


def test_an_arm_may_have_a_batch_size_of_its_own(results):
    assert [(arm.kind, arm.recipe.batch_size) for arm in results[0].arms] == [
        ("export", 4),
        ("pipeline", 4),
        ("classifier", 1),
        ("export", 1),
    ]
    for arm in results[0].arms:
        assert all(each.images <= arm.recipe.batch_size * each.steps for each in arm.measured)


def test_latency_has_percentiles_and_is_compared_by_its_median(results):
    measured = {arm.name: arm.measured for arm in results[0].arms}
    for of_arm in measured.values():
        assert all(0 < each.latency.p50 <= each.latency.p99 for each in of_arm)
    latency = results[0].comparisons[1]
    candidate, baseline = (measured[name] for name in latency.arms)
    assert list(latency.rounds) == [
        pytest.approx(theirs.latency.p50 / ours.latency.p50)
        for ours, theirs in zip(candidate, baseline, strict=True)
    ]
    assert "Latency of a batch (p50 / p99)" in results[1]


def test_the_loss_of_an_export_is_measured_where_it_lies(exported):
    reads = RunResult.load(exported).test_reads
    measured = int8_loss.measure(str(exported), folder="elsewhere")
    assert -100 <= measured["value"] <= 100 and "after" in dict(measured["details"])["test accuracy"]
    assert RunResult.load(exported).test_reads == reads + 1
    with pytest.raises(
        OrbituneError, match=r"has no validated model-int8\.onnx: make it with orbitune export"
    ):
        int8_loss.measure(str(exported))
