"""A trial is the beginning of a run, and leaves the test split sealed."""

import json

import numpy as np
import pytest

from orbitune import Recipe, train
from orbitune.errors import DivergedError, RunError
from orbitune.training.trainer import Trainer
from orbitune.training.trial import TrialResult, trial


@pytest.fixture(scope="module")
def recipe(tiles, backbone):
    return Recipe(data=tiles, backbone=backbone, method="linear", epochs=4, batch_size=16)


@pytest.fixture(scope="module")
def finished(recipe, tmp_path_factory):
    """A run without a pause: its result, and its folder."""
    folder = tmp_path_factory.mktemp("run") / "run"
    return train(recipe, folder, progress=False), folder


def without_times(history):
    return [
        {name: value for name, value in epoch.to_json().items() if "seconds" not in name} for epoch in history
    ]


def test_a_trial_trains_the_first_epochs_of_a_run(recipe, finished, tmp_path):
    result = trial(recipe, tmp_path / "t", epochs=2, progress=False)
    assert without_times(result.history) == without_times(finished[0].history[:2])
    assert result.seconds > 0
    assert TrialResult.load(tmp_path / "t") == result


def test_a_trial_never_reads_the_test_split(recipe, tmp_path, monkeypatch):
    read, logits = [], Trainer.logits
    monkeypatch.setattr(
        Trainer, "logits", lambda self, split, *more: read.append(split) or logits(self, split, *more)
    )
    result = trial(recipe, tmp_path / "t", epochs=4, progress=False)
    assert set(read) == {"validation"}
    assert result.test_reads == 0
    assert not {"result.json", "predictions.npz", "adapter"} & {
        path.name for path in (tmp_path / "t").iterdir()
    }


def test_a_continued_trial_equals_an_uninterrupted_run(recipe, finished, tmp_path):
    for epochs in (1, 3):
        assert len(trial(recipe, tmp_path / "t", epochs=epochs, progress=False).history) == epochs
    result = train(recipe, tmp_path / "t", progress=False)
    assert (result.test, result.validation) == (finished[0].test, finished[0].validation)
    paused, whole = (np.load(folder / "predictions.npz") for folder in (tmp_path / "t", finished[1]))
    assert all(np.array_equal(paused[name], whole[name]) for name in whole.files)


def test_a_trial_that_has_the_epochs_is_not_repeated(recipe, tmp_path):
    first = trial(recipe, tmp_path / "t", epochs=2, progress=False)
    before = (tmp_path / "t" / "trial.json").stat().st_mtime_ns
    assert trial(recipe, tmp_path / "t", epochs=1, progress=False) == first
    assert (tmp_path / "t" / "trial.json").stat().st_mtime_ns == before


def test_a_diverged_trial_raises_again_without_training(recipe, tmp_path):
    hot = recipe.replace(method="full", learning_rate=1e30)
    with pytest.raises(DivergedError, match="not finite"):
        trial(hot, tmp_path / "t", epochs=4, progress=False)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "t").iterdir()}
    for again in (
        lambda: trial(hot, tmp_path / "t", epochs=4, progress=False),
        lambda: train(hot, tmp_path / "t", progress=False),
    ):
        with pytest.raises(
            DivergedError, match=r"not finite.* An earlier attempt ended so too; remove .*t to"
        ):
            again()
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "t").iterdir()} == before


def test_a_damaged_trial_is_one_clear_error(tmp_path):
    stored = TrialResult(recipe=Recipe(), history=(), seconds=1.0, test_reads=0).to_json()
    (tmp_path / "trial.json").write_text(json.dumps({**stored, "history": 1}))
    with pytest.raises(RunError, match="damaged or of another version"):
        TrialResult.load(tmp_path)
