import importlib
import inspect
import json
from pathlib import Path

import pytest
import yaml

from orbitune.bench.figure_kinds import FIGURES
from orbitune.bench.report import UNITS
from orbitune.bench.runner import Bench
from orbitune.bench.suites import BUILT_IN, BenchFigure, Suite
from orbitune.errors import OrbituneError
from orbitune.evaluation.run_result import RunResult

ROOT = Path(__file__).parent.parent.parent
OURS = {"kind": "orbitune", "method": "lora", "image_size": 112, "precision": "bf16"}
ORIGINAL = {"kind": "original", "method": "full", "image_size": 224, "precision": "fp32"}


def values(**changes):
    comparison = {"title": "a", "candidate": OURS, "baseline": ORIGINAL, **changes.pop("comparison", {})}
    return {"data": "tiles", "backbone": "demo", "comparisons": [comparison], **changes}


def suite_file(folder, **changes):
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump(values(**changes)))
    return file


def test_a_suite_is_named_after_its_file_and_its_arms_after_what_sets_them_apart(tmp_path):
    suite = Suite.load(suite_file(tmp_path, comparison={"candidate": {**OURS, "fast": False}}))
    assert suite.name == "mine"
    assert [arm.name for arm in suite.arms()] == [
        "orbitune, lora, 112 px, bf16, fast off",
        "original, full, 224 px, fp32",
    ]
    assert not suite.arms()[0].recipe.fast
    assert suite.arms()[0].recipe.batch_size == 64


def test_an_arm_of_several_comparisons_is_one_arm(tmp_path):
    swapped = {name: OURS[name] for name in reversed(OURS)}
    comparisons = [
        {"title": t, "candidate": ours, "baseline": ORIGINAL} for t, ours in (("a", OURS), ("b", swapped))
    ]
    assert len(Suite.load(suite_file(tmp_path, comparisons=comparisons)).arms()) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": 5}, "rounds: must be even"),
        ({"secnods": 3}, "secnods: unknown setting; did you mean seconds?"),
        ({"comparisons": []}, "comparisons: there are none"),
        (
            {"comparison": {"measure": "joy"}},
            "comparisons: must be images_per_second, latency or memory, not 'joy'",
        ),
        (
            {"comparison": {"candidate": {"method": "lora"}}},
            "Unknown kind of arm null. Choose from: orbitune,",
        ),
        (
            {"comparison": {"candidate": {**OURS, "image_sise": 3}}},
            "image_sise: unknown setting; did you mean",
        ),
        ({"comparison": {"candidate": {**OURS, "data": "x"}}}, "The arms of a suite share its data"),
        ({"comparison": {"baseline": {"kind": "original"}}}, "set `precision: fp32` for that arm"),
    ],
)
def test_an_invalid_suite_is_one_line(tmp_path, changes, message):
    with pytest.raises(OrbituneError) as error:
        Suite.load(suite_file(tmp_path, **changes))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "benchmarks").glob("*.yaml")))
def test_the_published_suites_are_valid_and_long_enough_to_publish(name):
    assert Suite.load(ROOT / "benchmarks" / name).rounds >= 6


def test_arms_of_prediction_have_the_recipe_of_the_suites_run(tmp_path):
    run = {"recipe": {"backbone": "demo", "image_size": 28, "method": "linear"}}
    kept = {name: None for name in RunResult.model_fields if name != "format"}
    (tmp_path / "result.json").write_text(json.dumps({**kept, **run}))
    bank = {"kind": "bank", "tasks": 4}
    comparison = {"candidate": bank, "baseline": {**bank, "tasks": 1}}
    suite = Suite.load(suite_file(tmp_path, comparison=comparison)).with_inputs(run=str(tmp_path))
    assert [arm.name for arm in suite.arms()] == ["bank, tasks 4", "bank, tasks 1"]
    assert {(arm.recipe.image_size, arm.recipe.batch_size) for arm in suite.arms()} == {(28, 64)}


def test_a_suite_that_predicts_asks_for_a_run(tmp_path):
    bank = {"kind": "bank", "tasks": 4}
    suite = Suite.load(suite_file(tmp_path, comparison={"candidate": bank, "baseline": bank}))
    with pytest.raises(OrbituneError, match="needs a finished run: give --run"):
        Bench(suite, tmp_path, "").run(print)


