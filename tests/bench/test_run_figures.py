"""Figures that compare two finished runs."""

import shutil
from pathlib import Path

import pytest

from orbitune.bench.figures import (
    accuracy_at_cpu_seconds,
    accuracy_in_time,
    accuracy_loss,
    command_time,
    corrupted_accuracy,
    corrupted_errors_gone,
    test_accuracy,
    time_to_accuracy,
)
from orbitune.bench.figures.accuracy_at_cpu_seconds import Training, enclose, interpolate
from orbitune.bench.figures.watched_training import time_training
from orbitune.errors import OrbituneError
from orbitune.evaluation.run_result import RunResult, read_recipe
from orbitune.recipe import Recipe
from orbitune.training.corruption_scores import score_robustness
from orbitune.training.run import train


@pytest.fixture(scope="module")
def pair(runs, tmp_path_factory):
    """Copies of two runs, as scores on corrupted tiles are stored in them."""
    place = tmp_path_factory.mktemp("pair")
    return [str(shutil.copytree(runs / name, place / name)) for name in ("run", "other")]


def test_the_accuracy_lost_is_that_of_the_stored_results_with_a_paired_interval(pair):
    ours, theirs = (RunResult.load(Path(each)).test.accuracy for each in pair)
    measured = accuracy_loss.measure(*pair)
    assert measured["value"] == pytest.approx(100 * (theirs - ours))
    details = dict(measured["details"])
    low, high = (float(word) for word in details["95 % interval"].removesuffix(" points").split(" to "))
    assert low <= round(measured["value"], 2) <= high
    assert "epochs (3, 1)" in details["the runs differ in"] and "seed (0, 1)" in details["the runs differ in"]


def test_a_run_has_lost_nothing_against_itself(pair):
    measured = accuracy_loss.measure(pair[0], pair[0])
    assert measured["value"] == 0
    assert dict(measured["details"])["the runs differ in"] == "nothing"


def test_runs_on_other_test_tiles_are_not_compared(pair, tmp_path):
    recipe = Recipe.load(f"{pair[0]}/recipe.yaml").replace(epochs=1, split_seed=7, learning_rate=None)
    train(recipe, tmp_path / "run", progress=False)
    with pytest.raises(OrbituneError, match="have different test tiles"):
        accuracy_loss.measure(pair[0], str(tmp_path / "run"))


def test_the_accuracy_on_corrupted_tiles_is_that_of_a_study(pair):
    measured = corrupted_accuracy.measure(pair[0], 12)
    scores = score_robustness(pair[0], 12, progress=False)
    assert measured["value"] == scores.mean
    assert {"clean", "haze", "band gain", "resampling"} <= set(dict(measured["details"]))


def test_errors_gone_are_counted_against_the_errors_of_the_reference_run(pair):
    ours, theirs = (score_robustness(each, 12, progress=False).mean for each in pair)
    measured = corrupted_errors_gone.measure(*pair, tiles=12)
    assert measured["value"] == pytest.approx((ours - theirs) / (1 - theirs))
    assert dict(measured["details"])["errors"] == f"{1 - ours:.1%} from {1 - theirs:.1%}"


@pytest.mark.slow
def test_the_time_to_an_accuracy_ends_with_the_first_epoch_that_has_it(pair):
    measured = time_to_accuracy.measure(pair[0], accuracy=0.01, seeds=1, recipe={"epochs": 200})
    assert 0 < measured["value"] < 60  # 200 epochs take minutes
    assert dict(measured["details"])["changed settings"] == "epochs 200"


@pytest.mark.slow
def test_an_accuracy_that_is_not_reached_is_an_error(pair):
    with pytest.raises(OrbituneError, match=r"does not reach 100\.0%: train longer"):
        time_to_accuracy.measure(pair[0], accuracy=1.0, seeds=1, recipe={"epochs": 1, "learning_rate": 1e-9})


