"""One search for the learning rate of every method, decided by whole runs with two seeds."""

import json
from dataclasses import dataclass, field
from math import log10

import epochs
import numpy as np
import pytest
from samples import tile_folder

from orbitune import Recipe, plan_run
from orbitune.errors import DivergedError, Interrupted, OrbituneError, RunError
from orbitune.evaluation.statistics.intervals import standard_error
from orbitune.evaluation.statistics.macro_f1 import macro_f1_interval
from orbitune.integrity import code_hash
from orbitune.machine.environment import Environment
from orbitune.models.methods import METHODS
from orbitune.study.executor import Outcome
from orbitune.study.grid import Grid
from orbitune.study.tune.cost import describe_costs, search_cost
from orbitune.study.tune.rates import learning_rates, rate_at
from orbitune.study.tune.search import (
    MOST_BEYOND,
    SEEDS,
    chosen_learning_rates,
    halving_rungs,
    make_searches,
    search_learning_rates,
)
from orbitune.training.trial import TrialResult, trial


@pytest.fixture
def recipe(recipe):
    return recipe.replace(method="linear", epochs=6)


@pytest.fixture(scope="module")
def plan(backbone, tmp_path_factory):
    """The plan of a run of nine epochs."""
    tiles = tile_folder(tmp_path_factory.mktemp("plan") / "tiles")
    return plan_run(Recipe(data=str(tiles), backbone=backbone, epochs=9, batch_size=16), progress=False)


def in_this_process(done):
    """An executor that trains trials in this process and records rate, seed and epochs of each."""

    def work(trials):
        for each in trials:
            done.append((each.learning_rate, each.seed, each.epochs))
            try:
                result = trial(
                    each.spec.recipe.replace(learning_rate=each.learning_rate, seed=each.seed),
                    each.folder,
                    epochs=each.epochs,
                    progress=False,
                )
                each.store(Outcome(vars(result)))
            except OrbituneError as error:
                each.store(Outcome(error=error))

    return work


@dataclass
class Simulation:
    """An executor whose trials get the scores of a curve over the logarithm of the learning rate.

    Attributes:
        accuracy: validation accuracy at log10 of a rate, an epoch and a seed; None where it diverges.
        tiles: number of validation tiles.
        macro_f1_error: its standard error in every epoch.
        stop_after: number of trials after which the session is interrupted.
    """

    accuracy: object
    tiles: int = 5400
    macro_f1_error: float | None = None
    stop_after: int | None = None
    done: list = field(default_factory=list)

    def __call__(self, trials):
        for each in trials:
            if len(self.done) == self.stop_after:
                raise Interrupted("enough")
            self.done.append((each.learning_rate, each.seed, each.epochs))
            scores = [
                self.accuracy(log10(each.learning_rate), epoch, each.seed)
                for epoch in range(1, each.epochs + 1)
            ]
            if None in scores:
                each.store(Outcome(error=DivergedError("the loss is not finite")))
                continue
            result = TrialResult(
                recipe=each.spec.recipe,
                history=tuple(
                    metrics(epoch, score, self.macro_f1_error) for epoch, score in enumerate(scores, 1)
                ),
                validation_tiles=self.tiles,
                seconds=1.0,
                test_reads=0,
            )
            each.folder.mkdir(parents=True, exist_ok=True)
            result.write(each.folder / "trial.json")
            Environment.measure().write(each.folder / "environment.json")
            each.store(Outcome(result.to_json()))


def metrics(epoch, score, macro_f1_error=None):
    return epochs.epoch(
        epoch,
        validation_accuracy=score,
        validation_macro_f1=score,
        validation_macro_f1_error=macro_f1_error,
        learning_rate=0.1,
        evaluation_seconds=0.1,
    )


def peak(at, *, height=0.98, slope=0.1):
    """A curve with its maximum at 10 ** `at` in every epoch and with every seed."""
    return lambda rate, epoch, seed: height - slope * (rate - at) ** 2


def search_of(recipe, folder, count=3, **settings):
    return make_searches(Grid().runs([recipe.replace(**settings)]), count, folder=folder)


def simulated(recipe, folder, accuracy, *, count=3, tiles=5400, **settings):
    """The record of a search over a curve, and the trials that it took."""
    searches, simulation = search_of(recipe, folder, count, **settings), Simulation(accuracy, tiles)
    search_learning_rates(searches, simulation)
    return searches[0].record(), simulation.done


