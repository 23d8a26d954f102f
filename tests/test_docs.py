"""What the README claims is what the tool wrote."""

import json
import re
import runpy
from collections import Counter
from pathlib import Path

import pytest

from orbitune import Recipe
from orbitune.models.methods import METHODS
from orbitune.recipe import read_yaml

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results" / "eurosat-vit-tiny-112"
STUDY = ROOT / "docs" / "results" / "eurosat-study"


def test_what_the_readme_claims_of_lora_is_written_from_the_committed_study():
    written = runpy.run_path(str(ROOT / "docs" / "readme_claim.py"))["with_claim"]
    readme = (ROOT / "README.md").read_text()
    assert written(readme) == readme


def test_the_accuracies_in_the_readme_are_those_of_the_committed_study_at_112_pixels():
    results = json.loads((RESULTS / "results.json").read_text())
    readme = (ROOT / "README.md").read_text()
    accuracy = {run["method"]: 100 * run["result"]["test"]["accuracy"] for run in results["runs"]}
    assert f"full fine-tuning reached {accuracy['full']:.2f} % and LoRA {accuracy['lora']:.2f} %" in readme


@pytest.mark.parametrize("folder", [RESULTS, STUDY], ids=lambda folder: folder.name)
def test_a_committed_report_follows_from_its_results(tmp_path, folder):
    from orbitune.study.report import write_report
    from orbitune.study.results import read_results

    write_report(read_results(folder), tmp_path)
    assert (tmp_path / "report.md").read_text() == (folder / "report.md").read_text()


def test_the_committed_study_compares_what_was_asked_with_equal_effort():
    results = json.loads((STUDY / "results.json").read_text())
    methods = {"full", "linear", "bitfit", "lora", "dora", "rslora", "vera", "ia3"}
    assert {(s["method"], s["split"]) for s in results["summaries"] if len(s["seeds"]) == 3} >= {
        (method, split) for method in methods for split in ("random", "spatial")
    }
    trials = Counter((trial["method"], trial["split"]) for trial in results["trials"])
    assert set(trials.values()) == {3}
    assert set(results["test_reads"].values()) == {1}


def test_the_committed_study_reaches_what_was_asked_of_it():
    results = json.loads((RESULTS / "results.json").read_text())
    runs = {run["method"]: run["result"] for run in results["runs"]}
    assert set(runs) == {"full", "linear", "lora"}
    assert runs["lora"]["test"]["accuracy"] >= 0.965
    assert all(result["test_reads"] == 1 for result in runs.values())


@pytest.mark.parametrize(
    ("name", "titles"),
    [
        (
            "eurosat-vit-tiny",
            ["Same size and precision, against", "LoRA against full fine-tuning, both ours"],
        ),
        ("eurosat-dinov2-small", ["Same size and precision, against"]),
    ],
)
def test_the_speeds_in_the_readme_are_those_of_the_committed_benchmarks(name, titles):
    results = json.loads((ROOT / "docs" / "results" / f"bench-{name}.json").read_text())
    readme = (ROOT / "README.md").read_text()
    for title in titles:
        [each] = [each for each in results["comparisons"] if each["title"].startswith(title)]
        assert f"{each['median']:.2f} times as fast" in readme


def test_the_dials_in_the_docs_are_those_of_the_committed_runs():
    docs = (ROOT / "docs" / "architecture.md").read_text()
    runs = sorted((ROOT / "docs" / "results" / "eurosat-dials").iterdir())
    assert len(runs) == 5
    for run in runs:
        result = json.loads((run / "result.json").read_text())
        accuracy, cost = f"{100 * result['test']['accuracy']:.2f} %", result["cost"]
        assert f"| {accuracy} | {cost['train_seconds']:.0f} s |" in docs
        assert f"| {cost['peak_rss_bytes'] / 1e6:.0f} MB |" in docs


def test_the_figures_of_serving_in_the_readme_are_those_of_the_committed_benchmark():
    results = json.loads((ROOT / "docs" / "results" / "bench-serving-eurosat-vit-tiny.json").read_text())
    readme = (ROOT / "README.md").read_text().replace("\n", " ")
    pipeline, peft, one = (each["median"] for each in results["comparisons"])
    assert f"{peft:.2f} times as fast as PEFT" in readme and 0.9 < one < 1.1
    assert f"{pipeline:.2f} times as fast as the pipeline" in readme
    sizes = [each["value"] for each in results["figures"] if each["measure"]["kind"] == "bytes-per-task"]
    assert all(f"1/{size:.0f}" in readme for size in sizes)


def test_the_figures_of_maps_in_the_readme_are_those_of_the_committed_benchmark():
    results = json.loads((ROOT / "docs" / "results" / "bench-maps-eurosat-vit-tiny.json").read_text())
    readme = (ROOT / "README.md").read_text().replace("\n", " ")
    seconds, memory, speedup, agreement = (each["value"] for each in results["figures"])
    assert f"takes {seconds:.0f} s and {memory / 1e6:.0f} MB" in readme
    assert f"{speedup:.1f} times as fast as with a pass for each" in readme
    assert f"the same at {agreement:.1%}".replace("%", " %") in readme
    assert all("reached" in each["verdict"] and "not" not in each["verdict"] for each in results["figures"])


@pytest.mark.parametrize(
    ("name", "accuracy", "minutes"), [("eurosat-best-accuracy", 0.987, 60), ("eurosat-fastest-98", 0.98, 12)]
)
def test_an_example_recipe_reaches_what_it_promises_in_its_time(name, accuracy, minutes):
    results = json.loads((ROOT / "docs" / "results" / name / "results.json").read_text())
    [run] = results["runs"]
    assert run["result"]["test"]["accuracy"] >= accuracy
    assert run["result"]["cost"]["run_seconds"] <= 60 * minutes
    example = read_yaml(ROOT / "examples" / f"{name.removeprefix('eurosat-')}.yaml")
    for setting in example.keys() - {"data", "backbone", "image_size"}:
        assert run["result"]["recipe"][setting] == example[setting]


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.name)
def test_the_readme_lists_every_method_with_its_paper(method):
    readme = (ROOT / "README.md").read_text()
    assert f"| `{method.name}` |" in readme
    for paper in re.findall(r"arXiv:[0-9.]+[0-9]", method.paper):
        assert paper in readme


@pytest.mark.parametrize("name", sorted(p.name for p in (ROOT / "examples").glob("*.yaml")))
def test_every_example_recipe_is_valid(name):
    Recipe.load(ROOT / "examples" / name)
