"""Learning-rate tuning with the same number of trials for every method.

Trials are compared by successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943): all are trained for
a few epochs, the best third continues, until one is left. They are compared on validation only; no trial
reads the test split. The rate is tuned once per method, backbone and split, then used for all seeds and
sweeps there.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from orbitune.errors import DivergedError, OrbituneError, RunError
from orbitune.evaluation.run_result import EpochMetrics, epoch_score
from orbitune.models.methods import find_method
from orbitune.study.executor import Outcome, Task
from orbitune.study.grid import RunSpec, TuningKey
from orbitune.study.records import TrialRecord
from orbitune.training.run_folder import divergence
from orbitune.training.trial import TrialResult

REDUCTION_FACTOR = 3  # between neighbouring rates, and between the trials and epochs of two rungs


def learning_rates(default: float, trials: int) -> list[float]:
    """Return learning rates in powers of three around the default, rising.

    Three trials are a third, one and three times the default; five reach from a ninth to nine times. An even
    number has one more below the default, as rates that are too high do more harm than rates too low.

    Args:
        default: the method's default learning rate.
        trials: number of learning rates.

    Returns:
        Rounded to three digits, in rising order.
    """
    powers = range(-(trials // 2), (trials + 1) // 2)
    return [float(f"{default * REDUCTION_FACTOR**power:.3g}") for power in powers]


def halving_rungs(trials: int, epochs: int) -> list[tuple[int, int]]:
    """Return (trials, epochs) of each rung of successive halving.

    The last rung, with a single trial and all epochs, decides nothing and is left out. So three trials train
    a third of the epochs each, together no more than one run.

    Args:
        trials: number of trials on the first rung.
        epochs: epochs of a whole run.

    Returns:
        (trials, epochs) per rung.
    """
    counts = [trials]
    while counts[-1] > 1:
        counts.append(-(-counts[-1] // REDUCTION_FACTOR))
    steps = len(counts) - 1
    return [
        (count, -(-epochs // REDUCTION_FACTOR ** (steps - rung))) for rung, count in enumerate(counts[:-1])
    ]


@dataclass
class Trial:
    """One learning rate of one method on one split.

    Attributes:
        spec: the run whose recipe is tried, with the study's first seed.
        number: from 1, within its method and split.
        learning_rate: the rate that is tried.
        folder: run folder of the trial.
        epochs: number of epochs to train in the current rung.
        error: why it is out of the search, if it failed or diverged.
        chosen: whether its rate is the best.
        result: epochs trained so far.
    """

    spec: RunSpec
    number: int
    learning_rate: float
    folder: Path
    epochs: int = 0
    error: OrbituneError | None = None
    chosen: bool = False
    result: TrialResult | None = field(default=None, repr=False)

    def task(self, recipe_file: Path) -> Task:
        """Return the task that trains the trial up to its epochs."""
        options = ("--recipe", str(recipe_file), "--learning-rate", repr(self.learning_rate))
        ends = ("--stop-after", str(self.epochs), "--out", str(self.folder), "--json")
        return Task(
            name=f"trial {self.spec.search} at {self.learning_rate:g}",
            arguments=("trial", *options, *ends),
            describe_result=_describe_trial,
            folder=self.folder,
            epochs=self.epochs,
        )

    def load_stored(self) -> bool:
        """Read the trial's result of an earlier session.

        Returns:
            Whether the trial is done: no more training is needed.
        """
        if error := divergence(self.folder):
            self.error = DivergedError(error)
        else:
            self.result = TrialResult.load(self.folder)
        return self.error is not None or (self.result is not None and self.result.reached(self.epochs))

    def store(self, outcome: Outcome) -> None:
        """Keep the outcome of the trial's task."""
        self.error = outcome.error
        if outcome.value is not None:
            self.result = TrialResult.from_json(outcome.value)

    @property
    def score(self) -> tuple[float, float]:
        """Return the validation score of the best epoch and its negative loss.

        Higher is better.
        """
        best = self.best
        return epoch_score(best, self.spec.recipe.criterion), -best.validation_loss

    @property
    def best(self) -> EpochMetrics:
        """Return the best epoch by the recipe's `best_by`; among equals that of the lowest loss."""
        assert self.result is not None
        return _best_epoch(self.result.history[: self.epochs], self.spec.recipe.criterion)

    def record(self) -> TrialRecord:
        """Return the trial as results.json stores it."""
        result = self.result if self.error is None else None
        outcome = Outcome(error=self.error)
        return TrialRecord(
            method=self.spec.arm,
            split=self.spec.split,
            fold=self.spec.fold,
            seed=self.spec.recipe.seed,
            learning_rate=self.learning_rate,
            epochs=self.epochs,
            validation_accuracy=self.best.validation_accuracy if result else None,
            seconds=result.seconds if result else None,
            test_reads=result.test_reads if result else None,
            chosen=self.chosen,
            status=outcome.status,
            error=outcome.message,
        )


