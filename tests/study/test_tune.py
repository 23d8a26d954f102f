"""Every method gets the same trials; the best validation score wins."""

import pytest

from orbitune.errors import DivergedError, OrbituneError, RunError
from orbitune.models.methods import METHODS
from orbitune.study.executor import Outcome
from orbitune.study.grid import Grid
from orbitune.study.tune import (
    chosen_learning_rates,
    halving_rungs,
    learning_rates,
    make_trials,
    search_learning_rates,
)
from orbitune.training.trial import trial


@pytest.fixture
def recipe(recipe):
    return recipe.replace(method="linear", epochs=6)


def in_this_process(done):
    """An executor that trains trials in this process and records their epochs."""

    def work(trials):
        for each in trials:
            done.append((each.spec.recipe.method, each.number, each.epochs))
            try:
                result = trial(
                    each.spec.recipe.replace(learning_rate=each.learning_rate),
                    each.folder,
                    epochs=each.epochs,
                    progress=False,
                )
                each.store(Outcome(vars(result)))
            except OrbituneError as error:
                each.store(Outcome(error=error))

    return work


def search_of(recipe, folder, count=3, **settings):
    return make_trials(Grid().runs([recipe.replace(**settings)]), count, folder=folder)


def test_the_grid_is_powers_of_three_around_the_default():
    assert learning_rates(0.002, 3) == [0.000667, 0.002, 0.006]
    assert learning_rates(0.01, 5) == [0.00111, 0.00333, 0.01, 0.03, 0.09]
    assert learning_rates(0.01, 2) == [0.00333, 0.01]


@pytest.mark.parametrize("count", range(2, 12))
def test_every_grid_holds_the_default_and_as_many_rates_as_asked(count):
    assert 0.01 in learning_rates(0.01, count)
    assert len(set(learning_rates(0.01, count))) == count


@pytest.mark.parametrize(
    ("trials", "epochs", "expected"),
    [
        (3, 9, [(3, 3)]),
        (9, 9, [(9, 1), (3, 3)]),
        (5, 9, [(5, 1), (2, 3)]),
        (27, 81, [(27, 3), (9, 9), (3, 27)]),  # eta = 3 in the paper, without its last rung
        (3, 4, [(3, 2)]),
        (9, 1, [(9, 1), (3, 1)]),
    ],
)
def test_a_third_continues_for_three_times_the_epochs_until_one_is_left(trials, epochs, expected):
    assert halving_rungs(trials, epochs) == expected


def test_every_method_and_split_gets_as_many_trials_around_its_own_rate(recipe, tmp_path):
    specs = Grid(seeds=(0, 1)).runs([recipe.replace(method=method) for method in ("full", "linear")])
    full, linear = make_trials(specs, 3, folder=tmp_path)
    assert [each.learning_rate for each in full] == learning_rates(METHODS["full"].learning_rate, 3)
    assert [each.learning_rate for each in linear] == learning_rates(METHODS["linear"].learning_rate, 3)
    assert {each.spec.recipe.seed for each in full + linear} == {0}  # never once for each seed
    assert [
        each.learning_rate for each in search_of(recipe, tmp_path, learning_rate=0.5)[0]
    ] == learning_rates(0.5, 3)


def test_the_best_on_validation_is_chosen_and_every_trial_recorded(recipe, tmp_path):
    done, searches = [], search_of(recipe, tmp_path)
    search_learning_rates(searches, in_this_process(done))
    records = [each.record() for each in searches[0]]
    assert done == [("linear", 1, 2), ("linear", 2, 2), ("linear", 3, 2)]
    [winner] = [record for record in records if record.chosen]
    assert winner.validation_accuracy == max(record.validation_accuracy for record in records)
    assert chosen_learning_rates(searches) == {("linear", "default", None): winner.learning_rate}
    for record in records:
        assert (record.status, record.epochs, record.seed, record.test_reads) == ("done", 2, 0, 0)
        assert record.seconds > 0
    assert not list(tmp_path.rglob("checkpoint"))  # what only a trial under way needs


def test_continued_trials_train_from_their_checkpoint(recipe, tmp_path):
    done, searches = [], search_of(recipe, tmp_path, count=5, epochs=9)
    search_learning_rates(searches, in_this_process(done))
    assert [epochs for *_, epochs in done] == [1] * 5 + [3] * 2
    best = sorted(searches[0], key=lambda each: each.epochs)[-2:]
    assert all(len(each.result.history) == 3 for each in best)
    assert sum(each.chosen for each in searches[0]) == 1 and any(each.chosen for each in best)


def test_finished_trials_are_not_repeated(recipe, tmp_path):
    first, again = (
        search_of(recipe, tmp_path, count=5, epochs=9),
        search_of(recipe, tmp_path, count=5, epochs=9),
    )
    search_learning_rates(first, in_this_process([]))
    done = []
    search_learning_rates(again, in_this_process(done))
    assert done == []
    assert [each.record() for each in again[0]] == [each.record() for each in first[0]]


def test_a_trial_that_diverges_is_recorded_and_loses(recipe, tmp_path):
    searches = search_of(recipe, tmp_path, method="full")
    searches[0][1].learning_rate = 1e30
    search_learning_rates(searches, in_this_process([]))
    lost = searches[0][1].record()
    assert (lost.status, lost.chosen, lost.validation_accuracy) == ("diverged", False, None)
    assert "not finite" in lost.error
    assert any(each.chosen for each in searches[0])
    again, done = search_of(recipe, tmp_path, method="full"), []
    again[0][1].learning_rate = 1e30
    search_learning_rates(again, in_this_process(done))
    assert done == [] and again[0][1].record() == lost


def test_where_no_trial_succeeds_the_runs_end_with_why(recipe, tmp_path):
    searches = search_of(recipe, tmp_path / "hot", count=2, method="full", learning_rate=1e30)
    search_learning_rates(searches, in_this_process([]))
    error = chosen_learning_rates(searches)["full", "default", None]
    assert isinstance(error, DivergedError) and "at 1e+30: Training diverged" in str(error)
    searches = search_of(recipe, tmp_path / "none", count=2, backbone="./nothing")
    search_learning_rates(searches, in_this_process([]))
    error = chosen_learning_rates(searches)["linear", "default", None]
    assert type(error) is RunError and "no backbone folder" in str(error)
