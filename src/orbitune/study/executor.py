"""Work that is done in processes, several at once: what a task is, and the engine of one machine.

An engine starts tasks and says which have ended; who hands them out, in which order, is written once, in
`run_tasks`. Every task is a verb of the command line that goes on where it was stopped.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from orbitune.errors import DivergedError, OrbituneError
from orbitune.resources import core_count
from orbitune.study.child_processes import POLL_SECONDS, Child


@dataclass(frozen=True)
class Task:
    """A verb of the command line for a process of its own.

    Attributes:
        name: what it is called, for its reader and its log file; no other task of the study has it.
        arguments: the verb and its options.
        tell: what to say of the JSON that it ends with.
        folder: the run folder it works in, where its log of epochs shows how far it is; None for a plan.
        epochs: how many it trains there.
        seconds: how long it takes by the plan, where there is one.
    """

    name: str
    arguments: tuple[str, ...]
    tell: Callable[[dict[str, Any]], str]
    folder: Path | None = None
    epochs: int = 0
    seconds: float | None = None


@dataclass(frozen=True)
class Outcome:
    """How a task ended: with its JSON, or with an error."""

    value: dict[str, Any] | None = None
    error: OrbituneError | None = None

    @property
    def status(self) -> str:
        """`done`, `diverged` or `failed`."""
        if self.error is None:
            return "done"
        return "diverged" if isinstance(self.error, DivergedError) else "failed"

    def facts(self) -> dict[str, str]:
        """The status, and the error if there is one, as results.json states them."""
        return {"status": self.status, **({"error": str(self.error)} if self.error else {})}


class Executor(Protocol):
    """Where tasks are done.

    Attributes:
        slots: how many at once.
    """

    name: str
    slots: int

    @property
    def threads(self) -> int | None:
        """What each task computes with; None leaves that to it."""

    @property
    def running(self) -> list[Task]:
        """The tasks that were started and have not ended."""

    def start(self, task: Task) -> None:
        """Begin a task; there must be a free slot."""

    def ended(self) -> list[tuple[Task, Outcome]]:
        """The tasks that ended since the last call; waits a moment where there are none.

        Raises:
            Interrupted: one of them received SIGINT.
        """

    def stop(self) -> None:
        """Let every running task save its state and end."""

    def close(self) -> None:
        """Give back what the engine holds."""


class Watcher(Protocol):
    """Who is told what happens to the tasks."""

    def begin(self, total: int) -> None: ...

    def started(self, task: Task) -> None: ...

    def ended(self, task: Task, outcome: Outcome) -> None: ...

    def refresh(self, running: Sequence[Task], waiting: Sequence[Task], slots: int) -> None: ...


def run_tasks(
    engine: Executor, tasks: Sequence[Task], watcher: Watcher, take: Callable[[Task, Outcome], None]
) -> None:
    """Do all tasks, as many at once as the engine has slots, and pass on how each ended as soon as it has.

    A task that fails does not stop the others; SIGINT stops all of them, and each saves its state.
    """
    waiting = deque(tasks)
    watcher.begin(len(tasks))
    try:
        while waiting or engine.running:
            while waiting and len(engine.running) < engine.slots:
                task = waiting.popleft()
                watcher.started(task)
                engine.start(task)
            for task, outcome in engine.ended():
                take(task, outcome)
                watcher.ended(task, outcome)
            watcher.refresh(engine.running, waiting, engine.slots)
    finally:
        engine.stop()


class LocalExecutor:
    """Processes on this machine, which share its cores.

    Args:
        jobs: how many at once; each computes with an equal part of the cores.
        logs: a folder for what they write on stderr; without one that shows on ours.
    """

    name = "local"

    def __init__(self, jobs: int, logs: Path | None) -> None:
        self.slots, self.logs = jobs, logs
        self._children: dict[Task, Child] = {}

    @property
    def threads(self) -> int | None:
        return max(1, core_count() // self.slots) if self.slots > 1 else None

    @property
    def running(self) -> list[Task]:
        return list(self._children)

    def start(self, task: Task) -> None:
        self._children[task] = Child(
            "orbitune", *task.arguments, log=log_file(self.logs, task), threads=self.threads
        )

    def ended(self) -> list[tuple[Task, Outcome]]:
        gone = [task for task, child in self._children.items() if child.process.poll() is not None]
        if not gone:
            time.sleep(POLL_SECONDS)
        return [(task, self._outcome(self._children.pop(task))) for task in gone]

    def _outcome(self, child: Child) -> Outcome:
        try:
            return Outcome(child.result())
        except OrbituneError as error:
            return Outcome(error=error)

    def stop(self) -> None:
        for child in self._children.values():
            child.interrupt()
        for child in self._children.values():
            child.process.wait()
        self._children.clear()

    def close(self) -> None:
        self.stop()


def log_file(logs: Path | None, task: Task) -> Path | None:
    """Where a task's messages go; the file is made if need be."""
    if logs is None:
        return None
    logs.mkdir(parents=True, exist_ok=True)
    return logs / f"{task.name.replace(' ', '-')}.log"
