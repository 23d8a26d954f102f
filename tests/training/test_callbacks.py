import pytest
from samples import backbone_folder, tile_folder

from orbitune import Recipe, train
from orbitune.errors import Interrupted
from orbitune.evaluation.run_result import RunResult
from orbitune.training.callbacks import Callback, CallbackList
from orbitune.training.run import open_run


class Recorder(Callback):
    """Records the events of a run."""

    def __init__(self):
        self.events, self.steps, self.rates = [], [], []

    def on_train_start(self, setup):
        self.events.append(("start", setup.recipe.method))

    def on_step_end(self, step, loss, *, learning_rate):
        self.steps.append(step)
        self.rates.append(learning_rate)

    def on_epoch_end(self, epoch, metrics):
        self.events.append(("epoch", epoch, metrics["validation_accuracy"]))

    def on_train_end(self, result):
        self.events.append(("end", result.test.accuracy))

    def on_exception(self, error):
        self.events.append(("exception", type(error)))


class FailsAtEnd(Callback):
    def on_train_end(self, result):
        raise ZeroDivisionError("of the callback")


class FailsAt(Callback):
    """Fails in one event, the first time that it comes to this step or epoch."""

    def __init__(self, event, number):
        setattr(self, event, self._fail)
        self._number = number

    def _fail(self, number, *_, **named):
        if number == self._number:
            raise ZeroDivisionError("of the callback")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """Six steps in two epochs."""
    place = tmp_path_factory.mktemp("callbacks")
    tiles, backbone = tile_folder(place / "tiles", each=10), backbone_folder(place / "backbone", layers=1)
    return Recipe(
        data=str(tiles), backbone=str(backbone), method="linear", epochs=2, batch_size=6, precision="fp32"
    )


@pytest.fixture(scope="module")
def observed(recipe, tmp_path_factory):
    """A finished run, and what its callback recorded."""
    out, recorder = tmp_path_factory.mktemp("observed") / "run", Recorder()
    train(recipe, out, callbacks=[recorder], progress=False)
    return out, recorder


def losses(history):
    return [(epoch.train_loss, epoch.validation_loss) for epoch in history]


def outcome(out):
    """What a run gives: scores, logits and losses."""
    result = RunResult.load(out)
    return result.test, losses(result.history), (out / "predictions.npz").read_bytes()


def test_a_callback_sees_the_start_each_step_and_epoch_and_the_end(observed):
    out, recorder = observed
    result = RunResult.load(out)
    epochs = [("epoch", e.epoch, e.validation_accuracy) for e in result.history]
    assert recorder.events == [("start", "linear"), *epochs, ("end", result.test.accuracy)]
    assert recorder.steps == [1, 2, 3, 4, 5, 6]
    assert recorder.rates[2] == result.history[0].learning_rate


def test_callbacks_change_no_result(recipe, observed, tmp_path):
    train(recipe, tmp_path / "alone", progress=False)
    assert outcome(tmp_path / "alone") == outcome(observed[0])


def test_a_finished_run_calls_no_callback(recipe, observed):
    recorder = Recorder()
    train(recipe, observed[0], callbacks=[recorder], progress=False)
    assert recorder.events == [] and recorder.steps == []


def fit(recipe, out, *callbacks):
    """Train a run to its last epoch, without reading the test split."""
    with open_run(recipe, out, progress=False) as run:
        return run.fit(callbacks=CallbackList(callbacks))


@pytest.mark.parametrize(("event", "number"), [("on_step_end", 2), ("on_step_end", 3), ("on_epoch_end", 1)])
def test_a_run_resumes_to_the_same_result_after_a_callback_failed(recipe, observed, tmp_path, event, number):
    with pytest.raises(ZeroDivisionError, match="of the callback"):
        fit(recipe, tmp_path / "run", FailsAt(event, number))
    again = Recorder()
    resumed = fit(recipe, tmp_path / "run", again)
    assert again.steps[0] == (4 if event == "on_epoch_end" else number + 1)
    assert losses(resumed.state.history) == losses(RunResult.load(observed[0]).history)


def test_the_other_callbacks_hear_of_the_one_that_failed(recipe, tmp_path):
    recorder = Recorder()
    with pytest.raises(ZeroDivisionError):
        train(recipe, tmp_path / "run", callbacks=[FailsAt("on_step_end", 1), recorder], progress=False)
    assert recorder.events[-1] == ("exception", ZeroDivisionError)


def test_a_callback_that_fails_at_the_end_loses_no_result(recipe, tmp_path):
    with pytest.raises(ZeroDivisionError):
        train(recipe, tmp_path / "run", callbacks=[FailsAtEnd()], progress=False)
    assert (tmp_path / "run" / "result.json").is_file()


def test_the_end_of_a_run_is_reported_when_an_earlier_process_could_not(recipe, tmp_path):
    with pytest.raises(ZeroDivisionError):
        train(recipe, tmp_path / "run", callbacks=[FailsAtEnd()], progress=False)
    second, third = Recorder(), Recorder()
    result = train(recipe, tmp_path / "run", callbacks=[second], progress=False)
    assert second.events == [("start", "linear"), ("end", result.test.accuracy)]
    train(recipe, tmp_path / "run", callbacks=[third], progress=False)
    assert third.events == [] and not (tmp_path / "run" / "checkpoint" / "state.safetensors").exists()


def test_an_interrupted_run_is_reported_as_such(recipe, tmp_path):
    class Interrupts(Callback):
        def on_step_end(self, step, loss, *, learning_rate):
            raise Interrupted("enough")

    recorder = Recorder()
    with pytest.raises(Interrupted):
        train(recipe, tmp_path / "run", callbacks=[recorder, Interrupts()], progress=False)
    assert recorder.events[-1] == ("exception", Interrupted)
