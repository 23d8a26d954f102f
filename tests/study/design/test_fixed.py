"""The design of a study is fixed before its test split is read; what changes later is refused or recorded."""

import json

import pytest

from orbitune import Study
from orbitune.errors import OrbituneError, RunError
from orbitune.integrity import read_checksummed_json
from orbitune.study import runner
from orbitune.study.arms import comparisons
from orbitune.study.design.fixed import Design
from orbitune.study.grid import Grid
from orbitune.study.report.view_model import ReportView
from orbitune.study.results import read_results


def design(recipe, methods=("full", "linear", "lora"), splits=("random", "spatial"), seeds=2, **settings):
    """The design of a study that was never run."""
    grid = Grid.of(seeds=seeds, splits=splits)
    return Design.of(grid.runs([recipe.replace(method=each) for each in methods]), **settings)


def test_without_a_name_all_comparisons_are_primary_and_judged_together(recipe):
    found = design(recipe)
    assert found.primary == found.comparisons == (("linear", "full"), ("lora", "full"))
    assert found.family_sizes(found.comparisons) == {("linear", "full"): 2, ("lora", "full"): 2}
    assert found.margins == {"random": 0.5, "spatial": 0.5}


def test_a_named_comparison_is_judged_apart_from_the_others(recipe):
    found = design(recipe, primary="lora:full", margin={"random": 0.5, "spatial": 1})
    assert found.family_sizes(found.comparisons) == {("linear", "full"): 1, ("lora", "full"): 1}
    assert found.role(("lora", "full"), "spatial", seeds=[0, 1]) == "primary"
    assert found.role(("linear", "full"), "spatial", seeds=[0, 1]) == "secondary"
    assert found.margin("spatial") == 1.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"margin": 0}, "--margin takes points above 0"),
        ({"margin": {"random": 0.5}}, "--margin names none for split spatial"),
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


def continued(first, later):
    """The design after a later session, whose runs have read the test split."""
    return later.after(first, test_was_read=True).with_added(later)


def test_methods_and_splits_that_are_added_later_are_exploratory_and_the_others_stay(recipe):
    first = design(recipe, methods=("full", "lora"), splits=("random",))
    later = continued(first, design(recipe, splits=("random", "spatial")))
    assert later.role(("lora", "full"), "random", seeds=[0, 1]) == "primary"
    assert later.role(("linear", "full"), "random", seeds=[0, 1]) == "exploratory"
    assert later.role(("lora", "full"), "spatial", seeds=[0, 1]) == "exploratory"
    [change] = later.changes
    assert change.comparisons == (("linear", "full"),) and change.margins == {"spatial": 0.5}
    assert continued(later, design(recipe, splits=("random", "spatial"))) == later  # the same command


def test_a_split_that_is_added_later_keeps_the_margin_it_was_given(recipe):
    first = design(recipe, splits=("random",), margin={"random": 0.5})
    later = continued(first, design(recipe, margin={"random": 0.5, "spatial": 1}))
    assert (later.margin("random"), later.margin("spatial")) == (0.5, 1.0)
    with pytest.raises(RunError, match="--margin spatial 1, not 2"):
        continued(later, design(recipe, margin={"random": 0.5, "spatial": 2}))
    with pytest.raises(RunError, match="no margin for split group, only for spatial, random"):
        later.margin("group")


def test_a_primary_comparison_that_was_the_only_one_may_be_named_when_methods_are_added(recipe):
    first = design(recipe, methods=("full", "lora"), primary="lora:full")
    later = continued(first, design(recipe, primary="lora:full"))
    assert later.role(("lora", "full"), "random", seeds=[0, 1]) == "primary"
    with pytest.raises(RunError, match="--primary"):
        continued(first, design(recipe, primary="linear:full"))


@pytest.mark.parametrize(
    "settings",
    [
        {"seeds": [1, 0]},
        {"methods": ("lora", "linear", "full")},
        {"methods": ("full",)},
        {"methods": ("full", "linear")},
        {"splits": ("spatial",)},
        {"seeds": [0]},
    ],
)
def test_another_order_and_part_of_what_was_fixed_change_nothing(recipe, settings):
    first = design(recipe)
    assert continued(first, design(recipe, **settings)) == first


