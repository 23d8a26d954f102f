"""What a person sees while a study works: a live table of the running tasks on a terminal, else plain lines.

How far a run is stands in its folder's log of epochs, so the table needs no word with the run itself.
"""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from orbitune.study.executor import Outcome, Task

REFRESH_SECONDS = 0.5


class LiveTable:
    """Shows the tasks of a study on stderr.

    Args:
        say: receives a line about each start and end.
        live: show a table of what runs instead of the starts, and print the other lines above it.
    """

    def __init__(self, say: Callable[[str], None], live: bool = False) -> None:
        console = Console(stderr=True)
        self._live = Live(console=console, auto_refresh=False, transient=True) if live else None
        self._say = say
        self._started: dict[str, float] = {}
        self._numbers = {"done": 0, "failed": 0, "diverged": 0}
        self._total = 0
        self._refreshed = 0.0

    def __enter__(self) -> "LiveTable":
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def line(self, text: str) -> None:
        """Say something that stays."""
        if self._live:
            self._live.console.print(text, highlight=False, markup=False, soft_wrap=True)
        else:
            self._say(text)

    def begin(self, total: int) -> None:
        """A stage with so many tasks begins."""
        self._total, self._numbers = total, dict.fromkeys(self._numbers, 0)
        self._started.clear()

    def started(self, task: Task) -> None:
        """A task begins."""
        self._started[task.name] = time.monotonic()
        if not self._live:
            self.line(f"[{len(self._started)}/{self._total}] {task.name}")

    def ended(self, task: Task, outcome: Outcome) -> None:
        """A task has ended."""
        self._numbers[outcome.status] += 1
        said = (
            f"{outcome.status}: {outcome.error}"
            if outcome.value is None
            else task.describe_result(outcome.value)
        )
        self.line(f"{task.name}: {said}" if self._live else f"  {task.name}: {said}")

    def refresh(self, running: Sequence[Task], waiting: Sequence[Task], slots: int) -> None:
        """Draw the table again, now and then."""
        now = time.monotonic()
        if self._live and now - self._refreshed > REFRESH_SECONDS:
            self._refreshed = now
            self._live.update(self.table(running, waiting, slots), refresh=True)

    def table(self, running: Sequence[Task], waiting: Sequence[Task], slots: int) -> Table:
        """A row for each running task, and below them how much of the stage is done and how much is left."""
        now = time.monotonic()
        table = Table(box=None, pad_edge=False, header_style="bold", caption_justify="left")
        for head in ("running", "epoch", "validation accuracy", "time", "left"):
            table.add_column(head, justify="left" if head == "running" else "right")
        lefts = []
        for task in running:
            spent = now - self._started[task.name]
            log = read_epochs(task)
            lefts.append(seconds_left(task, log, spent))
            table.add_row(
                task.name,
                f"{len(log)}/{task.epochs}" if task.epochs else "",
                f"{log[-1]['validation_accuracy']:.2%}" if log else "",
                format_duration(spent),
                format_duration(lefts[-1]),
            )
        table.caption = self._caption(lefts + [task.seconds for task in waiting], len(waiting), slots)
        return table

    def _caption(self, lefts: Sequence[float | None], waiting: int, slots: int) -> str:
        counts = [f"{count} {status}" for status, count in self._numbers.items() if count]
        known = [seconds for seconds in lefts if seconds is not None]
        left = (
            f"about {format_duration(sum(known) / slots)} left" if known and len(known) == len(lefts) else ""
        )
        return ", ".join(filter(None, [f"{self._total} in all", *counts, f"{waiting} waiting", left]))


def read_epochs(task: Task) -> list[dict[str, Any]]:
    """The epochs that the run of a task has finished so far."""
    if task.folder is None:
        return []
    with suppress(OSError, ValueError):
        return [json.loads(line) for line in (task.folder / "log.jsonl").read_text().splitlines()]
    return []


def seconds_left(task: Task, epochs: Sequence[dict[str, Any]], spent: float) -> float | None:
    """How long a task still takes: by the epochs it has finished, else by its plan; None if neither says."""
    if epochs:
        each = sum(entry["train_seconds"] + entry["evaluation_seconds"] for entry in epochs) / len(epochs)
        return max(0.0, (task.epochs - len(epochs)) * each)
    return None if task.seconds is None else max(0.0, task.seconds - spent)


def format_duration(seconds: float | None) -> str:
    """A duration for a narrow column: 45 s, 12 min, 3.5 h; nothing for None."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
