"""Equal effort: every method gets the same number of trials over the same kind of grid of learning rates.

Trials are compared by successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943): all are trained a
little, the best third goes on, until one is left. They are judged on validation alone; no trial reads the
test split. A rate is tuned once for a method on a split and then used for all seeds and sweeps there.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from orbitune.errors import DivergedError, OrbituneError, RunError
from orbitune.models.methods import find_method
from orbitune.study.executor import Outcome, Task
from orbitune.study.grid import RunSpec
from orbitune.training.run_folder import divergence
from orbitune.training.trial import TrialResult

REDUCTION_FACTOR = 3  # between neighbouring rates, and between the contenders and the epochs of two rungs


def learning_rates(default: float, trials: int) -> list[float]:
    """Learning rates in powers of three around the default, to three digits, lowest first.

    Three trials are a third, one and three times the default; five reach from a ninth to nine times. Where
    the number is even the odd one is below, as rates that are too high cost more than those too low.
    """
    return [
        float(f"{default * REDUCTION_FACTOR**power:.3g}")
        for power in range(-(trials // 2), (trials + 1) // 2)
    ]


def halving_rungs(trials: int, epochs: int) -> list[tuple[int, int]]:
    """How many contenders train how many epochs in turn, until one would be left.

    The rung at which one trial would be alone trains all epochs; it decides nothing and is left out. So three
    trials take a third of the epochs each, and together no more than one run.
    """
    contenders = [trials]
    while contenders[-1] > 1:
        contenders.append(-(-contenders[-1] // REDUCTION_FACTOR))
    steps = len(contenders) - 1
    return [
        (count, -(-epochs // REDUCTION_FACTOR ** (steps - rung)))
        for rung, count in enumerate(contenders[:-1])
    ]


@dataclass
class Trial:
    """One learning rate of one method on one split.

    Attributes:
        spec: the run whose recipe is tried, with the study's first seed.
        folder: where it trains.
        epochs: how many it was sent through so far.
        error: why it is out, if it failed or diverged.
        chosen: whether its rate won.
    """

    spec: RunSpec
    number: int
    rate: float
    folder: Path
    epochs: int = 0
    error: OrbituneError | None = None
    chosen: bool = False
    result: TrialResult | None = field(default=None, repr=False)

    def task(self, recipe_file: Path) -> Task:
        """The task that trains it to its epochs."""
        options = ("--recipe", str(recipe_file), "--learning-rate", repr(self.rate))
        ends = ("--stop-after", str(self.epochs), "--out", str(self.folder), "--json")
        return Task(
            name=f"trial {self.spec.group} at {self.rate:g}",
            arguments=("trial", *options, *ends),
            describe_result=lambda value: (
                f"validation accuracy {_best(value['history'])['validation_accuracy']:.2%}"
            ),
            folder=self.folder,
            epochs=self.epochs,
        )

    def recall(self) -> bool:
        """Whether the folder says what comes of it at these epochs; then it need not be trained."""
        if error := divergence(self.folder):
            self.error = DivergedError(error)
        else:
            self.result = TrialResult.load(self.folder)
        return self.error is not None or (self.result is not None and len(self.result.history) >= self.epochs)

    def take(self, outcome: Outcome) -> None:
        """Note how its task ended."""
        self.error = outcome.error
        if outcome.value is not None:
            self.result = TrialResult(**outcome.value)

    @property
    def score(self) -> tuple[float, float]:
        """What trials are ranked by: validation accuracy of the best epoch so far, then its loss."""
        assert self.result is not None
        best = _best(self.result.history[: self.epochs])
        return best["validation_accuracy"], -best["validation_loss"]

    def facts(self) -> dict[str, Any]:
        """The trial as results.json names it."""
        seen = self.result if self.error is None else None
        return {
            "method": self.spec.recipe.method,
            "split": self.spec.split,
            "seed": self.spec.recipe.seed,
            "learning_rate": self.rate,
            "epochs": self.epochs,
            "validation_accuracy": self.score[0] if seen else None,
            "seconds": seen.seconds if seen else None,
            "test_reads": seen.test_reads if seen else None,
            "chosen": self.chosen,
            **Outcome(error=self.error).facts(),
        }


def tune(searches: Sequence[list[Trial]], run_tasks: Callable[[Sequence[Trial]], None]) -> None:
    """Let the trials of each contest train until one is chosen, or none is left.

    Args:
        contests: per method and split as many trials as for any other.
        run_tasks: trains trials to their epochs and notes their outcomes.
    """
    fields = [list(trials) for trials in searches]
    keep = len(searches[0])
    for rung in range(len(halving_rungs(keep, 1))):
        for trial in chain(*fields):
            trial.epochs = halving_rungs(len(searches[0]), trial.spec.recipe.epochs)[rung][1]
        run_tasks([trial for trial in chain(*fields) if not trial.recall()])
        keep = -(-keep // REDUCTION_FACTOR)
        before, fields = fields, [_best_of(trials)[:keep] for trials in fields]
        for trial in chain(*before):
            trial.chosen = keep == 1 and any(trial is winner for winner in chain(*fields))
            if keep == 1 or not any(trial is other for other in chain(*fields)):
                shutil.rmtree(trial.folder / "checkpoint", ignore_errors=True)  # it trains no further


def make_trials(specs: Sequence[RunSpec], count: int, folder: Path) -> list[list[Trial]]:
    """The contests of a study: for each method and split `count` trials, in folders below this one.

    Args:
        specs: the runs of the study; the first of each method and split is the one whose recipe is tried.
    """
    firsts: dict[tuple[str, str], RunSpec] = {}
    for spec in specs:
        firsts.setdefault(spec.tuning_key, spec)
    return [
        [
            Trial(spec, number, rate, folder / spec.group / str(number))
            for number, rate in enumerate(learning_rates(_default_rate(spec), count), 1)
        ]
        for spec in firsts.values()
    ]


def chosen_learning_rates(
    searches: Sequence[Sequence[Trial]],
) -> dict[tuple[str, str], float | OrbituneError]:
    """The rate that won for each method and split; where none did, the error that its runs end with."""
    outcomes: dict[tuple[str, str], float | OrbituneError] = {}
    for trials in searches:
        rate = next((trial.rate for trial in trials if trial.chosen), None)
        outcomes[trials[0].spec.tuning_key] = _no_winner(trials) if rate is None else rate
    return outcomes


def _no_winner(trials: Sequence[Trial]) -> OrbituneError:
    kind = DivergedError if all(isinstance(t.error, DivergedError) for t in trials) else RunError
    return kind("No trial succeeded: " + "; ".join(f"at {t.rate:g}: {t.error}" for t in trials))


def _best_of(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that are not out, best first; of equals, the lower rate."""
    return sorted((trial for trial in trials if trial.error is None), key=lambda t: t.score, reverse=True)


def _best(history: Sequence[dict[str, float]]) -> dict[str, float]:
    return max(history, key=lambda epoch: (epoch["validation_accuracy"], -epoch["validation_loss"]))


def _default_rate(spec: RunSpec) -> float:
    return spec.recipe.learning_rate or find_method(spec.recipe.method).learning_rate