SCENE_KINDS = {"kind": "scene-accuracy", "answer": "right"}
ALL_INPUTS = {"run": "a", "reference_run": "b", "labelled_scenes": "c", "groups": {"low": ["Pasture"]}}


@pytest.mark.parametrize(
    ("measure", "lacks", "message"),
    [
        (SCENE_KINDS, "run", "needs a finished run: give --run"),
        (SCENE_KINDS, "labelled_scenes", "needs a folder of labelled scenes: give --labelled-scenes"),
        (SCENE_KINDS, "groups", "needs groups of classes: give `groups` in the suite"),
        ({"kind": "accuracy-loss"}, "reference_run", "a finished run to compare with: give --reference-run"),
        (
            {"kind": "dense-agreement"},
            "labelled_scenes",
            "needs a scene or a folder of labelled scenes: give --scene or --labelled-scenes",
        ),
    ],
)
def test_an_input_that_a_figure_lacks_is_asked_for_before_anything_is_measured(
    tmp_path, measure, lacks, message
):
    given = {name: value for name, value in ALL_INPUTS.items() if name != lacks}
    file = suite_file(tmp_path, comparisons=[], figures=[{"title": "a", "measure": measure}], **given)
    with pytest.raises(OrbituneError, match=message):
        Bench(Suite.load(file), tmp_path, "").run(print)


def test_a_figure_gets_the_inputs_of_its_kind(tmp_path):
    measure = {"kind": "dense-agreement", "without_most_frequent": True}
    file = suite_file(tmp_path, comparisons=[], figures=[{"title": "a", "measure": measure}], **ALL_INPUTS)
    suite = Suite.load(file)
    assert suite.inputs(suite.figures[0]) == {"run": "a", "scene": None, "labelled_scenes": "c"}


@pytest.mark.parametrize("kind", FIGURES)
def test_every_kind_of_figure_has_a_module_that_takes_its_inputs(kind):
    module = importlib.import_module(f"orbitune.bench.figures.{kind.replace('-', '_')}")
    parameters = inspect.signature(module.measure).parameters
    assert {*FIGURES[kind].needs, *FIGURES[kind].any_of} <= set(parameters)
    assert FIGURES[kind].unit in UNITS


@pytest.mark.parametrize(
    ("bounds", "value", "words"),
    [
        ({"at_most": 0.2, "aim": 0.1}, 0.05, "target met"),
        ({"at_most": 0.2, "aim": 0.1}, 0.2, "requirement met"),
        ({"at_most": 0.2, "aim": 0.1}, 0.3, "not met"),
        ({"at_least": 0.2, "aim": 0.5}, 0.3, "requirement met"),
        ({}, 0.3, "no target"),
    ],
)
def test_the_verdict_on_a_figure_follows_from_its_bounds(bounds, value, words):
    assert BenchFigure(title="a", measure={"kind": "scene-risk"}, **bounds).judge(value) == words


@pytest.mark.parametrize(
    ("value", "interval", "words"),
    [
        (0.05, (0.0, 0.08), "target met"),
        (0.05, (0.0, 0.15), "target met, but the interval extends above it"),
        (0.15, (0.05, 0.3), "requirement met, but the interval extends above it"),
        (0.3, (0.1, 0.5), "not met, but the interval extends below it"),
        (0.3, (0.25, 0.5), "not met"),
    ],
)
def test_the_verdict_says_if_the_interval_of_a_figure_contains_its_bound(value, interval, words):
    figure = BenchFigure(title="a", measure={"kind": "int8-loss"}, at_most=0.2, aim=0.1)
    assert figure.judge(value, interval=interval) == words


def test_the_built_in_suite_is_valid_and_has_a_quick_form():
    quick = Suite.make(BUILT_IN).quick()
    assert (quick.name, quick.rounds, len(quick.arms())) == ("synthetic-quick", 2, 3)


def test_a_suite_can_be_run_on_other_data_and_another_backbone():
    suite = Suite.make(BUILT_IN).with_inputs(data="tiles")
    assert (suite.data, suite.backbone) == ("tiles", BUILT_IN["backbone"])
    assert {arm.recipe.data for arm in suite.arms()} == {"tiles"}
