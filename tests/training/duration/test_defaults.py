"""The length of a run where the recipe leaves it open."""

import pytest

from orbitune import Recipe
from orbitune.training.duration.defaults import EPOCH_STEPS, describe_passes, resolve_length
from orbitune.training.setup import prepare_training


@pytest.mark.parametrize(
    ("tiles", "passes", "steps"),
    [(16_200, 1, 254), (5_120, 1, 80), (1_260, 4, 80), (60, 80, 80)],
)
def test_few_tiles_are_passed_over_until_an_epoch_has_eighty_steps(tiles, passes, steps):
    recipe = resolve_length(Recipe(), tiles)
    assert (recipe.epochs, recipe.passes) == (3, passes)
    assert f"passes over the training tiles in an epoch: {passes}, steps: {steps} of at" in describe_passes(
        recipe, tiles
    )


def test_a_number_of_epochs_is_that_many_passes_over_the_tiles():
    assert resolve_length(Recipe(epochs=9), 60).passes is None


def test_given_passes_are_kept():
    assert resolve_length(Recipe(passes=2), 60).passes == 2


def test_shots_are_passed_over_for_any_number_of_epochs():
    assert resolve_length(Recipe(epochs=9, shots=2), 20).passes == EPOCH_STEPS


def test_the_passes_over_few_tiles_are_among_the_notes_of_a_run(tiles, backbone):
    setup = prepare_training(Recipe(data=tiles, backbone=backbone, batch_size=12), progress=False)
    assert setup.steps == 3 * 81
    assert "passes over the training tiles in an epoch: 27, steps: 81 of at most 12 tiles" in setup.notes


@pytest.mark.parametrize("settings", [{"passes": 1}, {"epochs": 9}])
def test_one_pass_an_epoch_is_no_note(tiles, backbone, settings):
    setup = prepare_training(Recipe(data=tiles, backbone=backbone, **settings), progress=False)
    assert not any("in an epoch" in note for note in setup.notes)
