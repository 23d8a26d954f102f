"""Tasks run side by side in processes; a failure stops no other task."""

import json

import pytest
from study_tasks import RecordingObserver

from orbitune.errors import DivergedError, Interrupted, RunError
from orbitune.resources import core_count
from orbitune.study.executor import LocalExecutor, Outcome, Task, run_tasks


def trial(recipe, folder, name):
    recipe.save(folder / f"{name}.yaml")
    out = folder / name
    options = (
        "--recipe",
        str(folder / f"{name}.yaml"),
        "--stop-after",
        str(recipe.epochs),
        "--out",
        str(out),
    )
    return Task(name, ("trial", *options, "--json"), str, out, recipe.epochs)


@pytest.mark.slow
def test_tasks_run_side_by_side_and_one_that_fails_stops_no_other(recipe, tmp_path):
    recipe = recipe.replace(method="linear")
    tasks = [
        trial(recipe.replace(method="full", learning_rate=1e30, epochs=9), tmp_path, "hot"),
        Task("lost", ("robustness", str(tmp_path / "nothing"), "--tiles", "1", "--json"), str),
        trial(recipe, tmp_path, "well"),
    ]
    observer, outcomes = RecordingObserver(), {}
    run_tasks(
        LocalExecutor(2, tmp_path / "logs"),
        tasks,
        observer=observer,
        on_end=lambda task, outcome: outcomes.update({task.name: outcome}),
    )
    assert observer.statuses == {"hot": "diverged", "lost": "failed", "well": "done"}
    assert (observer.total, observer.most) == (3, 2)
    assert "There is no folder" in str(outcomes["lost"].error)
    assert len(outcomes["well"].value["history"]) == 1
    environment = json.loads((tmp_path / "well" / "environment.json").read_text())
    assert environment["threads"] == max(1, core_count() // 2)


@pytest.mark.slow
def test_an_interrupt_lets_every_running_task_save_its_state(recipe, tmp_path):
    recipe = recipe.replace(method="linear", epochs=100_000)
    tasks = [trial(recipe, tmp_path, name) for name in ("one", "two")]
    states = [task.folder / "checkpoint" / "state.safetensors" for task in tasks]
    executor = LocalExecutor(2, tmp_path / "logs")
    observer = RecordingObserver(lambda: all(state.exists() for state in states))
    with pytest.raises(Interrupted, match="enough"):
        run_tasks(executor, tasks, observer=observer, on_end=lambda task, outcome: None)
    assert executor.running == []
    for name in ("one", "two"):
        assert "Stopped after step" in (tmp_path / "logs" / f"{name}.log").read_text()


@pytest.mark.parametrize(
    ("outcome", "status", "message"),
    [
        (Outcome({}), "done", None),
        (Outcome(error=RunError("lost")), "failed", "lost"),
        (Outcome(error=DivergedError("not finite")), "diverged", "not finite"),
    ],
)
def test_an_outcome_has_a_status_and_a_message(outcome, status, message):
    assert (outcome.status, outcome.message) == (status, message)
