"""The power of a study is planned from a pilot or from what is stated, and nothing is trained."""

import shutil

import pytest

from orbitune import Study
from orbitune.errors import OrbituneError, RunError
from orbitune.evaluation.statistics.power import StudySize, simulate_chance
from orbitune.evaluation.statistics.variability import Variability, correlation
from orbitune.study.design.pilot import Pilot
from orbitune.study.design.power_text import power_notes, power_table
from orbitune.study.design.stated import StatedVariability

STATED = {"accuracy": 96, "spread": 0.1, "discordant": 3}


@pytest.fixture(scope="module")
def pilot(recipe, forked, tmp_path_factory):
    """The folder of a finished study of two seeds."""
    folder = tmp_path_factory.mktemp("pilot") / "s"
    Study(recipe, folder, methods=["linear", "lora"], seeds=2).run(progress=False)
    return folder


def study(recipe, folder, methods=("full", "linear", "lora"), **settings):
    return Study(recipe, folder, methods=methods, **settings)


def test_stated_values_give_the_chances_of_every_comparison_and_no_folder(recipe, tmp_path):
    made = study(recipe, tmp_path / "s", seeds=4, primary="lora:full", margin=2)
    plan = made.power(**STATED, progress=False)
    assert [(each.method, each.role, each.family) for each in plan.comparisons] == [
        ("lora", "primary", 1),
        ("linear", "secondary", 1),
    ]
    first = plan.comparisons[0]
    assert (first.images, first.seeds, first.margin) == (12, 4, 2.0)  # the test tiles of the split
    assert [(each.difference, each.outcome) for each in first.chances] == [
        (0.0, "within margin"),
        (-4.0, "worse than margin"),
    ]
    size = StudySize(4, 12, 2.0)
    assert first.chances[0].chance == simulate_chance(first.variability, size, difference=0.0)
    assert first.chances[0].images_needed > 12
    assert not (tmp_path / "s").exists()


def test_the_difference_that_is_planned_for_and_a_loss_have_chances_of_their_own(recipe, tmp_path):
    made = study(recipe, tmp_path / "s", methods=("full", "lora"), seeds=3, difference=-0.2)
    plan = made.power(**STATED, worse_by=3, progress=False)
    assert [each.difference for each in plan.comparisons[0].chances] == [0.0, -0.2, -3.0]


def test_the_table_names_truth_verdict_chance_and_what_80_percent_takes(recipe, tmp_path):
    plan = study(recipe, tmp_path / "s", seeds=1).power(**STATED, progress=False)
    header, rows = power_table(plan)
    assert header[-2:] == ["seeds for 80 %", "test images for 80 %"]
    assert rows[0][:3] == ["linear probing against full fine-tuning", "equal", "within 0.5 points"]
    assert rows[1][1:3] == ["1 point worse", "worse by more than 0.5 points"]
    notes = " ".join(power_notes(plan))
    assert "(primary, one of 2 judged together): 12 test images, 1 seed. Assumed (--accuracy 96" in notes
    assert "With one seed a verdict is about the trained models" in notes


def test_a_pilot_shows_how_runs_vary_and_stated_values_replace_its_own(recipe, pilot, tmp_path):
    made = study(recipe, tmp_path / "s", methods=("linear", "lora"), seeds=3)
    found = made.power(pilot=pilot, accuracy=90, spread=0.5, progress=False).comparisons[0]
    observed, source = Pilot.read(pilot).variability("default", ("lora", "linear"))
    assert found.variability.discordant == observed.with_accuracy(0.9).discordant
    assert (found.variability.accuracy, found.variability.spread) == (0.9, 0.005)
    assert source == f"lora against linear of {pilot}, 2 and 2 seeds"
    assert found.source == f"{source}; --accuracy 90 --spread 0.5"


def test_an_accuracy_alone_changes_how_many_images_a_pilot_s_methods_disagree_on():
    observed = Variability(accuracy=0.9, spread=0.002, discordant=0.1, repeated=0.06)
    assumed = StatedVariability(accuracy=98).over(observed)  # at which 10 % would be impossible
    assert 0 < assumed.repeated < assumed.discordant < 0.04
    assert correlation(assumed.discordant, accuracies=(0.98, 0.98)) == pytest.approx(
        correlation(0.1, accuracies=(0.9, 0.9)), abs=1e-4
    )


def test_the_notes_name_the_limit_that_the_spread_of_a_pilot_is_planned_with(recipe, pilot, tmp_path):
    plan = study(recipe, tmp_path / "s", methods=("linear", "lora"), seeds=3).power(
        pilot=pilot, progress=False
    )
    assert "(upper 80 % limit; observed " in power_notes(plan)[0]


def test_a_split_that_a_pilot_has_under_another_name_varies_as_it_does(pilot):
    found = Pilot.read(pilot).found["default"]
    both = Pilot(pilot, {"default": found, "spatial": found}, {"default": {"lora": 2, "linear": 2}})
    variability, source = both.variability("random", ("lora", "linear"))
    assert variability == found["lora", "linear"] and source.endswith("2 and 2 seeds, split default")
    with pytest.raises(OrbituneError, match="has no runs on split group, only on default, spatial"):
        both.variability("group", ("lora", "linear"))


def test_runs_in_a_folder_are_a_pilot_as_a_study_is(pilot, tmp_path):
    for run in ("linear-seed0", "linear-seed1", "lora-seed0", "lora-seed1"):
        shutil.copytree(pilot / run, tmp_path / run)
    assert Pilot.read(tmp_path).found == Pilot.read(pilot).found
    shutil.copytree(pilot / "lora-seed0", tmp_path / "again")
    with pytest.raises(RunError, match="two runs are of lora-default, seed 0"):
        Pilot.read(tmp_path)


@pytest.mark.parametrize(
    ("settings", "assumed", "message"),
    [
        ({}, {}, "--power needs to know how runs vary"),
        ({}, {"accuracy": 96, "spread": 0.1}, "all of --accuracy, --spread and --discordant"),
        ({}, {**STATED, "discordant": 30}, "disagree on 7.7 % of the tiles at most"),
        ({}, {**STATED, "accuracy": 100}, "--accuracy takes a number above 0 and below 100"),
        ({}, {**STATED, "accuracy": 0.96}, "--accuracy takes percent, such as 96, not 0.96"),
        ({}, {**STATED, "worse_by": 0.5}, "--worse-by takes points above the margin, 0.5"),
        ({"difference": 5}, STATED, "A true difference of"),
        ({"methods": ["lora"]}, STATED, "pass two methods or more"),
        ({"splits": ["random"], "folds": 3}, STATED, "leave out --folds"),
        ({"primary": "lora:dora"}, STATED, "Unknown comparison 'lora:dora'"),
    ],
)
def test_power_that_cannot_be_planned_is_one_error(recipe, tmp_path, settings, assumed, message):
    with pytest.raises(OrbituneError, match=message):
        study(recipe, tmp_path / "s", **settings).power(**assumed, progress=False)


def test_options_that_are_missing_are_named_before_the_data_are_looked_for(recipe, tmp_path):
    nowhere = recipe.replace(data=str(tmp_path / "nowhere"))
    with pytest.raises(OrbituneError, match="--power needs to know how runs vary"):
        study(nowhere, tmp_path / "s").power(progress=False)


def test_a_folder_without_two_seeds_of_two_methods_is_no_pilot(tmp_path):
    with pytest.raises(RunError, match="has no two methods with two seeds or more each"):
        Pilot.read(tmp_path)