def make_trials(specs: Sequence[RunSpec], count: int, *, folder: Path) -> list[list[Trial]]:
    """Return `count` trials for each method and split of a study.

    Args:
        specs: runs of the study; the first of each method and split is the one whose recipe is tried.
        count: number of learning rates.
        folder: parent of the trials' folders.
    """
    firsts: dict[TuningKey, RunSpec] = {}
    for spec in specs:
        firsts.setdefault(spec.tuning_key, spec)
    return [
        [
            Trial(spec, number, rate, folder / spec.search / str(number))
            for number, rate in enumerate(learning_rates(_default_rate(spec), count), 1)
        ]
        for spec in firsts.values()
    ]


def search_learning_rates(
    searches: Sequence[list[Trial]], run_trials: Callable[[Sequence[Trial]], None]
) -> None:
    """Run successive halving until each search has chosen a trial, or none is left.

    Args:
        searches: the trials of each method and split, the same number for all.
        run_trials: trains trials up to their epochs and stores their outcomes.
    """
    remaining = [list(trials) for trials in searches]
    keep = len(searches[0])
    for rung in range(len(halving_rungs(keep, 1))):
        for trial in chain(*remaining):
            trial.epochs = halving_rungs(len(searches[0]), trial.spec.recipe.max_epochs)[rung][1]
        run_trials([trial for trial in chain(*remaining) if not trial.load_stored()])
        keep = -(-keep // REDUCTION_FACTOR)
        before, remaining = remaining, [_rank(trials)[:keep] for trials in remaining]
        kept = {id(trial) for trial in chain(*remaining)}
        for trial in chain(*before):
            trial.chosen = keep == 1 and id(trial) in kept
            if keep == 1 or id(trial) not in kept:
                shutil.rmtree(trial.folder / "checkpoint", ignore_errors=True)  # it trains no further


def chosen_learning_rates(
    searches: Sequence[Sequence[Trial]],
) -> dict[TuningKey, float | OrbituneError]:
    """Return the best learning rate of each method and split."""
    rates: dict[TuningKey, float | OrbituneError] = {}
    for trials in searches:
        rate = next((trial.learning_rate for trial in trials if trial.chosen), None)
        rates[trials[0].spec.tuning_key] = _search_error(trials) if rate is None else rate
    return rates


def _search_error(trials: Sequence[Trial]) -> OrbituneError:
    """Return the error of a search without a successful trial."""
    kind = DivergedError if all(isinstance(trial.error, DivergedError) for trial in trials) else RunError
    reasons = (f"at {trial.learning_rate:g}: {trial.error}" for trial in trials)
    return kind("No trial succeeded: " + "; ".join(reasons))


def _rank(trials: Sequence[Trial]) -> list[Trial]:
    """Return the successful trials, best first; among equals the lower rate."""
    valid = [trial for trial in trials if trial.error is None]
    return sorted(valid, key=lambda trial: trial.score, reverse=True)


def _best_epoch(history: Sequence[EpochMetrics], best_by: str) -> EpochMetrics:
    return max(history, key=lambda metrics: (epoch_score(metrics, best_by), -metrics.validation_loss))


def _describe_trial(value: dict[str, Any]) -> str:
    result = TrialResult.from_json(value)
    return (
        f"validation accuracy {_best_epoch(result.history, result.recipe.criterion).validation_accuracy:.2%}"
    )


def _default_rate(spec: RunSpec) -> float:
    return spec.recipe.learning_rate or find_method(spec.recipe.method).learning_rate
