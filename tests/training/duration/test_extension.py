"""A finished run goes on to more epochs, reproducibly, and keeps its result until then."""

import json
import math
import os
import shutil
import signal

import pytest
from commands import orbitune
from outcomes import outcome

from orbitune import Recipe, train
from orbitune.errors import DivergedError, Interrupted, OrbituneError, RunError
from orbitune.evaluation.run_result import RunResult
from orbitune.training import finalise
from orbitune.training.checkpoint import trainable
from orbitune.training.duration import extension
from orbitune.training.evaluate import evaluate
from orbitune.training.schedule import learning_rate, step_image_size
from orbitune.training.stored.integrity import check_run
from orbitune.training.trainer import Trainer

STEPS = 5  # of an epoch


@pytest.fixture(scope="module")
def recipe(tiles, backbone):
    return Recipe(data=tiles, backbone=backbone, epochs=2, batch_size=8)


@pytest.fixture(scope="module")
def short(recipe, tmp_path_factory):
    """A finished run of two epochs."""
    out = tmp_path_factory.mktemp("short") / "run"
    train(recipe, out, progress=False)
    return out


@pytest.fixture(scope="module")
def extended(recipe, short, tmp_path_factory):
    """The run, extended to four epochs without an interruption."""
    out = shutil.copytree(short, tmp_path_factory.mktemp("extended") / "run")
    train(recipe.replace(epochs=4), out, progress=False)
    return out


@pytest.fixture
def run(short, tmp_path):
    """A copy of the finished run."""
    return shutil.copytree(short, tmp_path / "run")


def interrupt(monkeypatch, recipe, out, *, step):
    """Train until SIGINT arrives in this step."""
    take = Trainer.step

    def step_and_interrupt(self):
        loss = take(self)
        if self.state.step == step:
            os.kill(os.getpid(), signal.SIGINT)
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", step_and_interrupt)
        with pytest.raises(Interrupted, match=f"after step {step} of {4 * STEPS}"):
            train(recipe, out, progress=False)


def test_the_extended_run_keeps_its_first_epochs_and_says_where_it_went_on(short, extended):
    before, after = RunResult.load(short), RunResult.load(extended)
    assert after.history[:2] == before.history and len(after.history) == 4
    assert (after.recipe.epochs, after.recipe.restarts) == (4, (2,))
    assert after.recipe == Recipe.load(extended / "recipe.yaml")
    assert (before.test_reads, after.test_reads) == (1, 2)
    check_run(extended)


def test_the_recipe_of_an_extended_run_gives_the_same_bytes_from_the_start(extended, tmp_path):
    train(Recipe.load(extended / "recipe.yaml"), tmp_path / "again", progress=False)
    assert outcome(tmp_path / "again") == outcome(extended)


def test_an_interrupted_extension_ends_with_the_same_bytes(recipe, run, extended, monkeypatch):
    longer = recipe.replace(epochs=4)
    interrupt(monkeypatch, longer, run, step=2 * STEPS + 1)
    interrupt(monkeypatch, longer, run, step=3 * STEPS + 2)
    train(longer, run, progress=False)
    assert outcome(run) == outcome(extended)


def test_the_result_of_fewer_epochs_stays_until_the_extension_is_finished(recipe, run, short, monkeypatch):
    interrupt(monkeypatch, recipe.replace(epochs=4), run, step=2 * STEPS + 1)
    assert RunResult.load(run) == RunResult.load(short)
    with pytest.raises(RunError, match="is being extended to 4 epochs: finish that"):
        check_run(run)
    with pytest.raises(RunError, match=r"another recipe \(--epochs: 2, not 4"):
        train(recipe, run, progress=False)


def test_an_extended_run_is_extended_again_and_the_same_command_returns_it(recipe, extended, tmp_path):
    out = shutil.copytree(extended, tmp_path / "run")
    result = train(recipe.replace(epochs=5), out, progress=False)
    assert result.recipe.restarts == (2, 4) and len(result.history) == 5
    for again in (recipe.replace(epochs=5), recipe.replace(epochs=None), Recipe.load(out / "recipe.yaml")):
        assert train(again, out, progress=False) == result


def test_the_command_line_extends_a_run_with_the_passes_it_had(tiles, backbone, tmp_path):
    out = tmp_path / "run"
    options = ("--data", tiles, "--backbone", backbone, "--method", "linear", "--passes", "2")
    train(Recipe(data=tiles, backbone=backbone, method="linear", passes=2, epochs=1), out, progress=False)
    done = orbitune("train", *options[:-2], "--epochs", "2", "--out", str(out), "--json")
    recipe = json.loads(done.stdout)["recipe"]
    assert (recipe["epochs"], recipe["restarts"], recipe["passes"]) == (2, [1], 2)
    assert "extends the finished run to 2 epochs" in done.stderr
    again = orbitune("train", *options, "--epochs", "2", "--out", str(out))
    assert "exists already: the run is finished" in again.stdout


def test_other_settings_than_the_epochs_do_not_extend_a_run(recipe, run):
    with pytest.raises(RunError, match=r"--learning-rate: 0\.5"):
        train(recipe.replace(epochs=4, learning_rate=0.5), run, progress=False)
    assert (run / extension.KEPT_STATE).is_dir()


def test_a_size_of_blocks_without_effect_in_an_old_run_is_a_warning(recipe, run, short, caplog):
    """Earlier versions took one with every split."""
    Recipe.load(run / "recipe.yaml").model_copy(update={"block_size": 500.0}).save(run / "recipe.yaml")
    for again in (recipe, Recipe.load(run / "recipe.yaml")):
        caplog.clear()
        assert train(again, run, progress=False).test == RunResult.load(short).test
        assert (
            "--block-size 500 of the run" in caplog.text and "no effect with --split default" in caplog.text
        )
    with pytest.raises(OrbituneError, match="--block-size needs --split spatial"):
        train(recipe.replace(block_size=100.0), run, progress=False)


