"""What a person sees while a run works: a bar with the time left on a terminal, and a line per epoch."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from orbitune.training.checkpoint import Progress as RunProgress


class ProgressDisplay:
    """Shows training and evaluation on stderr. With `shown=False` it does nothing."""

    def __init__(self, shown: bool = True) -> None:
        self.console = Console(stderr=True, quiet=not shown)
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[info]}"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.training = self.bars.add_task("training", info="", visible=False)
        self.evaluating = self.bars.add_task("evaluation", info="", visible=False)

    def __enter__(self) -> "ProgressDisplay":
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def start(self, steps: int, done: int) -> None:
        """Training begins, or goes on after `done` steps."""
        if done:
            self.console.print(f"going on after step {done} of {steps}")
        self.bars.update(self.training, total=steps, completed=done, visible=True)

    def step(self, loss: float, state: RunProgress) -> None:
        """One step is done."""
        self.bars.update(self.evaluating, visible=False)
        self.bars.update(
            self.training, advance=1, info=f"loss {loss:.3f}  accuracy {state.correct / state.seen:.1%}"
        )

    def evaluation(self, split: str, count: int) -> None:
        """An evaluation of `count` tiles begins."""
        self.bars.update(self.evaluating, description=split, total=count, completed=0, visible=True)

    def evaluated(self, count: int) -> None:
        """So many more tiles are evaluated."""
        self.bars.update(self.evaluating, advance=count)

    def epoch(self, entry: dict[str, float], epochs: int) -> None:
        """An epoch is done and evaluated."""
        self.console.print(
            f"epoch {entry['epoch']}/{epochs}  "
            f"train loss {entry['train_loss']:.4f}, accuracy {entry['train_accuracy']:.2%}  "
            f"validation loss {entry['validation_loss']:.4f}, accuracy {entry['validation_accuracy']:.2%}  "
            f"({entry['train_seconds']:.0f} s)",
            highlight=False,
            soft_wrap=True,
        )
