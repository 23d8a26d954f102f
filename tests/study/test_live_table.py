"""The live table shows the runs in progress and their remaining time."""

import io

import pytest
from rich.console import Console

from orbitune.errors import DivergedError
from orbitune.evaluation.run_result import EpochMetrics
from orbitune.study.executor import Outcome, Task
from orbitune.study.live_table import LiveTable, format_duration, read_epochs, seconds_left
from orbitune.training.run_folder import log_text


def task(name, folder=None, seconds=None, epochs=4):
    return Task(name, (), lambda value: f"accuracy {value}", folder, epochs, seconds)


def logged(folder, *accuracies):
    epochs = [
        EpochMetrics(
            epoch=number,
            train_loss=0.5,
            train_accuracy=0.8,
            validation_loss=0.4,
            validation_accuracy=accuracy,
            learning_rate=1e-3,
            train_seconds=8.0,
            evaluation_seconds=2.0,
        )
        for number, accuracy in enumerate(accuracies, 1)
    ]
    (folder / "log.jsonl").write_text(log_text(epochs))
    return task("lora", folder)


def test_a_row_shows_epoch_accuracy_and_time_left(tmp_path):
    table, out = LiveTable(), io.StringIO()
    running, waiting = logged(tmp_path, 0.5, 0.875), task("full", seconds=100)
    table.begin(2)
    table.started(running)
    Console(file=out, width=100).print(table.table([running], [waiting], slots=1))
    assert "lora" in out.getvalue() and "2/4" in out.getvalue() and "87.50%" in out.getvalue()
    assert "20 s" in out.getvalue()  # two epochs of ten seconds
    assert "2 tasks, 1 waiting, about 2 min left" in out.getvalue()


def test_the_plan_states_the_time_of_a_run_without_epochs(tmp_path):
    assert read_epochs(task("lora", tmp_path)) == []
    assert seconds_left(task("lora", seconds=50), [], elapsed=20) == 30
    assert seconds_left(task("lora", seconds=50), [], elapsed=60) == 0
    assert seconds_left(task("lora"), [], elapsed=20) is None


def test_without_a_terminal_starts_and_ends_are_logged(caplog):
    caplog.set_level("INFO", logger="orbitune")
    table, one, other = LiveTable(), task("full"), task("lora")
    table.begin(2)
    table.started(one)
    table.ended(one, Outcome({"accuracy": 1}))
    table.started(other)
    table.ended(other, Outcome(error=DivergedError("not finite")))
    assert caplog.messages == [
        *("[1/2] full", "  full: accuracy {'accuracy': 1}", "[2/2] lora", "  lora: diverged: not finite")
    ]


@pytest.mark.parametrize(("seconds", "text"), [(None, ""), (45, "45 s"), (720, "12 min"), (12600, "3.5 h")])
def test_durations_fit_a_narrow_column(seconds, text):
    assert format_duration(seconds) == text