def test_an_unfinished_run_is_not_extended(recipe, tmp_path, monkeypatch):
    interrupt(monkeypatch, recipe.replace(epochs=4), tmp_path / "run", step=3)
    with pytest.raises(RunError, match="another recipe \\(--epochs: 6, not 4\\)"):
        train(recipe.replace(epochs=6), tmp_path / "run", progress=False)


def test_a_run_without_its_state_is_not_extended_and_stays_as_it_is(recipe, run, short):
    (run / extension.KEPT_STATE / "best.safetensors").unlink()
    with pytest.raises(RunError, match=r"cannot be extended: its training state was not kept.*another --out"):
        train(recipe.replace(epochs=4), run, progress=False)
    assert train(recipe, run, progress=False) == RunResult.load(short)


def test_a_damaged_state_is_found_before_anything_is_changed(recipe, run, short):
    state = run / extension.KEPT_STATE / "state.safetensors"
    content = bytearray(state.read_bytes())
    content[-1] ^= 1
    state.write_bytes(content)
    with pytest.raises(RunError, match=r"cannot be extended: .*state\.safetensors is damaged"):
        train(recipe.replace(epochs=4), run, progress=False)
    assert train(recipe, run, progress=False) == RunResult.load(short)


@pytest.mark.parametrize("take", [shutil.move, shutil.copyfile])
def test_a_state_that_was_half_moved_or_copied_is_found_again(recipe, run, extended, take):
    (run / "checkpoint").mkdir()
    take(run / extension.KEPT_STATE / "best.safetensors", run / "checkpoint" / "best.safetensors")
    train(recipe.replace(epochs=4), run, progress=False)
    assert outcome(run) == outcome(extended)


def test_a_large_state_is_not_kept(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(extension, "LARGEST_KEPT_STATE", 1000)
    train(recipe.replace(epochs=1), tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / extension.KEPT_STATE).exists()


def diverge(monkeypatch, recipe, out, *, step):
    """Train with weights that are not finite after this step."""
    take = Trainer.step

    def step_and_break(self):
        loss = take(self)
        if self.state.step == step:
            for tensor in trainable(self.model).values():
                tensor.fill_(math.nan)
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", step_and_break)
        with pytest.raises(
            DivergedError, match=r"not finite.* The finished run of 2 epochs stays as it was\.$"
        ):
            train(recipe, out, progress=False)


@pytest.mark.parametrize("interrupted", [False, True])
def test_an_extension_that_diverges_leaves_the_finished_run(
    recipe, run, short, extended, monkeypatch, interrupted
):
    longer = recipe.replace(epochs=4)
    if interrupted:
        interrupt(monkeypatch, longer, run, step=2 * STEPS + 1)
    diverge(monkeypatch, longer, run, step=3 * STEPS + 1)
    assert sorted(path.name for path in run.iterdir()) == sorted(path.name for path in short.iterdir())
    check_run(run)
    assert outcome(run) == outcome(short)
    assert train(recipe, run, progress=False) == RunResult.load(short)
    train(longer, run, progress=False)
    assert outcome(run) == outcome(extended)


def test_reads_of_the_test_split_between_are_counted(recipe, run):
    evaluate(run, progress=False)
    assert train(recipe.replace(epochs=3), run, progress=False).test_reads == 3


def test_an_extension_that_is_killed_after_its_test_says_that_it_read_it(recipe, run, monkeypatch):
    def kill(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(finalise, "_write_outputs", kill)
        train(recipe.replace(epochs=3), run, progress=False)
    assert (RunResult.load(run).test_reads, RunResult.load(run).recipe.epochs) == (2, 2)
    assert train(recipe.replace(epochs=3), run, progress=False).test_reads == 3


def test_the_state_of_fewer_epochs_is_not_kept_where_the_extension_stopped_early(tiles, backbone, tmp_path):
    recipe = Recipe(data=tiles, backbone=backbone, method="linear", learning_rate=1e-12, epochs=1, patience=2)
    train(recipe, tmp_path / "run", progress=False)
    result = train(recipe.replace(epochs=9), tmp_path / "run", progress=False)
    assert len(result.history) == 3
    with pytest.raises(RunError, match="the run stopped early"):
        train(recipe.replace(epochs=12), tmp_path / "run", progress=False)


def test_the_learning_rate_warms_up_anew_and_falls_to_zero_again():
    recipe = Recipe(epochs=4, restarts=(2,), learning_rate=1.0, warmup=0.2)
    short = recipe.replace(epochs=2, restarts=None)
    rates = [learning_rate(recipe, step, steps=40) for step in range(40)]
    assert rates[:20] == rates[20:] == [learning_rate(short, step, steps=20) for step in range(20)]


def test_a_constant_learning_rate_goes_on():
    recipe = Recipe(epochs=4, restarts=(2,), learning_rate=1.0, warmup=0.2, schedule="constant")
    assert {learning_rate(recipe, step, steps=40) for step in range(4, 40)} == {1.0}


def test_growing_sizes_stay_at_the_last_one():
    recipe = Recipe(epochs=4, restarts=(2,), sizes="16:0.5,32:0.5", image_size=32)
    assert [step_image_size(recipe, step, steps=8) for step in range(8)] == [16, 16] + [32] * 6
