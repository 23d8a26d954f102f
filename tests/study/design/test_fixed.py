"""The design of a study is fixed before its test split is read; what changes later is refused or recorded."""

import json

import pytest

from orbitune import Study
from orbitune.errors import OrbituneError, RunError
from orbitune.integrity import read_checksummed_json
from orbitune.study import runner
from orbitune.study.design.fixed import Design
from orbitune.study.grid import Grid
from orbitune.study.results import read_results


def design(recipe, methods=("full", "linear", "lora"), splits=("random", "spatial"), seeds=2, **settings):
    """The design of a study that was never run."""
    grid = Grid.of(seeds=seeds, splits=splits)
    return Design.of(grid.runs([recipe.replace(method=each) for each in methods]), **settings)


def test_without_a_name_all_comparisons_are_primary_and_judged_together(recipe):
    found = design(recipe)
    assert found.primary == found.comparisons == (("linear", "full"), ("lora", "full"))
    assert found.families(found.comparisons) == [[*found.comparisons]]
    assert found.margins == {"random": 0.5, "spatial": 0.5}


def test_a_named_comparison_is_judged_apart_from_the_others(recipe):
    found = design(recipe, primary="lora:full", margin={"random": 0.5, "spatial": 1})
    assert found.families(found.comparisons) == [[("lora", "full")], [("linear", "full")]]
    assert found.role(("lora", "full"), "spatial") == "primary"
    assert found.role(("linear", "full"), "spatial") == "secondary"
    assert found.margins["spatial"] == 1.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"margin": 0}, "--margin takes points above 0"),
        ({"margin": {"random": 0.5}}, "--margin names none for the spatial split"),
        ({"margin": {"random": 0.5, "spatail": 1}}, "Unknown split 'spatail'. Did you mean spatial?"),
        ({"primary": "lora:ful"}, "Unknown comparison 'lora:ful'. Did you mean lora:full?"),
        (
            {"methods": ["lora"], "primary": "lora:full"},
            "--primary lora:full: one method makes no comparison",
        ),
        ({"difference": -0.5}, "--difference takes points"),
    ],
)
def test_a_design_that_means_nothing_is_refused(recipe, settings, message):
    with pytest.raises(OrbituneError, match=message):
        design(recipe, **settings)


def test_before_the_test_split_is_read_a_design_may_be_replaced(recipe):
    first, other = design(recipe), design(recipe, margin=1.0)
    assert other.after(first, test_was_read=False) == other
    same = design(recipe).model_copy(update={"fixed": "2030-01-01T00:00:00+00:00"})
    assert same.after(first, test_was_read=False) == first  # with the time of the first


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"margin": 1.0}, "--margin random 0.5, not 1"),
        ({"primary": "linear:full"}, "--primary lora:full, not linear:full"),
        ({"primary": None}, "--primary lora:full, not none"),
        ({"difference": 0.1}, "--difference 0, not 0.1"),
    ],
)
def test_after_it_was_read_another_margin_or_primary_comparison_is_refused(recipe, settings, message):
    first = design(recipe, primary="lora:full")
    with pytest.raises(RunError, match=message):
        design(recipe, **{"primary": "lora:full", **settings}).after(first, test_was_read=True)


def test_methods_and_splits_that_are_added_later_are_exploratory_and_the_others_stay(recipe):
    first = design(recipe, methods=("full", "lora"), splits=("random",))
    later = design(recipe, splits=("random", "spatial")).after(first, test_was_read=True)
    assert later.role(("lora", "full"), "random") == "primary"
    assert later.role(("linear", "full"), "random") == "exploratory"
    assert later.role(("lora", "full"), "spatial") == "exploratory"
    [change] = later.changes
    assert change.comparisons == (("linear", "full"), ("lora", "full"))
    again = design(recipe, splits=("random", "spatial")).after(later, test_was_read=True)
    assert again == later  # the same command continues it


@pytest.mark.parametrize("later", [{"seeds": 3}, {"methods": ("full", "lora")}])
def test_seeds_that_are_added_after_looking_and_methods_left_out_make_all_exploratory(recipe, later):
    found = design(recipe, **later).after(design(recipe), test_was_read=True)
    assert found.role(("lora", "full"), "random") == "exploratory"


def test_a_design_is_plain_json(recipe):
    found = design(recipe, margin={"random": 0.5, "spatial": 1})
    assert Design.model_validate(json.loads(json.dumps(found.to_json()))) == found


@pytest.fixture(scope="module")
def finished(recipe, forked, tmp_path_factory):
    """A finished study with a primary comparison and another one, and its folder."""
    folder = tmp_path_factory.mktemp("study-design") / "s"
    made = Study(recipe, folder, methods=["full", "linear", "lora"], primary="lora:full", margin=30)
    return made.run(progress=False), folder


def test_a_study_stores_its_design_before_any_run_reads_the_test_split(recipe, tmp_path, monkeypatch):
    stored = {}

    def stop(stages):
        stored.update(read_checksummed_json(tmp_path / "s" / "study.json"))
        raise KeyboardInterrupt

    monkeypatch.setattr(runner.Stages, "plan", stop)
    with pytest.raises(KeyboardInterrupt):
        Study(recipe, tmp_path / "s", methods=["full", "lora"], seeds=2, margin=2).run(progress=False)
    kept = stored["design"]
    assert kept["before_test_read"] and kept["fixed"].startswith("20")
    assert kept["primary"] == [["lora", "full"]] and kept["margins"] == {"default": 2.0}
    assert kept["seeds"] == [0, 1] and "score test" in kept["analysis"]


def test_verdicts_have_their_role_margin_and_family(finished):
    results, _ = finished
    roles = {each.method: (each.role, each.margin, each.family) for each in results.verdicts}
    assert roles == {"lora": ("primary", 30.0, 1), "linear": ("secondary", 30.0, 1)}


def test_the_report_says_what_was_fixed_and_what_was_explored(recipe, finished):
    results, folder = finished
    text = (folder / "report.md").read_text()
    assert "before the test split was read: primary: LoRA against full fine-tuning; secondary: linear" in text
    assert "margin 30 points; 1 seed (0)" in text
    assert "Every comparison was fixed beforehand" in text
    assert "--margin 30 --primary lora:full" in results.command


def test_a_finished_study_refuses_another_margin_and_records_a_new_method(recipe, finished):
    _, folder = finished
    methods = ["full", "linear", "lora", "bitfit"]
    with pytest.raises(RunError, match="--margin default 30, not 2"):
        Study(recipe, folder, methods=methods, primary="lora:full", margin=2).run(progress=False)
    later = Study(recipe, folder, methods=methods, primary="lora:full", margin=30).run(progress=False)
    roles = {each.method: each.role for each in later.verdicts}
    assert roles == {"linear": "secondary", "lora": "primary", "bitfit": "exploratory"}
    assert read_results(folder).design == later.design
    text = (folder / "report.md").read_text()
    assert "after the test split had been read: BitFit against full fine-tuning added." in text
    assert "Exploratory, as not fixed beforehand: BitFit against full fine-tuning" in text
