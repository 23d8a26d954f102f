"""Divergence is reported as such in a step, on validation, or at the end."""

import re

import pytest
import torch
from epochs import epoch
from samples import backbone_folder, tile_folder

from orbitune.errors import DivergedError, RunError
from orbitune.evaluation.run_result import describe_fall
from orbitune.models.checkpoint_io import TOLERANCE, tolerance
from orbitune.recipe import Recipe
from orbitune.training.run import train
from orbitune.training.stored.records import Divergence
from orbitune.training.trainer import Trainer


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    place = tmp_path_factory.mktemp("diverged")
    return {
        "data": str(tile_folder(place / "tiles", each=10)),
        "backbone": str(backbone_folder(place / "backbone")),
        "batch_size": 8,
        "epochs": 1,
    }


def diverges(inputs, out, **settings):
    """The run's error: one line, of the kind a study knows, and recorded."""
    with pytest.raises(DivergedError, match=r"Lower --learning-rate\.$") as error:
        train(Recipe.make({**inputs, **settings}), out, progress=False)
    assert error.value.kind == "diverged" and "\n" not in str(error.value)
    assert Divergence.read(out / "diverged.json").error == str(error.value)
    assert not (out / "result.json").exists() and not (out / "checkpoint").exists()
    return str(error.value)


@pytest.mark.parametrize("method", ["lora", "full", "linear"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_rate_of_a_million_diverges(inputs, tmp_path, method, precision):
    diverges(inputs, tmp_path / "run", method=method, precision=precision, learning_rate=1e6)


def test_a_training_accuracy_that_falls_by_more_than_a_fifth_is_warned_of():
    accuracies = (0.77, 0.62, 0.4, 0.3)
    history = [epoch(number, train_accuracy=accuracy) for number, accuracy in enumerate(accuracies, 1)]
    found = [describe_fall(history[:count]) for count in (1, 2, 3, 4)]
    assert [each is None for each in found] == [True, True, False, True]
    assert "fell from 62.0 to 40.0 % in epoch 3: the learning rate may be too high" in found[2]


def poison(trainer, value):
    with torch.no_grad():
        next(p for p in trainer.model.parameters() if p.requires_grad).fill_(value)


def test_what_shows_on_validation_alone_is_divergence(inputs, tmp_path, monkeypatch):
    step = Trainer.step

    def last_step_breaks(self):
        loss = step(self)
        if self.state.step == self.setup.steps_per_epoch:
            poison(self, float("nan"))
        return loss

    monkeypatch.setattr(Trainer, "step", last_step_breaks)
    assert "outputs are not finite" in diverges(inputs, tmp_path / "run")
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_what_shows_at_the_end_alone_is_divergence_and_no_failed_reload(inputs, tmp_path, monkeypatch):
    fit = Trainer.fit

    def keep_broken_weights(self, epochs=None):
        fit(self, epochs)
        from orbitune.training.checkpoint import save_best

        poison(self, 3e38)
        save_best(self.folder.best, self.model, epoch=1)

    monkeypatch.setattr(Trainer, "fit", keep_broken_weights)
    assert "outputs are not finite" in diverges(inputs, tmp_path / "run", method="full", precision="fp32")


def test_a_diverged_run_raises_the_same_error_again(inputs, tmp_path):
    diverges(inputs, tmp_path / "run", learning_rate=1e6)
    with pytest.raises(DivergedError, match="An earlier attempt ended so too"):
        train(Recipe.make({**inputs, "learning_rate": 1e6}), tmp_path / "run", progress=False)


@pytest.mark.parametrize(
    ("rate", "difference"),
    [
        (1e-3, r"--learning-rate: 0\.001, not 1000000\.0"),
        (None, r"it has --learning-rate 1000000\.0, which the command leaves out"),
    ],
)
def test_with_another_rate_the_user_reads_to_remove_a_diverged_run(inputs, tmp_path, rate, difference):
    diverges(inputs, out := tmp_path / "run", learning_rate=1e6)
    again = Recipe.make(inputs if rate is None else {**inputs, "learning_rate": rate})
    with pytest.raises(RunError) as error:
        train(again, out, progress=False)
    assert re.fullmatch(
        rf".*run holds a diverged run of another recipe \({difference}\)\. Remove .*run, or choose another "
        r"--out\.",
        str(error.value),
    )


def test_a_divergence_that_version_0_1_stored_raises_it_again(inputs, tmp_path):
    diverges(inputs, tmp_path / "run", learning_rate=1e6)
    (tmp_path / "run" / "diverged.json").write_text('{"error": "The loss is not finite."}')
    with pytest.raises(DivergedError, match=r"not finite\. An earlier attempt"):
        train(Recipe.make({**inputs, "learning_rate": 1e6}), tmp_path / "run", progress=False)


def test_large_logits_may_differ_by_what_rounding_makes_of_them():
    assert tolerance(torch.tensor([[3.0, -2.0]])) == TOLERANCE
    assert tolerance(torch.tensor([[3.0, -1e4]])) == pytest.approx(0.1)
