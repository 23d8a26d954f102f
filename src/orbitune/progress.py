"""Progress on stderr: bars in terminals and notebooks, lines in log files.

Messages that are not progress go through `logging`, to the logger "orbitune".
"""

import time
from collections.abc import Callable
from importlib.util import find_spec
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

LINE_SECONDS = 30.0  # between two lines of a task where no bar can be drawn
OnProgress = Callable[[int, int], None]  # called with the number of finished parts and of all


class ProgressDisplay:
    """Display of running tasks.

        with ProgressDisplay() as display:
            with display.task("validation", len(tiles)) as task:
                for batch in batches:
                    task.advance(len(batch))
            display.print("epoch 1/3 done")

    On a terminal and in a notebook with ipywidgets, each task is a bar with the time left. Elsewhere, such as
    in a log file, a long task prints a line every `LINE_SECONDS`.
    """

    def __init__(self, shown: bool = True, console: Console | None = None) -> None:
        """Prepare the display.

        Args:
            shown: show anything at all.
            console: where to draw; stderr by default.
        """
        self._console = console or Console(stderr=True)
        notebook = self._console.is_jupyter and find_spec("ipywidgets") is not None
        draws = shown and (self._console.is_interactive or notebook)
        self._shown, self._prints = shown, shown and not draws
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[info]}"),
            console=self._console,
            transient=True,
            disable=not draws,
        )

    def __enter__(self) -> "ProgressDisplay":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def print(self, text: str) -> None:
        """Print a line that stays, above the bars."""
        if self._shown:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def task(self, description: str, total: int, *, done: int = 0) -> "ProgressTask":
        """Show a new task.

        Args:
            total: steps, tiles or whatever the task counts.
            done: how many of them are done already.
        """
        task_id = self._bars.add_task(description, total=total, completed=done, info="")
        return ProgressTask(self._bars, task_id, print_line=self.print if self._prints else None)


class ProgressTask:
    """One task of a display, shown until its `with` block ends."""

    def __init__(self, bars: Progress, task_id: TaskID, *, print_line: Callable[[str], None] | None) -> None:
        """Take over a bar; `print_line` is for where none is drawn."""
        self._bars, self._id, self._print_line = bars, task_id, print_line
        self._started = self._printed = time.monotonic()
        self._first = self._task.completed

    def __enter__(self) -> "ProgressTask":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.remove_task(self._id)

    @property
    def _task(self) -> Task:
        return next(task for task in self._bars.tasks if task.id == self._id)

    def advance(self, count: int = 1, info: str = "") -> None:
        """Count `count` more as done, and show `info` beside the bar.

        Args:
            count: number of further finished items.
            info: short text beside the bar.
        """
        self._bars.update(self._id, advance=count, info=info)
        now = time.monotonic()
        if self._print_line and now - self._printed > LINE_SECONDS:
            self._printed = now
            self._print_line(self._line(now - self._started, info))

    def _line(self, seconds: float, info: str) -> str:
        task = self._task
        total = task.total or 0.0
        left = seconds * (total - task.completed) / max(1.0, task.completed - self._first)
        parts = (f"{task.description} {task.completed:,.0f}/{total:,.0f}", f"{left:,.0f} s left", info)
        return "  ".join(filter(None, parts))
