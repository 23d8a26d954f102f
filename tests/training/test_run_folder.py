"""Which runs a folder takes, and what it says of those it refuses."""

import pytest

from orbitune.errors import RunError
from orbitune.recipe import Recipe
from orbitune.training.duration.extension import continue_recipe
from orbitune.training.run_folder import RunFolder, divergence, read_inputs
from orbitune.training.stored.conflict import describe_conflict, stated_settings
from orbitune.training.stored.records import RunInputs

INPUTS = RunInputs(tiles="t", splits="s", backbone_weights="w", backbone_settings="c")
FIRST = Recipe(epochs=5, batch_size=8, micro_batch=8, learning_rate=0.01)


def claim(place, recipe=FIRST, inputs=INPUTS):
    return RunFolder(place / "run", recipe, inputs=inputs)


@pytest.mark.parametrize(("read", "name"), [(divergence, "diverged.json"), (read_inputs, "inputs.json")])
def test_a_file_of_a_newer_version_is_named_as_such(tmp_path, read, name):
    (tmp_path / name).write_text('{"format": 99}')
    with pytest.raises(RunError, match=rf"{name} was written by a newer Orbitune; update it"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("recipe", "inputs"),
    [
        (FIRST.replace(batch_size=32), INPUTS),
        (FIRST, INPUTS.model_copy(update={"backbone_weights": "restored"})),
    ],
)
def test_a_run_that_failed_before_it_trained_leaves_its_folder_to_the_next(tmp_path, recipe, inputs):
    with claim(tmp_path).locked():
        (tmp_path / "run" / "skipped-images.json").write_text("[]")
        (tmp_path / "run" / "budget.json").write_text("{}")
        (tmp_path / "run" / "tracking" / "wandb").mkdir(parents=True)
    claim(tmp_path, recipe, inputs)
    assert Recipe.load(tmp_path / "run" / "recipe.yaml") == recipe
    assert read_inputs(tmp_path / "run") == inputs
    left = {each.name for each in (tmp_path / "run").iterdir()}
    assert left == {"recipe.yaml", "inputs.json", "checkpoint"}


@pytest.mark.parametrize("recipe", [FIRST, FIRST.replace(seed=3)])
def test_a_recipe_that_the_user_wrote_is_kept_and_no_run(tmp_path, recipe):
    file = tmp_path / "run" / "recipe.yaml"
    file.parent.mkdir()
    FIRST.save(file)
    with pytest.raises(RunError, match=r"run exists and is not a run of Orbitune\. Choose another --out"):
        claim(tmp_path, recipe)
    assert Recipe.load(file) == FIRST
    assert [*file.parent.iterdir()] == [file]


def test_a_budget_alone_is_what_a_refused_run_of_an_earlier_version_left(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "budget.json").write_text("{}")
    claim(tmp_path)
    assert read_inputs(tmp_path / "run") == INPUTS


def test_a_run_that_failed_before_it_trained_keeps_a_folder_with_other_files(tmp_path):
    claim(tmp_path)
    (tmp_path / "run" / "notes.txt").touch()
    with pytest.raises(RunError, match=r"another recipe \(--seed: 1, not 0\)"):
        claim(tmp_path, FIRST.replace(seed=1))
    assert Recipe.load(tmp_path / "run" / "recipe.yaml") == FIRST


@pytest.mark.parametrize("saved", ["checkpoint/state.safetensors", "log.jsonl", "diverged.json"])
def test_a_run_that_has_trained_keeps_its_folder(tmp_path, saved):
    claim(tmp_path)
    (tmp_path / "run" / saved).parent.mkdir(exist_ok=True)
    (tmp_path / "run" / saved).touch()
    with pytest.raises(RunError, match=r"another recipe \(--seed: 1, not 0\)"):
        claim(tmp_path, FIRST.replace(seed=1))
    with pytest.raises(RunError, match=r"backbone weights of .* are no longer the same"):
        claim(tmp_path, inputs=INPUTS.model_copy(update={"backbone_weights": "other"}))
    assert Recipe.load(tmp_path / "run" / "recipe.yaml") == FIRST


def test_a_run_in_its_first_epoch_keeps_its_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("orbitune.training.run_folder.PATIENCE", 0.1)
    with claim(tmp_path).locked(), pytest.raises(RunError, match="in use by another process"):
        claim(tmp_path, FIRST.replace(seed=1))
    assert Recipe.load(tmp_path / "run" / "recipe.yaml") == FIRST


def test_of_two_that_begin_at_once_one_trains(tmp_path):
    first = claim(tmp_path)
    second = claim(tmp_path, FIRST.replace(seed=1))  # before the first has locked it
    with pytest.raises(RunError, match="has become the folder of a run of another recipe"), first.locked():
        pass
    with second.locked():
        pass


@pytest.mark.parametrize(
    ("asked", "extended", "message"),
    [
        (
            {},
            True,
            "run holds a run with --batch-size 8, --learning-rate 0.01, which the command leaves out: add "
            "them to extend the run, or choose another --out.",
        ),
        (
            {"learning_rate": 0.01, "seed": 3},
            False,
            "run holds a run of another recipe (--seed: 3, not 0; it has --batch-size 8, which the command "
            "leaves out). Choose another --out.",
        ),
        (
            {"batch_size": 16, "micro_batch": 16, "learning_rate": 0.01},
            False,
            "run holds a run of another recipe (--batch-size: 16, not 8; --micro-batch: 16, not 8). Choose "
            "another --out.",
        ),
    ],
)
def test_settings_that_the_user_left_out_are_named_as_those_of_the_run(tmp_path, asked, extended, message):
    """What follows from another setting, such as the micro-batch, is not named besides it."""
    requested = Recipe(epochs=5, **asked)
    resolved = requested.replace(
        learning_rate=requested.learning_rate or 0.002, micro_batch=min(requested.batch_size, 64)
    )
    differences = resolved.differences(FIRST)
    stated = stated_settings(requested)
    line = describe_conflict(tmp_path / "run", differences, stated=stated, extended=extended)
    assert line == f"{tmp_path}/{message}"


def test_the_length_of_a_run_that_trained_nothing_is_not_taken_over(tmp_path):
    claim(tmp_path)
    assert continue_recipe(Recipe(), tmp_path / "run").epochs is None
    (tmp_path / "run" / "log.jsonl").touch()
    assert continue_recipe(Recipe(), tmp_path / "run").epochs == 5
