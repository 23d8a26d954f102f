import json
import re

import pytest
import yaml
from commands import orbitune
from samples import backbone_folder, tile_folder

from orbitune.bench import runner
from orbitune.bench.arms import stopwatch
from orbitune.bench.arms.__main__ import measure
from orbitune.bench.figures.__main__ import measure as measure_figure
from orbitune.bench.records import BenchResults
from orbitune.bench.runner import Bench, arm_order
from orbitune.bench.suites import Suite
from orbitune.errors import Interrupted
from orbitune.processes.child_processes import run_module

SIZE = {"image_size": 32, "precision": "fp32"}
DTYPES = ("float32", "float16")
LORA = {"kind": "orbitune", "method": "lora", **SIZE}


def test_every_other_round_goes_backwards():
    assert arm_order(3, 4) == [
        *((0, 0), (0, 1), (0, 2)),
        *((1, 2), (1, 1), (1, 0)),
        *((2, 0), (2, 1), (2, 2)),
        *((3, 2), (3, 1), (3, 0)),
    ]


@pytest.fixture(scope="module")
def suite_file(tmp_path_factory):
    place = tmp_path_factory.mktemp("inputs")
    tiles, backbone = tile_folder(place / "tiles"), backbone_folder(place / "backbone")
    comparisons = [
        {"title": "a", "candidate": LORA, "baseline": {**LORA, "kind": "hf-trainer"}, "at_least": 0.001},
        {"title": "b", "candidate": LORA, "baseline": {**LORA, "kind": "original"}, "measure": "memory"},
    ]
    values = {"data": str(tiles), "backbone": str(backbone), "batch_size": 16, "comparisons": comparisons}
    file = place / "tiny.yaml"
    file.write_text(yaml.safe_dump({**values, "warmup": 1, "seconds": 0.05, "rounds": 2}))
    return file


@pytest.fixture(scope="module")
def in_process():
    """Arms are measured in this process, with a short measurement of the ceiling."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stopwatch, "REPEATS", 1)
        patch.setattr(stopwatch, "BLOCKS", 1)
        patch.setattr(runner, "run_module", lambda module, spec, server: measure(json.loads(spec)))
        yield


@pytest.fixture(scope="module")
def stopped(suite_file, in_process, tmp_path_factory):
    """A benchmark that was stopped at its fifth process: its message and folder."""
    said, out = [], tmp_path_factory.mktemp("out")

    def say(line):
        said.append(line)
        if line.startswith("[5/"):
            raise Interrupted("enough")

    with pytest.raises(Interrupted):
        Bench(Suite.load(suite_file), out, "orbitune bench tiny.yaml").run(say)
    return said, out


@pytest.fixture(scope="module")
def finished(suite_file, stopped):
    """The results of the same benchmark, finished later, and its messages."""
    said = []
    return Bench(Suite.load(suite_file), stopped[1], "orbitune bench tiny.yaml").run(said.append), said


def test_a_stopped_benchmark_continues_with_what_is_not_measured_yet(stopped, finished, cache):
    lines = [line.partition(",")[0] for line in finished[1] if line.startswith("[")]
    assert lines == ["[5/6] hf-trainer", "[6/6] orbitune"]
    assert not list((cache / "bench").iterdir())


def test_the_results_pair_the_rounds_and_the_report_follows_from_them(stopped, finished):
    results = finished[0]
    assert BenchResults.from_json(json.loads((stopped[1] / "bench-tiny.json").read_text())) == results
    measured = {arm.kind: arm.measured for arm in results.arms}
    speed, memory = results.comparisons
    assert list(speed.rounds) == [
        ours.images_per_second / theirs.images_per_second
        for ours, theirs in zip(measured["orbitune"], measured["hf-trainer"], strict=True)
    ]
    assert memory.rounds[0] == measured["original"][0].memory_bytes / measured["orbitune"][0].memory_bytes
    report = (stopped[1] / "bench-tiny.md").read_text()
    assert f"{speed.median:.2f}" in report and "requirement met" in report
    assert "processor: " in report and "torch: " in report


def test_the_steps_of_an_arm_are_measured(finished):
    for arm in finished[0].arms:
        for measured in arm.measured:
            assert measured.steps >= 3
            assert measured.images <= 16 * measured.steps
            assert measured.images_per_second * measured.seconds == pytest.approx(measured.images)
            assert measured.cpu_seconds_per_image > 0 and measured.ceiling > 1e9


@pytest.mark.slow
def test_figures_that_are_measured_are_kept_when_a_later_one_is_stopped(run, tmp_path, monkeypatch):
    kinds = [
        {"title": dtype, "measure": {"kind": "bytes-per-task", "classes": 3, "dtype": dtype}}
        for dtype in DTYPES
    ]
    values = {"name": "sizes", "run": str(run), "figures": kinds}
    asked = []

    def run_figure(module, spec):
        asked.append(json.loads(spec)["settings"]["dtype"])
        if asked == ["float32", "float16"]:
            raise Interrupted("enough")
        return measure_figure(json.loads(spec))

    monkeypatch.setattr(runner, "run_module", run_figure)
    bench = Bench(Suite.make(values), tmp_path, "orbitune bench sizes.yaml")
    with pytest.raises(Interrupted):
        bench.run(lambda line: None)
    results = bench.run(lambda line: None)
    assert asked == ["float32", "float16", "float16"]
    assert [round(each.value / results.figures[0].value, 1) for each in results.figures] == [1.0, 2.0]
    assert all(each.verdict == "no target" for each in results.figures)
    assert f"| float16 | 1/{results.figures[1].value:.0f} |" in bench.report.read_text()
    assert re.search(
        r"Run: lora, 32 px, \d+ epochs, learning rate \d\S+, (bf16|fp32), split drawn at random with seed 42",
        bench.report.read_text(),
    )


@pytest.mark.slow
def test_the_memory_of_an_arm_is_that_of_its_own_process(suite_file):
    arm = Suite.load(suite_file).arms()[0]
    spec = {"kind": arm.kind, "recipe": arm.recipe.model_dump(mode="json"), "settings": {}}
    measured = run_module("orbitune.bench.arms", json.dumps({**spec, "warmup": 1, "seconds": 0.05}))
    assert 0 < measured["memory_bytes"] < measured["peak_rss_bytes"]


def test_an_invalid_arm_is_one_line(suite_file, tmp_path):
    changed = suite_file.read_text().replace("image_size: 32", "image_size: 30")
    (tmp_path / "odd.yaml").write_text(changed)
    done = orbitune("bench", tmp_path / "odd.yaml")
    assert done.returncode == 2
    assert done.stderr.startswith("error: An image size of 30") and len(done.stderr.splitlines()) == 1