def test_other_seeds_than_were_fixed_are_exploratory_until_the_fixed_ones_are_judged_again(recipe):
    found = continued(design(recipe), design(recipe, seeds=3))
    assert [each.seeds for each in found.changes] == [(2,)]
    roles = [found.role(("lora", "full"), "random", seeds=seeds) for seeds in ([0, 1, 2], [1], [1, 0])]
    assert roles == ["exploratory", "exploratory", "primary"]


def test_other_seeds_than_were_fixed_are_warned_of_before_they_are_trained(recipe, caplog):
    continued(design(recipe), design(recipe))
    assert not caplog.records
    continued(design(recipe), design(recipe, seeds=3))
    assert caplog.messages == [
        "With other seeds than those that were fixed (0, 1) all comparisons are exploratory"
    ]


@pytest.mark.parametrize("later", [("lora", "linear"), ("full", "lora", "linear")])
def test_the_reference_of_a_study_stays_in_another_order_and_beside_full_fine_tuning(recipe, later):
    first = design(recipe, methods=("linear", "lora"), primary="lora:linear")
    found = continued(first, design(recipe, methods=later, stored=first, primary="lora:linear"))
    assert found.primary == (("lora", "linear"),)
    added = [pair for change in found.changes for pair in change.comparisons]
    assert added == [("full", "linear")] * ("full" in later)


def test_backbones_in_another_order_are_compared_in_the_same_direction():
    first = comparisons(["lora@small", "lora@large"])
    assert comparisons(["lora@large", "lora@small"], first) == first == [("lora@large", "lora@small")]


def test_a_method_that_fails_leaves_its_family_as_large_and_later_ones_are_their_own(recipe):
    first = design(recipe)
    assert first.family_sizes([("lora", "full")]) == {("lora", "full"): 2}
    later = continued(first, design(recipe, methods=("full", "linear", "lora", "bitfit")))
    assert later.family_sizes([("lora", "full"), ("bitfit", "full")]) == {
        ("lora", "full"): 2,
        ("bitfit", "full"): 1,
    }


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
    assert "after the test split had been read: BitFit against full fine-tuning." in text
    assert "Exploratory, as not fixed beforehand: BitFit against full fine-tuning" in text


def test_the_report_names_runs_that_the_last_session_left_out(recipe, finished):
    _, folder = finished
    left_out = []
    for methods in (["full", "linear", "lora", "dora"], ["full", "linear", "lora"]):
        Study(recipe, folder, methods=methods, primary="lora:full", margin=30).run(progress=False)
        _, _, said = (
            (folder / "report.md").read_text().partition("Not shown, as the last session left them out")
        )
        left_out.append("DoRA against full fine-tuning" in said.partition("\n")[0])
    assert left_out == [False, True]


def test_a_method_is_recorded_before_it_reads_the_test_split_as_the_session_may_be_killed(finished, recipe):
    _, folder = finished
    methods = ["full", "linear", "lora", "bitfit", "vera"]
    made = Study(recipe, folder, methods=methods, primary="lora:full", margin=30)
    train, stored = runner.Stages.train, []

    def watched(stages, *arguments):
        stored.append(made.folder.design)
        return train(stages, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner.Stages, "train", watched)
        results = made.run(progress=False)
    assert stored == [results.design]
    assert results.design.changes[-1].comparisons == (("vera", "full"),)


@pytest.fixture(scope="module")
def without_full(recipe, forked, tmp_path_factory):
    """The folder of a finished study without full fine-tuning: LoRA against linear probing."""
    folder = tmp_path_factory.mktemp("study-reference") / "s"
    Study(recipe, folder, methods=["linear", "lora"]).run(progress=False)
    return folder


def test_a_finished_study_in_another_order_of_methods_gives_the_same_verdicts(without_full, recipe):
    before = read_results(without_full)
    again = Study(recipe, without_full, methods=["lora", "linear"]).run(progress=False)
    assert again.verdicts == before.verdicts and again.design == before.design
    assert [(each.method, each.reference) for each in again.verdicts] == [("lora", "linear")]
    assert ReportView(again).reference.method == "linear"


def test_a_method_that_never_reads_the_test_split_is_no_change(finished, recipe):
    _, folder = finished
    before = read_results(folder).design.changes
    methods = ["full", "linear", "lora", "bitfit", "ia3"]  # of which BitFit was added, and has read it
    made = Study(recipe, folder, methods=methods, primary="lora:full", margin=30)

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(runner.Stages, "train", stop)
        made.run(progress=False)
    assert len(made.folder.design.changes) == len(before)
