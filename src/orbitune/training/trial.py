"""Trial: the first epochs of a run, without any read of the test split.

It is resumed like any run. Its schedule is that of the whole run, so a trial that continues to more epochs
equals one that never paused.
"""

from pathlib import Path
from typing import Any, ClassVar

from orbitune.errors import OrbituneError, RunError
from orbitune.evaluation.run_result import EpochMetrics
from orbitune.recipe import Recipe, upgrade
from orbitune.records import JsonTuple, RecordError, StoredRecord
from orbitune.training.run import open_run


class TrialResult(StoredRecord):
    """The metrics of a trial so far, the content of trial.json.

    Attributes:
        recipe: the resolved recipe.
        history: metrics of each epoch that was trained.
        validation_tiles: number of tiles that the metrics are of; None in files of earlier versions.
        stopped: whether it ended before the epochs that were asked for; False in files of earlier versions.
        seconds: of all processes that worked on it, from their cold start on.
        test_reads: how often the test split was read; 0.
    """

    FORMAT: ClassVar[int] = 2
    UNVERSIONED: ClassVar[int | None] = 1

    recipe: Recipe
    history: JsonTuple[EpochMetrics]
    validation_tiles: int | None = None
    stopped: bool = False
    seconds: float
    test_reads: int

    @classmethod
    def upgrade(cls, values: dict[str, Any], version: int) -> dict[str, Any]:
        """Convert a trial of version 0.1, whose recipe has other words."""
        if isinstance(recipe := values.get("recipe"), dict):
            values["recipe"] = upgrade(recipe)
        return values

    def reached(self, epochs: int) -> bool:
        """Return whether these epochs were trained, or all until the run stopped early."""
        return self.stopped or len(self.history) >= epochs

    @classmethod
    def load(cls, folder: Path) -> "TrialResult | None":
        """Read trial.json; None if no trial has ended yet.

        Raises:
            RunError: the file is damaged.
        """
        file = folder / "trial.json"
        if not file.is_file():
            return None
        try:
            return cls.read(file)
        except (OrbituneError, RecordError):
            raise RunError(
                f"{file} is damaged or of another version; remove it to continue from the checkpoint."
            ) from None


def trial(recipe: Recipe, out: str | Path, *, epochs: int, progress: bool = True) -> TrialResult:
    """Train the first `epochs` epochs of a recipe and write trial.json.

    Args:
        recipe: recipe of the whole run.
        out: run folder.
        epochs: epochs to train, at most the recipe's.
        progress: whether to show progress on stderr.

    Returns:
        Validation scores so far.

    Raises:
        OrbituneError: as training would; DivergedError where the loss is no longer finite.
        Interrupted: SIGINT arrived.
    """
    with open_run(recipe, out, progress=progress) as run:
        kept = TrialResult.load(run.folder.path)
        if kept and kept.reached(epochs):
            return kept
        trainer = run.fit(epochs)
        trainer.save()  # updates the seconds
        state = trainer.state
        result = TrialResult(
            recipe=run.setup.recipe,
            history=tuple(state.history),
            validation_tiles=len(run.setup.splits["validation"]),
            stopped=len(state.history) < epochs,
            seconds=trainer.meter.totals["run_seconds"],
            test_reads=state.test_reads,
        )
        result.write(run.folder.path / "trial.json")
        return result
