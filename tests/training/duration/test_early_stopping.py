"""Early stopping and the cool-down of `--epochs auto` follow from the history."""

import itertools

import pytest
from epochs import epoch

from orbitune import Recipe, train
from orbitune.errors import ModelError, OrbituneError
from orbitune.training.duration import early_stopping
from orbitune.training.duration.early_stopping import describe_stop
from orbitune.training.preparation.notes import cheaper_steps
from orbitune.training.run import open_run
from orbitune.training.schedule import learning_rate, settled_epoch, step_image_size, step_merges
from orbitune.training.trial import trial

AUTO = Recipe(epochs="auto", patience=2, learning_rate=1.0)


def history(*accuracies):
    """Epochs of these validation accuracies; the loss falls all along."""
    return [
        epoch(
            number,
            validation_loss=1 / number,
            validation_accuracy=accuracy,
            validation_macro_f1=accuracy / 2,
        )
        for number, accuracy in enumerate(accuracies, 1)
    ]


def last_epoch(recipe, epochs):
    """Return the last epoch of a run of ten steps an epoch."""
    return early_stopping.last_epoch(recipe, epochs, steps=10 * recipe.max_epochs)


def cool_down(recipe, epochs):
    """Return the cool-down of a run of ten steps an epoch."""
    return early_stopping.cool_down(recipe, epochs, steps=10 * recipe.max_epochs)


@pytest.fixture
def still(tiles, backbone):
    """A recipe whose validation score never changes."""
    values = {"method": "linear", "batch_size": 16, "learning_rate": 1e-12, "epochs": 9}
    return Recipe.make({**values, "data": tiles, "backbone": backbone})


@pytest.mark.parametrize(
    ("accuracies", "last"),
    [
        ((), 9),
        ((0.5, 0.6, 0.7), 9),
        ((0.5, 0.6, 0.6), 9),  # one epoch without a better score
        ((0.5, 0.6, 0.6, 0.5), 4),
        ((0.6, 0.5, 0.7, 0.5, 0.6), 5),
    ],
)
def test_a_run_ends_when_patience_is_out(accuracies, last):
    assert last_epoch(Recipe(epochs=9, patience=2), history(*accuracies)) == last


def test_the_criterion_of_the_best_epoch_is_that_of_patience():
    recipe = Recipe(epochs=9, patience=2, best_by="loss")
    assert last_epoch(recipe, history(0.6, 0.5, 0.4, 0.3)) == 9


@pytest.mark.parametrize(
    ("accuracies", "last"),
    [
        ((0.7, 0.6, 0.6, 0.5), 9),  # out of patience where the schedule starts anew
        ((0.7, 0.6, 0.6, 0.5, 0.5), 9),
        ((0.7, 0.6, 0.6, 0.5, 0.5, 0.5, 0.5), 7),
        ((0.7, 0.6, 0.6, 0.5, 0.8, 0.5, 0.5), 9),
        ((0.7, 0.6, 0.6, 0.5, 0.8, 0.5, 0.5, 0.5), 8),
    ],
)
def test_patience_starts_anew_at_a_restart(accuracies, last):
    recipe = Recipe(epochs=9, patience=3, restarts=(4,))
    assert last_epoch(recipe, history(*accuracies)) == last


@pytest.mark.parametrize(
    "cheaper", [{"merge_tokens": (4, 8)}, {"sizes": ((56, 0.5), (84, 0.2), (112, 0.3)), "image_size": 112}]
)
def test_patience_counts_only_epochs_that_train_what_is_validated(cheaper):
    recipe = Recipe(epochs=10, patience=2, **cheaper)
    flat = history(0.8, *[0.7] * 9)
    assert [last_epoch(recipe, flat[:count]) for count in (5, 7, 8, 9)] == [10, 10, 10, 9]
    better = history(0.8, *[0.7] * 6, 0.9, 0.7, 0.7)
    assert last_epoch(recipe, better) == 10
    [line] = [note for note in cheaper_steps(recipe, 100) if "patience" in note]
    assert line == "patience counts from epoch 8: up to epoch 7 steps merge patches or have smaller inputs"
    [line] = [note for note in cheaper_steps(recipe.replace(epochs=1), 100) if "patience" in note]
    assert line.startswith("patience has no effect: up to epoch 1")


@pytest.mark.parametrize("merge_tokens", [None, (4,)])
@pytest.mark.parametrize("sizes", ["56:0.5,112:0.5", "56:0.33,84:0.34,112:0.33", "56:0.34,84:0.33,112:0.33"])
def test_patience_counts_from_the_epoch_after_the_last_cheaper_step(sizes, merge_tokens):
    for epochs, each in itertools.product(range(2, 25), (7, 10, 50)):
        recipe = Recipe(epochs=epochs, image_size=112, sizes=sizes, merge_tokens=merge_tokens)
        steps = epochs * each
        cheaper = [
            step
            for step in range(steps)
            if step_merges(recipe, step, steps=steps) or step_image_size(recipe, step, steps=steps) < 112
        ]
        assert settled_epoch(recipe, steps) == cheaper[-1] // each + 1


def test_patience_counts_from_the_first_epoch_where_all_steps_are_alike():
    assert not [*cheaper_steps(Recipe(epochs=9, patience=2), 100)]


