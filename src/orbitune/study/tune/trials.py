"""Trial of a learning rate: a run of its own folder that never reads the test split."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orbitune.errors import DivergedError, OrbituneError
from orbitune.evaluation.run_result import EpochMetrics, best_epoch, epoch_score
from orbitune.study.executor import Outcome, Task
from orbitune.study.grid import RunSpec
from orbitune.study.tune.records import TrialRecord
from orbitune.training.run_folder import divergence, read_environment
from orbitune.training.trial import TrialResult


@dataclass
class Trial:
    """One learning rate of one method on one split, with one seed.

    Attributes:
        spec: the run whose recipe is tried.
        learning_rate: the rate that is tried.
        seed: the seed that is tried.
        folder: run folder of the trial.
        added: whether the rate lies beyond those that were tried first.
        epochs: number of epochs to train in the current rung.
        error: why it is out of the search, if it failed or diverged.
        result: epochs trained so far.
    """

    spec: RunSpec
    learning_rate: float
    seed: int
    folder: Path
    added: bool = False
    epochs: int = 0
    error: OrbituneError | None = None
    result: TrialResult | None = field(default=None, repr=False)

    def task(self, recipe_file: Path, epoch_seconds: float | None = None) -> Task:
        """Return the task that trains the trial up to its epochs.

        Args:
            recipe_file: the recipe of `spec`.
            epoch_seconds: planned seconds of an epoch with its evaluation; None if not planned.
        """
        tried = ("--learning-rate", repr(self.learning_rate), "--seed", str(self.seed))
        ends = ("--stop-after", str(self.epochs), "--out", str(self.folder), "--json")
        trained = len(self.result.history) if self.result else 0
        return Task(
            name=f"trial {self.spec.search} at {self.learning_rate:g} seed {self.seed}",
            arguments=("trial", "--recipe", str(recipe_file), *tried, *ends),
            describe_result=_describe_trial,
            folder=self.folder,
            epochs=self.epochs,
            seconds=None if epoch_seconds is None else (self.epochs - trained) * epoch_seconds,
        )

    @property
    def ended(self) -> bool:
        """Return whether it needs no more training to reach its epochs, here or in an earlier session."""
        if self.error is None and (error := divergence(self.folder)):
            self.error = DivergedError(error)
        if self.error is None and self.result is None:
            self.result = TrialResult.load(self.folder)
        return self.error is not None or (self.result is not None and self.result.reached(self.epochs))

    @property
    def diverged(self) -> bool:
        """Return whether the loss was no longer finite."""
        return isinstance(self.error, DivergedError)

    def store(self, outcome: Outcome) -> None:
        """Keep the outcome of the trial's task."""
        self.error = outcome.error
        if outcome.value is not None:
            self.result = TrialResult.from_json(outcome.value)

    def drop_checkpoint(self) -> None:
        """Remove what only further training needs; a trial that failed keeps it for the next session."""
        if self.error is None or self.diverged:
            shutil.rmtree(self.folder / "checkpoint", ignore_errors=True)

    @property
    def history(self) -> tuple[EpochMetrics, ...]:
        """Return the metrics of the epochs up to the current rung; a later one may have trained more."""
        return self.result.history[: self.epochs] if self.result and self.error is None else ()

    @property
    def scores(self) -> tuple[float, ...]:
        """Return the validation score of each epoch by the recipe's criterion; higher is better."""
        return tuple(epoch_score(each, self.spec.recipe.criterion) for each in self.history)

    @property
    def macro_f1_variance(self) -> float:
        """Return the variance of the best epoch's macro-F1 over the choice of validation tiles.

        0 if an earlier version trained it, which stored no standard error.
        """
        best = best_epoch(self.history, self.spec.recipe.criterion)
        return (best.validation_macro_f1_error or 0.0) ** 2

    def record(self, *, chosen: bool) -> TrialRecord:
        """Return the trial as results.json stores it."""
        history, criterion = self.history, self.spec.recipe.criterion
        outcome = Outcome(error=self.error)
        result = self.result if history else None
        return TrialRecord(
            method=self.spec.arm,
            split=self.spec.split,
            fold=self.spec.fold,
            seed=self.seed,
            learning_rate=self.learning_rate,
            epochs=len(history) if history else self.epochs,
            validation_accuracy=best_epoch(history, criterion).validation_accuracy if history else None,
            scores=self.scores,
            seconds=result.seconds if result else None,
            test_reads=result.test_reads if result else None,
            chosen=chosen,
            added=self.added,
            status=outcome.status,
            error=outcome.message,
            code=read_environment(self.folder).code if result else None,
        )


def _describe_trial(value: dict[str, Any]) -> str:
    result = TrialResult.from_json(value)
    best = best_epoch(result.history, result.recipe.criterion)
    return f"validation accuracy {best.validation_accuracy:.2%}"
