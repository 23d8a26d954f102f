"""Trial: the first epochs of a run, without any read of the test split.

It is resumed like any run. Its schedule is that of the whole run, so a trial that continues to more epochs
equals one that never paused.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orbitune.errors import OrbituneError, RunError
from orbitune.integrity import read_checksummed_json, write_checksummed_json
from orbitune.recipe import Recipe
from orbitune.training.run import open_run


@dataclass(frozen=True)
class TrialResult:
    """The metrics of a trial so far.

    Attributes:
        recipe: the resolved recipe.
        history: one entry per epoch that was trained, as in `RunResult`.
        seconds: of all processes that worked on it, from their cold start on.
        test_reads: how often the test split was read; 0.
    """

    recipe: dict[str, Any]
    history: list[dict[str, float]]
    seconds: float
    test_reads: int

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
            return cls(**read_checksummed_json(file))
        except (OrbituneError, TypeError):
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
        if kept and len(kept.history) >= epochs:
            return kept
        trainer = run.fit(epochs)
        trainer.save()  # updates the seconds
        state = trainer.state
        result = TrialResult(
            recipe=run.setup.recipe.model_dump(mode="json"),
            history=state.history,
            seconds=trainer.meter.totals["run_seconds"],
            test_reads=state.test_reads,
        )
        write_checksummed_json(run.folder.path / "trial.json", asdict(result))
        return result