def test_patience_that_is_out_before_a_restart_ends_the_run():
    recipe = Recipe(epochs=9, patience=2, restarts=(4,))
    assert last_epoch(recipe, history(0.7, 0.6, 0.6)) == 3


def test_the_extension_of_a_run_on_a_plateau_has_all_the_epochs_of_patience(still, tmp_path):
    recipe = still.replace(epochs=2, patience=1, passes=1)
    assert len(train(recipe, tmp_path / "run", progress=False).history) == 2
    result = train(recipe.replace(epochs=9), tmp_path / "run", progress=False)
    assert (result.recipe.restarts, len(result.history)) == ((2,), 3)


def test_without_patience_all_epochs_are_trained():
    assert last_epoch(Recipe(epochs=9), history(*[0.5] * 8)) == 9


def test_auto_cools_down_for_a_quarter_of_its_constant_epochs():
    flat = history(0.5, 0.7, 0.8, 0.8, 0.8)
    assert cool_down(AUTO, flat[:4]) is None and last_epoch(AUTO, flat[:4]) == 30
    for later in (flat, [*flat, *history(0.9, 0.95)]):  # what happens in the cool-down changes nothing
        assert cool_down(AUTO, later) == range(5, 7)
        assert last_epoch(AUTO, later) == 7


def test_auto_ends_after_thirty_epochs_where_each_is_better():
    rising = history(*(number / 100 for number in range(1, 25)))
    assert cool_down(AUTO, rising) == range(24, 30) and last_epoch(AUTO, rising) == 30


def test_the_learning_rate_of_auto_is_constant_after_the_warm_up_then_falls_to_zero():
    rates = [learning_rate(AUTO, step, steps=300, cooling=range(50, 60)) for step in range(60)]
    assert rates[:4] == [pytest.approx(each / 3) for each in (1, 2, 3, 3)]  # a tenth of three epochs
    assert set(rates[3:50]) == {1.0}
    assert rates[50:] == [pytest.approx(each / 10) for each in range(10, 0, -1)]


def test_the_reason_for_an_early_end_is_one_line():
    line = describe_stop(Recipe(epochs=9, patience=2), history(0.6, 0.6, 0.6))
    assert line == "ended after 3 of at most 9 epochs: no better validation accuracy in 2 epochs"


def test_a_stopped_run_is_finished_and_its_costs_are_of_the_epochs_it_trained(still, tmp_path):
    recipe = still.replace(patience=2)
    result = train(recipe, tmp_path / "run", progress=False)
    assert (len(result.history), result.best_epoch, result.recipe.epochs) == (3, 1, 9)
    assert result.cost.seconds_per_epoch == pytest.approx(result.cost.train_seconds / 3)
    before = (tmp_path / "run" / "result.json").stat().st_mtime_ns
    assert train(recipe, tmp_path / "run", progress=False) == result
    assert (tmp_path / "run" / "result.json").stat().st_mtime_ns == before


def test_a_trial_that_stopped_is_not_repeated(still, tmp_path):
    recipe = still.replace(patience=1)
    first = trial(recipe, tmp_path / "t", epochs=6, progress=False)
    assert len(first.history) == 2 and first.reached(6)
    before = (tmp_path / "t" / "trial.json").stat().st_mtime_ns
    assert trial(recipe, tmp_path / "t", epochs=9, progress=False) == first
    assert (tmp_path / "t" / "trial.json").stat().st_mtime_ns == before


def test_auto_resumed_in_its_cool_down_ends_with_the_same_weights(still, tmp_path):
    recipe = still.replace(epochs="auto", patience=1, passes=1, learning_rate=1e-9)
    rates = []
    for name, pauses in (("whole", [None]), ("paused", [1, 2, None])):
        for epochs in pauses:
            with open_run(recipe, tmp_path / name, progress=False) as run:
                trainer = run.fit(epochs)
                trainer.save()
        rates.append([(each.learning_rate, each.train_loss) for each in trainer.state.history])
    assert rates[0] == rates[1] and len(rates[0]) == 3
    assert rates[0][2][0] < rates[0][1][0]


def test_auto_fills_in_patience_and_passes(still, tmp_path):
    with open_run(still.replace(epochs="auto"), tmp_path / "run", progress=False) as run:
        recipe = run.setup.recipe
        assert (recipe.epochs, recipe.patience, recipe.passes) == ("auto", 3, 27)


@pytest.mark.parametrize("settings", [{"epochs": "auto"}, {"epochs": 9, "patience": 2}])
def test_a_method_with_a_schedule_of_its_own_cannot_stop_early(still, tmp_path, settings):
    with pytest.raises(ModelError, match=r"adalora removes ranks by a schedule.*pass a number of --epochs"):
        train(still.replace(method="adalora", **settings), tmp_path / "run", progress=False)


@pytest.mark.parametrize(
    "settings",
    [{"sizes": "16:0.5,32:0.5"}, {"freeze_layers": "1:0.5"}, {"merge_tokens": "1"}, {"restarts": "2"}],
)
def test_auto_is_not_combined_with_what_needs_the_number_of_epochs(settings):
    with pytest.raises(OrbituneError, match="cannot be combined with sizes, freeze_layers, merge_tokens or"):
        Recipe(epochs="auto", **settings)
