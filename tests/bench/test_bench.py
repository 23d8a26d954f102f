import json

import pytest
import yaml
from commands import orbitune
from samples import backbone_folder, tile_folder

from orbitune.bench.runner import Bench, turns
from orbitune.bench.suites import Suite
from orbitune.errors import Interrupted

SIZE = {"image_size": 32, "precision": "fp32"}
LORA = {"kind": "ours", "method": "lora", **SIZE}


def test_every_other_round_goes_backwards():
    assert turns(3, 4) == [
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
        {"title": "a", "ours": LORA, "against": {**LORA, "kind": "hf-trainer"}, "at_least": 0.001},
        {"title": "b", "ours": LORA, "against": {**LORA, "kind": "original"}, "measure": "memory"},
    ]
    values = {"data": str(tiles), "backbone": str(backbone), "batch_size": 16, "comparisons": comparisons}
    file = place / "tiny.yaml"
    file.write_text(yaml.safe_dump({**values, "warmup": 1, "seconds": 0.05, "rounds": 2}))
    return file


@pytest.fixture(scope="module")
def stopped(suite_file, tmp_path_factory):
    """A benchmark that was stopped at its fifth process; what it said, and its folder."""
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
    """The same benchmark, finished by the command line."""
    done = orbitune("bench", suite_file, "--out", stopped[1], "--json")
    assert done.returncode == 0, done.stderr
    return done


def test_a_stopped_benchmark_goes_on_with_what_is_not_measured_yet(stopped, finished, cache):
    lines = [line.partition(",")[0] for line in finished.stderr.splitlines() if line.startswith("[")]
    assert lines == ["[5/6] hf-trainer", "[6/6] ours"]
    assert not list((cache / "bench").iterdir())


def test_the_results_pair_the_rounds_and_the_report_follows_from_them(stopped, finished):
    results = json.loads(finished.stdout)
    assert json.loads((stopped[1] / "bench-tiny.json").read_text()) == results
    measured = {arm["kind"]: arm["measured"] for arm in results["arms"]}
    speed, memory = results["comparisons"]
    assert speed["rounds"] == [
        ours["images_per_second"] / theirs["images_per_second"]
        for ours, theirs in zip(measured["ours"], measured["hf-trainer"], strict=True)
    ]
    assert (
        memory["rounds"][0] == measured["original"][0]["memory_bytes"] / measured["ours"][0]["memory_bytes"]
    )
    report = (stopped[1] / "bench-tiny.md").read_text()
    assert f"{speed['median']:.2f}" in report and "least reached" in report


def test_what_an_arm_costs_is_what_its_process_used(finished):
    for arm in json.loads(finished.stdout)["arms"]:
        for measured in arm["measured"]:
            assert measured["steps"] >= 3
            assert measured["images"] <= 16 * measured["steps"]
            assert measured["images_per_second"] * measured["seconds"] == pytest.approx(measured["images"])
            assert 0 < measured["memory_bytes"] < measured["peak_rss_bytes"]
            assert measured["cpu_seconds_per_image"] > 0 and measured["ceiling"] > 1e9


def test_a_mistake_of_an_arm_is_one_line(suite_file, tmp_path):
    changed = suite_file.read_text().replace("image_size: 32", "image_size: 30")
    (tmp_path / "odd.yaml").write_text(changed)
    done = orbitune("bench", tmp_path / "odd.yaml")
    assert done.returncode == 2
    assert done.stderr.startswith("error: An image size of 30") and len(done.stderr.splitlines()) == 1
