"""Live table of a study's running tasks; in a log file, one line per event.

The progress of a run is read from the log of epochs in its folder; no other communication is needed.
"""

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

from orbitune.evaluation.run_result import EpochMetrics
from orbitune.study.executor import Outcome, Task

REFRESH_SECONDS = 0.5
_LOGGER = logging.getLogger(__name__)


class LiveTable:
    """Table of a study's running tasks.

    Args:
        live: show a table of the running tasks on stderr, with messages above it; otherwise starts and ends
            are logged.
    """

    def __init__(self, live: bool = False) -> None:
        console = Console(stderr=True)
        self._live = Live(console=console, auto_refresh=False, transient=True) if live else None
        self._started: dict[str, float] = {}
        self._counts = {"done": 0, "failed": 0, "diverged": 0}
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

    def begin(self, total: int) -> None:
        """Start a stage of `total` tasks."""
        self._total, self._counts = total, dict.fromkeys(self._counts, 0)
        self._started.clear()

    def started(self, task: Task) -> None:
        """Record and report the start of a task."""
        self._started[task.name] = time.monotonic()
        if not self._live:
            _LOGGER.info("[%d/%d] %s", len(self._started), self._total, task.name)

    def ended(self, task: Task, outcome: Outcome) -> None:
        """Record and report the end of a task."""
        self._counts[outcome.status] += 1
        failed = outcome.value is None
        result = f"{outcome.status}: {outcome.error}" if failed else task.describe_result(outcome.value or {})
        _LOGGER.info("%s%s: %s", "" if self._live else "  ", task.name, result)

    def refresh(self, running: Sequence[Task], waiting: Sequence[Task], *, slots: int) -> None:
        """Redraw the table, at most every `REFRESH_SECONDS`."""
        now = time.monotonic()
        if self._live and now - self._refreshed > REFRESH_SECONDS:
            self._refreshed = now
            self._live.update(self.table(running, waiting, slots=slots), refresh=True)

    def table(self, running: Sequence[Task], waiting: Sequence[Task], *, slots: int) -> Table:
        """Return a table of the running tasks, with the stage in its caption."""
        now = time.monotonic()
        table = Table(box=None, pad_edge=False, header_style="bold", caption_justify="left")
        for head in ("running", "epoch", "validation accuracy", "time", "left"):
            table.add_column(head, justify="left" if head == "running" else "right")
        remaining = []
        for task in running:
            elapsed = now - self._started[task.name]
            epochs = read_epochs(task)
            remaining.append(seconds_left(task, epochs, elapsed=elapsed))
            table.add_row(
                task.name,
                f"{len(epochs)}/{task.epochs}" if task.epochs else "",
                f"{epochs[-1].validation_accuracy:.2%}" if epochs else "",
                format_duration(elapsed),
                format_duration(remaining[-1]),
            )
        remaining += [task.seconds for task in waiting]
        table.caption = self._caption(remaining, len(waiting), slots=slots)
        return table

    def _caption(self, remaining: Sequence[float | None], waiting: int, *, slots: int) -> str:
        """Summarise the stage; the time left is given where it is known for every task."""
        counts = [f"{count} {status}" for status, count in self._counts.items() if count]
        known = [seconds for seconds in remaining if seconds is not None]
        complete = bool(known) and len(known) == len(remaining)
        left = f"about {format_duration(sum(known) / slots)} left" if complete else ""
        return ", ".join(filter(None, [f"{self._total} tasks", *counts, f"{waiting} waiting", left]))


def read_epochs(task: Task) -> list[EpochMetrics]:
    """Read the epochs that the run of a task has finished so far."""
    if task.folder is None:
        return []
    with suppress(OSError, ValueError):
        lines = (task.folder / "log.jsonl").read_text().splitlines()
        return [EpochMetrics.model_validate_json(line) for line in lines]
    return []


def seconds_left(task: Task, epochs: Sequence[EpochMetrics], *, elapsed: float) -> float | None:
    """Estimate a task's remaining seconds from finished epochs, else its plan.

    Args:
        task: the running task.
        epochs: its finished epochs.
        elapsed: seconds since it was started.

    Returns:
        None where there is neither an epoch nor a plan.
    """
    if epochs:
        each = sum(entry.train_seconds + entry.evaluation_seconds for entry in epochs) / len(epochs)
        return max(0.0, (task.epochs - len(epochs)) * each)
    return None if task.seconds is None else max(0.0, task.seconds - elapsed)


def format_duration(seconds: float | None) -> str:
    """Format a duration for a narrow column: 45 s, 12 min, 3.5 h; empty for None."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
