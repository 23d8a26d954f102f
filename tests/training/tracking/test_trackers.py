import json
import logging
import sys

import pytest
from commands import orbitune
from samples import backbone_folder, tile_folder

from orbitune import Recipe, train
from orbitune.errors import OrbituneError
from orbitune.training.callbacks import Callback
from orbitune.training.run import open_run
from orbitune.training.tracking.tracker import Tracker
from orbitune.training.tracking.trackers import TRACKERS, make_trackers

pytestmark = pytest.mark.slow

STEPS = [1, 2, 3, 4, 5, 6]


class StopAtEnd(Callback):
    """Stops a process after the result was saved, before trackers hear of it."""

    def on_train_end(self, result):
        raise RuntimeError("stopped")


class Stop(Callback):
    """Stops a run after a step, as a fault of the machine would."""

    def __init__(self, step):
        self._step = step

    def on_step_end(self, step, loss, *, learning_rate):
        if step == self._step:
            raise RuntimeError("stopped")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """Six steps in two epochs."""
    place = tmp_path_factory.mktemp("tracking")
    tiles, backbone = tile_folder(place / "tiles", each=10), backbone_folder(place / "backbone", layers=1)
    return Recipe(
        data=str(tiles), backbone=str(backbone), method="linear", epochs=2, batch_size=6, precision="fp32"
    )


def train_in_two_parts(recipe, out, tracker):
    """Train to step 4, then to the end, with a tracker; return the result."""
    with pytest.raises(RuntimeError, match="stopped"):
        train(recipe, out, callbacks=[*make_trackers([tracker], out), Stop(4)], progress=False)
    return train(recipe, out, callbacks=make_trackers([tracker], out), progress=False)


