"""Executor of a Ray cluster (Moritz et al. 2018, arXiv:1712.05889).

Only the command of a task is sent: the study's folder, the data and the backbone must be on a filesystem that
all nodes see at the same path, which is checked for the folder before the first task. A task whose worker was
killed is started again by Ray on any node, and resumes from its run's checkpoint.
"""

import os
import signal
import uuid
from pathlib import Path
from typing import Any

from orbitune.errors import CONTINUE, DivergedError, Interrupted, OrbituneError, RunError, first_line
from orbitune.files import write_text
from orbitune.machine.cluster import connect
from orbitune.processes.child_processes import POLL_SECONDS, run_module
from orbitune.resources import core_count
from orbitune.study.executor import Outcome, Task, log_file

RETRIES = 3
PATIENCE = 120.0  # seconds in which the process of a killed worker finishes its step and saves


class RayExecutor:
    """Executor on the Ray cluster of RAY_ADDRESS, else on a local one.

    Args:
        jobs: tasks at once, each with an equal part of the cores; None for one per node.
        folder: the study's folder; every node must see it.

    Raises:
        RunError: Ray is not installed, there is no cluster, or a node does not see the folder.
    """

    name = "ray"

    def __init__(self, jobs: int | None, folder: Path) -> None:
        ray = connect(core_count())
        self._running: dict[Any, Task] = {}
        self._logs = folder.resolve() / "logs"
        nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        counts = [int(node["Resources"]["CPU"]) for node in nodes]
        self.slots = jobs or len(nodes)
        # A task lives on one node.
        self._cores = max(1, min(sum(counts) // self.slots, *counts))
        try:
            _check_folder(folder.resolve(), nodes)
        except BaseException:
            ray.shutdown()
            raise

    @property
    def threads(self) -> int:
        """Return the threads of each task: all cores that Ray reserves for it."""
        return self._cores

    @property
    def running(self) -> list[Task]:
        """Return the tasks that were started and have not ended."""
        return list(self._running.values())

    def start(self, task: Task) -> None:
        """Start a task on any node."""
        import ray

        remote = ray.remote(num_cpus=self._cores, max_retries=RETRIES)(_run_task)
        folder = str(task.folder.resolve()) if task.folder else None
        reference = remote.remote(
            task.arguments, folder, str(log_file(self._logs, task)), self._cores, str(Path.cwd())
        )
        self._running[reference] = task

    def poll(self) -> list[tuple[Task, Outcome]]:
        """Return the tasks that ended since the last call, see `Executor.poll`."""
        import ray

        ready, _ = ray.wait(list(self._running), timeout=POLL_SECONDS)
        return [(self._running.pop(reference), _outcome(reference)) for reference in ready]

    def stop(self) -> None:
        """Cancel all running tasks and wait until they have saved their state."""
        import ray

        for reference in self._running:
            ray.cancel(reference)  # as Ctrl-C would: the worker passes it on, and the run saves its state
        if self._running:
            ray.wait(list(self._running), num_returns=len(self._running), timeout=PATIENCE)
        self._running.clear()

    def close(self) -> None:
        """Disconnect from the cluster."""
        import ray

        ray.shutdown()


def _check_folder(folder: Path, nodes: list[dict[str, Any]]) -> None:
    """Check that every node sees a file that was just written into the folder."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    token = folder / f".seen-by-all-{uuid.uuid4().hex}"
    write_text(token, "Orbitune looks whether all nodes see this folder.\n")
    try:
        look = ray.remote(num_cpus=0)(os.path.isfile)
        for node in nodes:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            if not ray.get(look.options(scheduling_strategy=there).remote(str(token))):
                raise RunError(
                    f"The node {node['NodeManagerAddress']} does not see {folder}. A study on a Ray cluster "
                    "needs a folder on a filesystem that all nodes share: choose another --out."
                )
    finally:
        token.unlink(missing_ok=True)


def _run_task(
    arguments: tuple[str, ...], folder: str | None, log: str, threads: int, place: str
) -> tuple[str, Any]:
    """Run a task on a node.

    Return `done` with its JSON, or the status and message of its error.
    """
    # Workers of a Ray that a script started in the background ignore SIGINT, and a cancel would do nothing.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if not Path(place).is_dir():
            raise RunError(f"a node does not see {place}, where the study was started.")
        os.chdir(place)
        if folder:
            _wait_for_predecessor(Path(folder))
        return "done", run_module("orbitune", *arguments, log=Path(log), threads=threads)
    except DivergedError as error:
        return "diverged", str(error)
    except OrbituneError as error:
        return "failed", str(error)
    except Interrupted:
        return "interrupted", None


def _wait_for_predecessor(folder: Path) -> None:
    """Wait until a killed worker's run has saved its state and released its lock."""
    from filelock import FileLock, Timeout

    lock = folder / "checkpoint" / "lock"
    if lock.exists():
        try:
            with FileLock(lock, timeout=PATIENCE):
                pass
        except (Timeout, OSError):
            pass  # the lock is gone, or the next attempt reports the cause


def _outcome(reference: Any) -> Outcome:
    """Return the outcome of a task on the cluster."""
    import ray

    try:
        status, reply = ray.get(reference)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        return Outcome(error=RunError(f"the Ray worker failed: {first_line(cause)}"))
    if status == "interrupted":
        raise Interrupted(f"Stopped. {CONTINUE}")
    if status == "done":
        return Outcome(reply)
    return Outcome(error=(DivergedError if status == "diverged" else RunError)(reply))