@pytest.mark.slow
def test_the_accuracy_in_time_is_that_of_the_best_epoch_that_ended_in_time(pair):
    measured = accuracy_in_time.measure(pair[0], seconds=60, seeds=2, recipe={"epochs": 2})
    details = dict(measured["details"])
    assert 0 < measured["value"] <= 1
    assert details["seeds"].count("% after") == 2 and details["changed settings"] == "epochs 2"


@pytest.mark.slow
def test_a_time_without_any_epoch_is_an_error(pair):
    with pytest.raises(OrbituneError, match=r"No epoch ended within 0\.01 s"):
        accuracy_in_time.measure(pair[0], seconds=0.01, seeds=1, recipe={"epochs": 1})


@pytest.mark.slow
def test_the_test_accuracy_is_that_of_whole_trainings_by_seed(pair):
    measured = test_accuracy.measure(pair[0], seconds=600, seeds=2)
    first = RunResult.load(Path(pair[0]))
    details = dict(measured["details"])
    assert first.recipe.seed == 0 and details["seeds"].startswith(f"{first.test.accuracy:.2%} after ")
    assert details["test tiles"] == f"{first.test.count:,} of the {first.split_name}"
    assert details["seeds"].count("% after") == 2


@pytest.mark.slow
def test_a_training_that_takes_longer_than_allowed_is_an_error(pair):
    with pytest.raises(OrbituneError, match=r"seed 0 took \d+ s: allow more than 0\.01 s"):
        test_accuracy.measure(pair[0], seconds=0.01, seeds=1)


@pytest.mark.slow
def test_each_training_pays_for_its_own_activation_cache(pair):
    recipe = read_recipe(Path(pair[0])).replace(
        method="linear", learning_rate=None, augment="flips", cache_frozen=True, epochs=1
    )
    assert not any(time_training(recipe)[0].cost.cache_reused for _ in range(2))


def cost_of(passes):
    """A training whose passes cost 10 CPU seconds each, after 5 for its evaluation."""
    return Training(5 + 10 * passes, 0.9 + passes / 100, passes)


@pytest.mark.parametrize("first", [1, 3, 6])
def test_the_trainings_around_a_cost_are_found_from_any_number_of_passes(first):
    before, after = enclose(cost_of, 40, first=first)
    assert (before.passes, after.passes) == (3, 4)
    assert interpolate(before, after, cpu_seconds=40) == pytest.approx(0.935)


def test_a_cost_below_that_of_one_pass_is_an_error():
    with pytest.raises(OrbituneError, match="One pass costs 15 CPU seconds: allow more than 14"):
        enclose(cost_of, 14, first=2)


@pytest.mark.slow
def test_the_accuracy_for_cpu_seconds_lies_between_those_of_two_numbers_of_passes(pair):
    seconds = RunResult.load(Path(pair[0])).cost.cpu_seconds
    measured = accuracy_at_cpu_seconds.measure(
        pair[0], cpu_seconds=seconds, seeds=1, recipe={"freeze_layers": "1:0.5"}
    )
    details = dict(measured["details"])
    assert 0 < measured["value"] <= 1
    assert details["seeds"].count(" passes)") == 2 and "freeze_layers" in details["changed settings"]


def test_the_time_of_commands_is_that_of_the_slowest_without_its_first_call(runs):
    measured = command_time.measure(
        str(runs / "run"), commands=["--version", "predict {bundle} {tile} --backbone {backbone}"], repeats=1
    )
    (_, version), (command, prediction) = measured["details"]
    assert command == "orbitune predict {bundle} {tile} --backbone {backbone}"
    assert float(version.removesuffix(" s")) < float(prediction.removesuffix(" s"))
    assert measured["value"] == pytest.approx(float(prediction.removesuffix(" s")), abs=0.005)


def test_a_command_that_ends_otherwise_than_expected_has_no_time(runs):
    with pytest.raises(OrbituneError, match=r"orbitune serve missing ended with exit code 2"):
        command_time.measure(str(runs / "run"), commands=["serve missing"])
