"""Most steps of a run merge patches."""

import pytest
from commands import orbitune
from samples import backbone_folder

from orbitune import Recipe, train
from orbitune.errors import OrbituneError
from orbitune.resources import make_accelerator
from orbitune.training.preparation.notes import cheaper_steps
from orbitune.training.run import open_run
from orbitune.training.run_folder import RunFolder
from orbitune.training.schedule import phase_starts, step_merges
from orbitune.training.setup import check_recipes, prepare_training
from orbitune.training.trainer import Trainer


@pytest.fixture
def recipe(tiles, backbone):
    """Ten steps, of which the first seven merge patches after the first of two layers."""
    return Recipe(data=tiles, backbone=backbone, epochs=2, batch_size=8, merge_tokens="1", method="full")


def test_the_last_steps_keep_all_patches(recipe):
    assert [step_merges(recipe, step, steps=10) for step in range(10)] == [True] * 7 + [False] * 3
    assert not step_merges(recipe.replace(merge_tokens=None), 0, steps=10)


def test_patches_are_not_merged_again_after_a_restart_of_the_schedule(recipe):
    restarted = recipe.replace(epochs=4, restarts=(2,))
    assert [step_merges(restarted, step, steps=20) for step in range(20)] == [True] * 7 + [False] * 13


def test_a_plan_measures_steps_with_and_without_merging(recipe):
    assert phase_starts(recipe.replace(image_size=32), 10) == [0, 7]


def test_each_step_of_a_run_merges_as_the_schedule_says(recipe, tmp_path):
    setup = prepare_training(recipe, progress=False)
    folder = RunFolder(tmp_path / "run", setup.recipe, inputs=setup.inputs())
    trainer, found = Trainer.build(setup, folder, accelerator=make_accelerator()), []
    for _ in range(10):
        trainer.step()
        found.append(trainer.network.merging)
    assert found == [True] * 7 + [False] * 3


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_fast_path_trains_to_the_loss_of_the_plain_one(recipe, tmp_path, method):
    losses = []
    for fast in (True, False):
        one = recipe.replace(fast=fast, precision="fp32", method=method, lora={"dropout": 0})
        with open_run(one, tmp_path / str(fast), progress=False) as run:
            losses.append([epoch.validation_loss for epoch in run.fit().state.history])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_the_settings_that_make_steps_cheaper_are_said_and_recorded(recipe):
    many = recipe.replace(freeze_layers="1:0.5", patch_dropout=0.25)
    notes = prepare_training(many, progress=False).notes
    expected = (
        "patch dropout: a training step leaves out 25% of a tile's patches",
        "token merging: the first 7 of 10 steps merge half of the patches after block 1; the others, "
        "validation, test and the saved model keep all",
        "layer freezing: first layers that are trained no more: 1 from step 6 of 10",
    )
    assert notes[-4:-1] == expected
    cached = Recipe(cache_frozen=True, cache_bits=8, epochs=1)
    assert list(cheaper_steps(cached, 9)) == [
        "activation cache: 8 bits a number, in which epochs are validated too"
    ]


def test_a_run_says_at_its_start_that_it_merges(tiles, backbone, tmp_path):
    settings = ["--data", tiles, "--backbone", backbone, "--epochs", "1", "--batch-size", "8"]
    done = orbitune("train", *settings, "--merge-tokens", "1", "--out", str(tmp_path / "run"))
    said = "token merging: the first 3 of 5 steps merge half of the patches after block 1"
    assert said in done.stderr and said in done.stdout


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"merge_tokens": "a"}, "merge_tokens: .*'a'"),
        ({"merge_tokens": "0"}, "merge_tokens: must be at least 1, not '0'"),
        ({"cache_frozen": True, "method": "topk", "augment": "flips"}, "cache_frozen cannot .* merge_tokens"),
    ],
)
def test_a_recipe_that_cannot_merge_is_refused(recipe, changes, message):
    with pytest.raises(OrbituneError, match=message):
        recipe.replace(**changes)


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("swin", {}, "Swin cannot be merged .*: it attends within shifted windows"),
        ("hiera", {}, "Hiera cannot be merged .*: it attends within mask units"),
        ("dinov2", {}, "DINOv2 cannot be merged .*: its head reads the patches themselves"),
        ("vit", {"merge_tokens": "2"}, "after blocks 2 .*: name blocks from 1 to 1, each once and in order"),
        ("vit", {"image_size": 8}, "after blocks 1 .* 1 patches, too few to halve 1 times"),
    ],
)
def test_a_backbone_that_cannot_merge_is_refused_before_its_weights_are_read(
    recipe, tmp_path, family, changes, message
):
    folder = backbone_folder(tmp_path / "b", model_type=family)
    with pytest.raises(OrbituneError, match=message):
        check_recipes(recipe.replace(**{"backbone": str(folder), "image_size": 32, **changes}))


@pytest.mark.slow
def test_merging_on_real_tiles_reaches_what_training_without_it_does(shared, tmp_path):
    recipe = Recipe(
        data=str(shared / "eurosat"),
        backbone=str(shared / "vit-tiny-patch16-224"),
        shots=12,
        image_size=64,
        method="full",
        learning_rate=2e-4,
        augment="flips",
        epochs=1,
        passes=6,
        merge_tokens="4",
    )
    result = train(recipe, tmp_path / "run", progress=False)
    assert result.history[-1].validation_accuracy > 0.5
    assert any(note.startswith("token merging") for note in result.data.notes)
