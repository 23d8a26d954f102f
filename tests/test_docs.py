"""What the README claims is what the tool wrote."""

import json
import re
from pathlib import Path

import pytest

from orbitune import Recipe
from orbitune.models.methods import METHODS
from orbitune.recipe import read_yaml

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results" / "eurosat-vit-tiny-112"


def table_of(text, head):
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {head}"))
    return lines[start : start + next(n for n, line in enumerate(lines[start:]) if not line.startswith("|"))]


def test_the_table_in_the_readme_is_that_of_the_committed_report():
    readme, report = (path.read_text() for path in (ROOT / "README.md", RESULTS / "report.md"))
    assert table_of(readme, "Method") == table_of(report, "Method")


def test_the_committed_report_follows_from_its_results(tmp_path):
    from orbitune.study.report import write_report

    write_report(json.loads((RESULTS / "results.json").read_text()), tmp_path)
    assert (tmp_path / "report.md").read_text() == (RESULTS / "report.md").read_text()


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
