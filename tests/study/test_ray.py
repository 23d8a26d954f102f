"""A study on Ray equals one on a single machine, even after a worker was killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from study_tasks import RecordingObserver

from orbitune.errors import Interrupted
from orbitune.evaluation.run_result import RunResult
from orbitune.study.executor import LocalExecutor, Task, run_tasks

pytestmark = pytest.mark.slow

pytest.importorskip("ray", reason="needs the extra ray")


@pytest.fixture(scope="module")
def recipe(recipe):
    return recipe.replace(method="linear", epochs=60)


def tasks_in(folder, recipe):
    """One run for each of two seeds."""
    tasks = []
    for seed in (0, 1):
        recipe.replace(seed=seed).save(folder / f"{seed}.yaml")
        out = folder / f"seed{seed}"
        arguments = ("train", "--recipe", str(folder / f"{seed}.yaml"), "--out", str(out), "--json")
        tasks.append(Task(out.name, arguments, str, out, recipe.epochs))
    return tasks


def outcomes_of(executor, tasks):
    outcomes = {}
    run_tasks(
        executor,
        tasks,
        observer=RecordingObserver(),
        on_end=lambda task, outcome: outcomes.update({task.name: outcome}),
    )
    return outcomes


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A local Ray with two workers of one thread, started as by a script."""
    from orbitune.study.ray import RayExecutor

    folder = tmp_path_factory.mktemp("ray")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # what such a script starts inherits this
    executor = RayExecutor(2, folder)
    signal.signal(signal.SIGINT, before)
    yield executor, folder
    executor.close()


def worker_of(folder):
    """The process of the Ray task that trains in this folder."""
    for process in Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            if b"train" in words and str(folder).encode() in words:
                return int((process / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
    return None


def kill_worker_once_it_trains(folder):
    while not (folder / "checkpoint" / "state.safetensors").exists():
        time.sleep(0.005)
    os.kill(worker_of(folder), signal.SIGKILL)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the worker through /proc")
def test_a_killed_worker_is_replaced_and_the_results_are_those_of_one_machine(recipe, cluster, tmp_path):
    executor, folder = cluster
    assert executor.slots == 2
    tasks = tasks_in(folder, recipe)
    killer = threading.Thread(target=kill_worker_once_it_trains, args=(tasks[1].folder,))
    killer.start()
    spread = outcomes_of(executor, tasks)
    killer.join()
    local = LocalExecutor(2, tmp_path / "logs")
    assert local.threads == executor.threads
    outcomes_of(local, tasks_in(tmp_path, recipe))
    assert [spread[task.name].error for task in tasks] == [None, None]
    assert RunResult.load(tasks[1].folder).cost.resumed >= 1
    for task in tasks:
        mine, theirs = (RunResult.load(place / task.name) for place in (folder, tmp_path))
        assert (mine.test, mine.validation, mine.test_reads) == (theirs.test, theirs.validation, 1)
        mine, theirs = (np.load(place / task.name / "predictions.npz") for place in (folder, tmp_path))
        assert all(np.array_equal(mine[name], theirs[name]) for name in theirs.files)


def test_a_task_that_fails_on_a_node_ends_with_its_own_error(recipe, cluster):
    executor, folder = cluster
    recipe.replace(backbone="./nothing").save(folder / "lost.yaml")
    lost = Task("lost", ("plan", "--recipe", str(folder / "lost.yaml"), "--json"), str)
    outcome = outcomes_of(executor, [lost])["lost"]
    assert outcome.status == "failed" and "no backbone folder" in str(outcome.error)


def test_an_interrupt_lets_a_run_on_a_node_save_its_state(recipe, cluster):
    executor, folder = cluster
    recipe.replace(epochs=100_000).save(folder / "long.yaml")
    out = folder / "long"
    arguments = ("trial", "--recipe", str(folder / "long.yaml"), "--stop-after", "100000", "--out", str(out))
    state = out / "checkpoint" / "state.safetensors"
    with pytest.raises(Interrupted, match="enough"):
        run_tasks(
            executor,
            [Task("long", arguments, str, out)],
            observer=RecordingObserver(state.exists),
            on_end=lambda task, outcome: None,
        )
    assert "Stopped after step" in (folder / "logs" / "long.log").read_text()


def test_a_cluster_that_is_not_there_is_one_clear_line(recipe, tmp_path):
    recipe.save(tmp_path / "r.yaml")
    command = [sys.executable, "-m", "orbitune", "study", "--recipe", str(tmp_path / "r.yaml")]
    done = subprocess.run(
        [*command, "--methods", "linear", "--executor", "ray", "--out", str(tmp_path / "s")],
        capture_output=True,
        text=True,
        env={**os.environ, "RAY_ADDRESS": "127.0.0.1:1"},
    )
    assert done.returncode == 2
    assert "There is no Ray cluster at 127.0.0.1:1" in done.stderr.splitlines()[-1]
