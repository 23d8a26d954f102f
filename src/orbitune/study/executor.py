"""Executors of a study's tasks: the protocol, and parallel local processes.

An executor starts tasks and reports which have ended; `run_tasks` schedules them. Every task is a command of
the command line that resumes where it was stopped.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from orbitune.errors import DivergedError, OrbituneError
from orbitune.processes.child_processes import POLL_SECONDS, ChildProcess
from orbitune.processes.launcher import ForkServer
from orbitune.resources import core_count
from orbitune.study.status import Status


@dataclass(frozen=True)
class Task:
    """A command for a process of its own.

    Attributes:
        name: unique in the study; shown to the user and used for the log file.
        arguments: verb and options of the command line.
        describe_result: turns the JSON it prints into one line for the user.
        folder: run folder, whose log of epochs shows the progress; None for a plan.
        epochs: number of epochs it trains.
        seconds: expected duration; None if not planned.
    """

    name: str
    arguments: tuple[str, ...]
    describe_result: Callable[[dict[str, Any]], str]
    folder: Path | None = None
    epochs: int = 0
    seconds: float | None = None


@dataclass(frozen=True)
class Outcome:
    """Result of a task: the JSON it printed, or an error."""

    value: dict[str, Any] | None = None
    error: OrbituneError | None = None

    @property
    def status(self) -> Status:
        """`done`, `diverged` or `failed`."""
        if self.error is None:
            return "done"
        return "diverged" if isinstance(self.error, DivergedError) else "failed"

    @property
    def message(self) -> str | None:
        """Text of the error; None where there is none."""
        return None if self.error is None else str(self.error)


class Executor(Protocol):
    """Executor of tasks in processes of this machine or of a cluster.

    Attributes:
        name: as in `--executor`.
        slots: number of tasks at once.
    """

    name: str
    slots: int

    @property
    def threads(self) -> int | None:
        """Return the threads of each task; None leaves the choice to the task."""

    @property
    def running(self) -> list[Task]:
        """Return the tasks that were started and have not ended."""

    def start(self, task: Task) -> None:
        """Start a task; a slot must be free."""

    def poll(self) -> list[tuple[Task, Outcome]]:
        """Return the tasks that ended since the last call.

        Wait a moment if there are none.

        Raises:
            Interrupted: a task received SIGINT.
        """

    def stop(self) -> None:
        """Interrupt all running tasks; each saves its state."""

    def close(self) -> None:
        """Release what the executor holds."""


class TaskObserver(Protocol):
    """Observer of the events of `run_tasks`."""

    def begin(self, total: int) -> None:
        """Handle the start of a stage of `total` tasks."""

    def started(self, task: Task) -> None:
        """Handle the start of a task."""

    def ended(self, task: Task, outcome: Outcome) -> None:
        """Handle the end of a task."""

    def refresh(self, running: Sequence[Task], waiting: Sequence[Task], *, slots: int) -> None:
        """Update the display; called often."""


def run_tasks(
    executor: Executor,
    tasks: Sequence[Task],
    *,
    observer: TaskObserver,
    on_end: Callable[[Task, Outcome], None],
) -> None:
    """Run all tasks, as many at once as the executor has slots.

    A task that fails does not stop the others. SIGINT stops all of them, and each saves its state.

    Args:
        executor: runs the tasks.
        tasks: in the order in which they are started.
        observer: shows the progress.
        on_end: called with each task and its outcome as soon as it has ended.
    """
    waiting = deque(tasks)
    observer.begin(len(tasks))
    try:
        while waiting or executor.running:
            while waiting and len(executor.running) < executor.slots:
                task = waiting.popleft()
                observer.started(task)
                executor.start(task)
            for task, outcome in executor.poll():
                on_end(task, outcome)
                observer.ended(task, outcome)
            observer.refresh(executor.running, waiting, slots=executor.slots)
    finally:
        executor.stop()


class LocalExecutor:
    """Executor of tasks on this machine, which share its cores equally.

    Args:
        jobs: number of tasks at once.
        logs: folder for the stderr of each task; None to share ours.
    """

    name = "local"

    def __init__(self, jobs: int, logs: Path | None) -> None:
        self.slots, self.logs = jobs, logs
        self._children: dict[Task, ChildProcess] = {}
        self._server: ForkServer | None = None

    @property
    def threads(self) -> int | None:
        """Return the threads of each task; None lets a single task use all cores."""
        return max(1, core_count() // self.slots) if self.slots > 1 else None

    @property
    def running(self) -> list[Task]:
        """Return the tasks that were started and have not ended."""
        return list(self._children)

    def start(self, task: Task) -> None:
        """Start a task in a child process."""
        if self._server is None:
            self._server = ForkServer.spawn(self.threads)
        log = log_file(self.logs, task)
        self._children[task] = ChildProcess(
            "orbitune", *task.arguments, log=log, threads=self.threads, server=self._server
        )

    def poll(self) -> list[tuple[Task, Outcome]]:
        """Return the tasks that ended since the last call, see `Executor.poll`."""
        gone = [task for task, child in self._children.items() if child.process.poll() is not None]
        if not gone:
            time.sleep(POLL_SECONDS)
        return [(task, self._outcome(self._children.pop(task))) for task in gone]

    def _outcome(self, child: ChildProcess) -> Outcome:
        try:
            return Outcome(child.result())
        except OrbituneError as error:
            return Outcome(error=error)

    def stop(self) -> None:
        """Interrupt all child processes and wait until they have saved their state."""
        for child in self._children.values():
            child.interrupt()
        for child in self._children.values():
            child.process.wait()
        self._children.clear()

    def close(self) -> None:
        """Stop all child processes, and the server that forks them."""
        self.stop()
        if self._server:
            self._server.close()
            self._server = None


def log_file(logs: Path | None, task: Task) -> Path | None:
    """Return the log file of a task and create its folder; None without a folder."""
    if logs is None:
        return None
    logs.mkdir(parents=True, exist_ok=True)
    return logs / f"{task.name.replace(' ', '-')}.log"