def test_all_methods_share_one_lattice_of_rates():
    assert learning_rates(1e-4, 3) == [3e-5, 1e-4, 3e-4]
    assert learning_rates(2e-3, 5) == [3e-4, 1e-3, 3e-3, 1e-2, 3e-2]
    assert learning_rates(0.01, 4) == [1e-3, 3e-3, 1e-2, 3e-2]
    tried = {rate for method in METHODS.values() for rate in learning_rates(method.learning_rate, 5)}
    assert all(f"{rate:e}".startswith(("1.000000e", "3.000000e")) for rate in tried)


@pytest.mark.parametrize("count", range(3, 12))
def test_a_grid_has_as_many_rates_as_asked_and_the_default_near_its_middle(count):
    for method in METHODS.values():
        rates = learning_rates(method.learning_rate, count)
        assert len(set(rates)) == count and rates == sorted(rates)
        assert 0.5 < rates[count // 2] / method.learning_rate < 2


@pytest.mark.parametrize(
    ("trials", "epochs", "expected"),
    [
        (3, 9, [(3, 9)]),
        (5, 9, [(5, 3), (3, 9)]),
        (9, 9, [(9, 3), (3, 9)]),
        (27, 81, [(27, 9), (9, 27), (3, 81)]),
        (5, 4, [(5, 2), (3, 4)]),
        (5, 1, [(5, 1), (3, 1)]),
    ],
)
def test_three_finalists_train_all_epochs_and_more_rates_a_third_of_them_before(trials, epochs, expected):
    assert halving_rungs(trials, epochs) == expected


def test_every_method_gets_the_same_search_around_its_own_rate(recipe, tmp_path):
    specs = Grid(seeds=(0, 1, 2)).runs([recipe.replace(method=name) for name in ("full", "linear", "lora")])
    searches = make_searches(specs, 5, folder=tmp_path)
    assert [search.spec.arm for search in searches] == ["full", "linear", "lora"]  # not once for each seed
    for search in searches:
        simulation = Simulation(peak(log10(METHODS[search.spec.arm].learning_rate)))
        search_learning_rates([search], simulation)
        record = search.record()
        assert list(record.first) == learning_rates(METHODS[search.spec.arm].learning_rate, 5)
        assert [epochs for *_, epochs in simulation.done] == [2] * 5 + [6] * 6
    [search] = search_of(recipe, tmp_path, learning_rate=0.5)
    assert [rate_at(place) for place in search.first] == [0.1, 0.3, 1.0]


def test_the_choice_rests_on_whole_runs_with_two_seeds(recipe, tmp_path):
    early = peak(-3.0, height=0.9)  # lower rates look better at first

    def accuracy(rate, epoch, seed):
        return early(rate, epoch, seed) if epoch < 6 else peak(-2.0)(rate, epoch, seed) + 0.001 * seed

    record, done = simulated(recipe, tmp_path, accuracy, count=5)
    assert record.chosen == 0.01 and record.edge is None
    assert {epochs for rate, seed, epochs in done if seed == 1} == {6}
    for finalist in record.finalists:
        assert len(finalist.scores) == SEEDS == 2
        assert {seed for rate, seed, epochs in done if (rate, epochs) == (finalist.learning_rate, 6)} == {
            0,
            1,
        }
    rates = [finalist.learning_rate for finalist in record.finalists]
    place = rates.index(record.chosen)
    assert 0 < place < len(rates) - 1  # both neighbours were trained to the end too


@pytest.mark.parametrize("count", [3, 5])
@pytest.mark.parametrize(("best", "chosen"), [(-3.5, 3e-4), (-1.0, 0.1)])
def test_rates_are_added_until_the_best_has_two_neighbours(recipe, tmp_path, count, best, chosen):
    record, _ = simulated(recipe, tmp_path, peak(best), count=count)
    assert record.chosen == chosen not in learning_rates(0.01, 3)
    assert record.edge is None
    rates = [finalist.learning_rate for finalist in record.finalists]
    assert rates[0] < chosen < rates[-1]
    if count == 3:
        assert set(record.added) == set(rates) - set(learning_rates(0.01, 3))


@pytest.mark.parametrize(("best", "edge"), [(-9.0, "low"), (5.0, "high")])
def test_where_the_limit_is_reached_the_record_says_edge(recipe, tmp_path, best, edge):
    record, _ = simulated(recipe, tmp_path, peak(best, slope=0.01))
    assert record.edge == edge and len(record.added) == MOST_BEYOND
    assert record.chosen in (record.finalists[0].learning_rate, record.finalists[-1].learning_rate)


def test_a_rate_that_diverges_is_an_end_of_the_search(recipe, tmp_path):
    def accuracy(rate, epoch, seed):
        return None if rate > -1.6 else peak(-1.0)(rate, epoch, seed)

    record, _ = simulated(recipe, tmp_path, accuracy)
    assert (record.chosen, record.edge, record.added) == (0.01, None, ())
    assert record.finalists[-1].mean is None


def test_where_all_rates_diverge_lower_ones_are_tried(recipe, tmp_path):
    def accuracy(rate, epoch, seed):
        return None if rate > -3.2 else peak(-3.5)(rate, epoch, seed)

    record, _ = simulated(recipe, tmp_path, accuracy)
    assert (record.chosen, record.edge) == (3e-4, None)


@pytest.mark.parametrize(("tiles", "chosen"), [(5_400, 0.01), (5_000_000, 0.03)])
def test_a_difference_within_the_noise_of_the_validation_tiles_is_a_tie(recipe, tmp_path, tiles, chosen):
    accuracies = {-2.5: 0.9793, -2.0: 0.9795, -1.5: 0.98, -1.0: 0.95}  # by 3 of 5,400 tiles

    def accuracy(rate, epoch, seed):
        return accuracies[round(2 * rate) / 2]

    record, _ = simulated(recipe, tmp_path, accuracy, tiles=tiles)
    assert (record.best, record.chosen) == (0.03, chosen)
    tied = [finalist.learning_rate for finalist in record.finalists if finalist.tied]
    assert tied == ([0.003, 0.01, 0.03] if chosen == 0.01 else [0.03])


def test_rates_without_any_difference_need_no_further_ones(recipe, tmp_path):
    record, done = simulated(recipe, tmp_path, lambda rate, epoch, seed: 1.0, count=5)
    assert (record.best, record.chosen, record.added, record.edge) == (0.01, 0.01, (), None)
    assert len(done) == 5 + 6


def test_a_difference_within_the_spread_of_the_seeds_is_a_tie(recipe, tmp_path):
    def accuracy(rate, epoch, seed):
        means = {-2.5: 0.970, -2.0: 0.972, -1.5: 0.975, -1.0: 0.90}
        return means[round(2 * rate) / 2] + (0.01 if seed else -0.01)

    record, _ = simulated(recipe, tmp_path, accuracy, tiles=10**9)
    assert record.spread == pytest.approx(0.01 * 2**0.5)
    assert record.standard_error == pytest.approx(0.01, rel=0.01)
    assert (record.best, record.chosen) == (0.03, 0.01)


def test_small_gains_each_within_the_noise_do_not_keep_the_search_at_its_start(recipe, tmp_path):
    record, _ = simulated(recipe, tmp_path, peak(-3.5, slope=0.0008))
    tied = [finalist.learning_rate for finalist in record.finalists if finalist.tied]
    assert record.best == 3e-4 and record.edge is None
    assert record.chosen == tied[len(tied) // 2] and 3e-4 in tied


def test_one_unstable_rate_does_not_tie_the_others(recipe, tmp_path):
    def accuracy(rate, epoch, seed):
        if rate > -1.6:
            return 0.9 if seed else 0.3
        return peak(-3.0)(rate, epoch, seed) + 0.0001 * seed

    record, _ = simulated(recipe, tmp_path, accuracy)
    assert record.chosen == 1e-3


def test_a_choice_by_loss_is_tied_by_the_seeds_alone(recipe, tmp_path):
    record, _ = simulated(recipe, tmp_path, peak(-2.0), best_by="loss")
    assert record.criterion == "loss" and record.standard_error == 0.0


@pytest.mark.parametrize("studies", [25, pytest.param(400, marks=pytest.mark.slow)])
def test_the_chosen_rate_is_seldom_worse_than_the_best_by_more_than_the_noise(recipe, tmp_path, studies):
    """Simulated studies: the optimum lies anywhere within the limits, tiles and seeds add noise."""
    random = np.random.default_rng(0)
    losses, edges = [], 0
    for number in range(studies):
        at, noise = random.uniform(-4, 0), {}

        def accuracy(rate, epoch, seed, at=at, noise=noise):
            truth = 0.98 - 0.01 * (rate - at) ** 2
            return truth + noise.setdefault((rate, epoch, seed), random.normal(0, 0.001))

        record, _ = simulated(recipe.replace(epochs=3), tmp_path / str(number), accuracy, count=5)
        losses.append(0.01 * (log10(record.chosen) - at) ** 2)
        edges += record.edge is not None
    assert np.mean(losses) < 0.002 and edges == 0


@pytest.mark.parametrize(("rates", "trials", "epochs"), [(3, 6, 54), (5, 8, 60), (9, 12, 72)])
def test_the_cost_of_a_search_is_known_before_it(recipe, tmp_path, plan, rates, trials, epochs):
    """Trials, starts and epochs where the best is not at an end, and what each rate beyond adds at most."""
    assert plan.start_seconds > 0
    plan = plan.model_copy(update={"start_seconds": 5.0})
    cost = search_cost(rates, plan)
    assert (cost.trials, cost.epochs, cost.more_trials, cost.more_epochs) == (trials, epochs, 2, 18)
    assert cost.seconds == pytest.approx(epochs * plan.epoch_seconds + 5 * cost.starts)
    assert cost.more_seconds == pytest.approx(18 * plan.epoch_seconds + 2 * 5)
    _, done = simulated(recipe, tmp_path / "inside", peak(-2.0), count=rates, epochs=9)
    assert len(done) == cost.starts
    trained = {(rate, seed): number for rate, seed, number in done}  # the last rung of each
    assert (len(trained), sum(trained.values())) == (trials, epochs)
    further, done = simulated(recipe, tmp_path / "beyond", peak(-3.6 - rates / 4), count=rates, epochs=9)
    trained = {(rate, seed): number for rate, seed, number in done}
    assert further.added and sum(trained.values()) <= epochs + 18 * len(further.added)
    assert describe_costs([cost, cost]).startswith(
        f"tuning: 2 searches with {2 * trials} trials and {2 * epochs} epochs, about "
    )


@pytest.mark.parametrize("stop_after", [0, 1, 4, 7, 9])
def test_an_interrupted_search_goes_on_to_the_same_bytes(recipe, tmp_path, stop_after):
    def accuracy(rate, epoch, seed):
        return peak(-3.5)(rate, epoch, seed) + 0.001 * seed + 0.001 * epoch

    def written(searches):
        trials = [each.to_json() for search in searches for each in search.trial_records()]
        return json.dumps([trials, [search.record().to_json() for search in searches]])

    whole = search_of(recipe, tmp_path / "whole", 5)
    straight = Simulation(accuracy)
    search_learning_rates(whole, straight)
    first = Simulation(accuracy, stop_after=stop_after)
    with pytest.raises(Interrupted):
        search_learning_rates(search_of(recipe, tmp_path / "cut", 5), first)
    resumed, again = search_of(recipe, tmp_path / "cut", 5), Simulation(accuracy)
    search_learning_rates(resumed, again)
    assert written(resumed) == written(whole)
    assert sorted(first.done + again.done) == sorted(straight.done)  # nothing is trained twice


def test_a_search_of_real_trials_is_recorded_and_not_repeated(recipe, tmp_path):
    done, searches = [], search_of(recipe, tmp_path, count=5)
    search_learning_rates(searches, in_this_process(done))
    record, trials = searches[0].record(), searches[0].trial_records()
    rates = sorted({*record.first, *record.added})
    assert [(each.learning_rate, each.seed) for each in trials] == sorted(
        {(rate, seed) for rate, seed, _ in done}
    )
    assert sorted({each.learning_rate for each in trials}) == rates
    assert chosen_learning_rates(searches) == {("linear", "default", None): record.chosen}
    assert {each.learning_rate for each in trials if each.chosen} == {record.chosen}
    for each in trials:
        assert (each.status, each.test_reads, len(each.scores)) == ("done", 0, each.epochs)
        assert each.seconds > 0 and each.validation_accuracy == max(each.scores)
        assert each.code == code_hash()
    for finalist in record.finalists:
        own = [max(each.scores) for each in trials if each.learning_rate == finalist.learning_rate]
        assert list(finalist.scores) == own
    assert not list(tmp_path.rglob("checkpoint"))  # what only a trial under way needs
    again, repeated = search_of(recipe, tmp_path, count=5), []
    search_learning_rates(again, in_this_process(repeated))
    assert repeated == []
    assert (again[0].record(), again[0].trial_records()) == (record, trials)


def test_a_finalist_trains_on_from_its_first_epochs_as_if_it_had_never_paused(recipe, tmp_path):
    searches = search_of(recipe, tmp_path / "search", count=5)
    search_learning_rates(searches, in_this_process([]))
    rate = searches[0].record().chosen
    [own] = [each for each in searches[0].trial_records() if (each.learning_rate, each.seed) == (rate, 0)]
    whole = trial(recipe.replace(learning_rate=rate), tmp_path / "whole", epochs=6, progress=False)
    assert list(own.scores) == [each.validation_accuracy for each in whole.history]


def test_a_trial_that_diverges_is_recorded_and_loses(recipe, tmp_path):
    searches = search_of(recipe, tmp_path, method="full", learning_rate=1e30)
    search_learning_rates(searches, in_this_process([]))
    error = chosen_learning_rates(searches)["full", "default", None]
    assert isinstance(error, DivergedError) and "at 1e+30: Training diverged" in str(error)
    record, trials = searches[0].record(), searches[0].trial_records()
    assert (record.chosen, record.best, record.edge, record.spread) == (None, None, None, None)
    assert {(each.status, each.chosen, each.validation_accuracy) for each in trials} == {
        ("diverged", False, None)
    }
    assert all("not finite" in each.error for each in trials)
    again, done = search_of(recipe, tmp_path, method="full", learning_rate=1e30), []
    search_learning_rates(again, in_this_process(done))
    assert done == [] and again[0].trial_records() == trials


def test_where_no_trial_succeeds_the_runs_end_with_why(recipe, tmp_path):
    searches = search_of(recipe, tmp_path, backbone="./nothing")
    search_learning_rates(searches, in_this_process([]))
    error = chosen_learning_rates(searches)["linear", "default", None]
    assert type(error) is RunError and "no backbone folder" in str(error)
    assert searches[0].record().added == ()


def test_a_trial_that_fails_leaves_the_choice_to_the_session_that_repeats_it(recipe, tmp_path):
    """The rates of two sessions are the same, so a study can train runs and go on with them."""

    def session(folder, fails):
        searches, simulation = search_of(recipe, tmp_path / folder, 5), Simulation(peak(-2.0))

        def run_trials(trials):
            lost = [each for each in trials if (each.learning_rate, each.epochs) == fails]
            simulation([each for each in trials if each not in lost])
            for each in lost:
                each.store(Outcome(error=RunError("the process was killed")))

        search_learning_rates(searches, run_trials)
        [chosen] = chosen_learning_rates(searches).values()
        return chosen, searches[0].record(), simulation.done

    for folder, fails in (("screening", (0.003, 2)), ("finalists", (0.01, 6))):
        error, record, done = session(folder, fails)
        assert isinstance(error, RunError) and not isinstance(error, DivergedError)
        assert "start the study again to repeat them: at " in str(error) and "killed" in str(error)
        assert (record.chosen, record.best) == (None, None)
        chosen, record, again = session(folder, None)
        assert chosen == record.chosen == 0.01
        assert not set(done) & set(again)  # only what failed, and what follows from it


def test_a_choice_by_macro_f1_is_tied_by_its_own_sampling_error(recipe, tmp_path):
    """One class has 6 of 5,400 tiles, so macro-F1 varies by a point, and an accuracy as high by 0.2."""
    confusion = np.diag([599] * 9 + [6])
    confusion[9, 9], confusion[9, 0], confusion[0, 9], confusion[0, 0] = 5, 1, 2, 600
    random, actual = np.random.default_rng(1), confusion.sum(1)
    drawn = random.multinomial(confusion.sum(), confusion.ravel() / confusion.sum(), 4000).reshape(-1, 10, 10)
    hits = drawn.diagonal(axis1=1, axis2=2)
    spread = (2 * hits / np.maximum(1, drawn.sum(1) + drawn.sum(2))).mean(1).std()
    assert actual.sum() == 5400 and spread > 0.01
    searches = search_of(recipe, tmp_path, best_by="macro-f1")
    simulation = Simulation(
        peak(-2.0, slope=0.03), macro_f1_error=standard_error(macro_f1_interval(confusion))
    )
    search_learning_rates(searches, simulation)
    record = searches[0].record()
    assert record.standard_error == pytest.approx(spread, rel=0.1)
    assert all(each.tied for each in record.finalists)  # 0.75 points apart


def test_trials_store_the_standard_error_of_macro_f1(recipe, tmp_path):
    result = trial(recipe.replace(best_by="macro-f1"), tmp_path / "trial", epochs=1, progress=False)
    assert 0 < result.history[0].validation_macro_f1_error < 0.5
    assert TrialResult.load(tmp_path / "trial") == result