def test_tensorboard_events_hold_every_step_once_after_a_run_was_resumed(recipe, tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    result = train_in_two_parts(recipe, tmp_path / "run", "tensorboard")
    read = events.EventAccumulator(str(tmp_path / "run" / "tracking" / "tensorboard"))
    read.Reload()
    assert [event.step for event in read.Scalars("train/loss")] == STEPS
    validated = read.Scalars("epoch/validation_accuracy")
    assert [event.step for event in validated] == [3, 6]
    assert [event.value for event in validated] == pytest.approx(
        [epoch.validation_accuracy for epoch in result.history]
    )
    [tested] = read.Scalars("test/accuracy")
    assert tested.value == pytest.approx(result.test.accuracy)


def test_the_further_epochs_of_an_extended_run_are_tracked_too(recipe, tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    out = tmp_path / "run"
    for epochs in (1, 2):
        longer = recipe.replace(epochs=epochs)
        train(longer, out, callbacks=make_trackers(["tensorboard"], out), progress=False)
    read = events.EventAccumulator(str(out / "tracking" / "tensorboard"))
    read.Reload()
    assert [event.step for event in read.Scalars("train/loss")] == STEPS
    assert [event.step for event in read.Scalars("test/accuracy")] == [3, 6]
    assert [event.step for event in read.Tensors("recipe/text_summary")] == [0, 3]


def test_an_mlflow_database_holds_one_run_with_every_step_once(recipe, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    result = train_in_two_parts(recipe, tmp_path / "run", "mlflow")
    client = mlflow.MlflowClient(uri, registry_uri=uri)
    [run] = client.search_runs([client.get_experiment_by_name("orbitune").experiment_id])
    assert run.info.status == "FINISHED" and run.info.run_name == "run"
    assert (run.data.params["method"], run.data.params["lora.rank"]) == ("linear", "8")
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [metric.step for metric in history] == STEPS
    assert run.data.metrics["test/accuracy"] == pytest.approx(result.test.accuracy)


def test_mlflow_has_the_new_number_of_epochs_of_an_extended_run_as_a_tag(recipe, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    uri, out = f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "run"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for epochs in (1, 2):
        train(recipe.replace(epochs=epochs), out, callbacks=make_trackers(["mlflow"], out), progress=False)
    client = mlflow.MlflowClient(uri, registry_uri=uri)
    [run] = client.search_runs([client.get_experiment_by_name("orbitune").experiment_id])
    assert run.data.params["epochs"] == "1"  # MLflow does not let parameters change
    assert (run.data.tags["recipe.epochs"], run.data.tags["recipe.restarts"]) == ("2", "[1]")
    assert not {"recipe.method", "recipe.seed"} & run.data.tags.keys()


def test_weights_and_biases_writes_offline_runs_under_one_id(recipe, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    for name, value in (("MODE", "offline"), ("CACHE_DIR", tmp_path), ("CONFIG_DIR", tmp_path)):
        monkeypatch.setenv(f"WANDB_{name}", str(value))
    train_in_two_parts(recipe, tmp_path / "run", "wandb")
    run_id = json.loads((tmp_path / "run" / "tracking" / "wandb.json").read_text())["run_id"]
    written = list((tmp_path / "run" / "tracking" / "wandb").glob(f"offline-run-*/run-{run_id}.wandb"))
    assert len(written) == 2 and all(file.stat().st_size > 500 for file in written)


def test_the_command_line_tracks_a_run(recipe, tmp_path):
    pytest.importorskip("tensorboard")
    recipe.save(tmp_path / "recipe.yaml")
    given = ("--recipe", tmp_path / "recipe.yaml", "--out", tmp_path / "run", "--track", "tensorboard")
    assert orbitune("train", *given, "--quiet").returncode == 0
    assert list((tmp_path / "run" / "tracking" / "tensorboard").glob("events.out.tfevents.*"))


def test_test_scores_are_sent_once_by_the_process_after_one_that_ended_too_early(recipe, tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    out = tmp_path / "run"
    with pytest.raises(RuntimeError, match="stopped"):
        train(recipe, out, callbacks=[StopAtEnd(), *make_trackers(["tensorboard"], out)], progress=False)
    for _ in range(2):
        result = train(recipe, out, callbacks=make_trackers(["tensorboard"], out), progress=False)
    read = events.EventAccumulator(str(out / "tracking" / "tensorboard"))
    read.Reload()
    [tested] = read.Scalars("test/accuracy")
    assert tested.value == pytest.approx(result.test.accuracy)
    assert [event.step for event in read.Scalars("train/loss")] == STEPS


def test_an_unknown_tracker_is_one_line_that_names_those_there_are(tmp_path):
    with pytest.raises(OrbituneError, match=r"Unknown tracker 'x'\. Choose from: tensorboard"):
        make_trackers(["x"], tmp_path)


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_that_is_not_installed_is_one_line_that_names_the_extra(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, TRACKERS[name].modules[0], None)
    with pytest.raises(OrbituneError, match=r"pip install 'orbitune\[tracking\]'"):
        make_trackers([name], tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Unreachable(Tracker):
    """A tracker whose server is gone, from the start or once the run is under way."""

    name, modules = "unreachable", ("json",)
    starts = True

    def start(self, recipe, run_id, first_step):
        if not self.starts:
            raise OSError("no route to host")
        return "id"

    def change(self, settings, *, step):
        pass

    def send(self, rows):
        raise OSError("no route to host")

    def finish(self, status):
        raise AssertionError("it was dropped before")


def test_a_failing_tracker_is_dropped_with_a_warning_and_training_continues(recipe, tmp_path, caplog):
    with open_run(recipe, tmp_path / "run", progress=False) as run, caplog.at_level(logging.WARNING):
        trainer = run.fit(callbacks=Unreachable(tmp_path / "run"))
    assert len(trainer.state.history) == 2
    [message] = [record.getMessage() for record in caplog.records]
    assert message == "Tracking with unreachable stopped: no route to host. Training continues."


def test_a_tracker_that_does_not_start_is_one_clear_error(recipe, tmp_path):
    tracker = Unreachable(tmp_path / "run")
    tracker.starts = False
    with pytest.raises(OrbituneError, match="Tracking with unreachable cannot start: no route to host"):
        train(recipe, tmp_path / "run", callbacks=[tracker], progress=False)
    assert not (tmp_path / "run").exists()  # free for the next attempt
