"""Search for the learning rate of each method, see `orbitune.study.tune`."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Literal

from orbitune.errors import DivergedError, OrbituneError, RunError
from orbitune.models.factory import default_learning_rate
from orbitune.study.grid import RunSpec, TuningKey
from orbitune.study.tune.choice import Choice, binomial_variance, choose
from orbitune.study.tune.rates import around, nearest_place, rate_at
from orbitune.study.tune.records import FinalistRecord, SearchRecord, TrialRecord
from orbitune.study.tune.trials import Trial

FINALISTS = 3  # the best and its two neighbours: fewer cannot show that a rate is not at the edge
SEEDS = 2  # of each finalist
REDUCTION_FACTOR = 3  # between the rates and epochs of two rungs
MOST_BEYOND = 4  # rates added beyond each end of the first ones: a factor of 100


def check_count(trials: int) -> None:
    """Raise an OrbituneError unless a search can try so many learning rates first; 0 is no search."""
    if trials and trials < FINALISTS:
        raise OrbituneError(f"--tune must be at least {FINALISTS}, or 0 for no tuning.")


def halving_rungs(trials: int, epochs: int) -> list[tuple[int, int]]:
    """Return (learning rates, epochs) of each rung; the last has the finalists and all epochs.

    Args:
        trials: number of learning rates on the first rung, >= `FINALISTS`.
        epochs: epochs of a whole run.
    """
    counts = [trials]
    while counts[-1] > FINALISTS:
        counts.append(max(FINALISTS, -(-counts[-1] // REDUCTION_FACTOR)))
    steps = len(counts) - 1
    return [(count, -(-epochs // REDUCTION_FACTOR ** (steps - rung))) for rung, count in enumerate(counts)]


@dataclass
class Search:
    """The search for the learning rate of one method on one split.

    Learning rates are named by their places on the lattice of `orbitune.study.tune.rates`.

    Attributes:
        spec: the run whose recipe is tried.
        first: places that are tried first.
        folder: parent of the trials' folders.
        trials: by place and seed.
        finalists: places that train all epochs, rising.
        choice: of the last rung that was compared; None if a trial failed, or all diverged.
    """

    spec: RunSpec
    first: range
    folder: Path
    trials: dict[tuple[int, int], Trial] = field(default_factory=dict)
    finalists: list[int] = field(default_factory=list)
    choice: Choice | None = None

    @property
    def seeds(self) -> range:
        """Return the seeds of the finalists: that of the run, and the next ones."""
        return range(self.spec.recipe.seed, self.spec.recipe.seed + SEEDS)

    @property
    def limits(self) -> range:
        """Return the places that may be tried."""
        return range(self.first.start - MOST_BEYOND, self.first.stop + MOST_BEYOND)

    def steps(self) -> Generator[list[Trial], None, None]:
        """Yield the trials to train next, until the search has ended.

        The trials that were yielded have to end before the next step. A trial that fails, of want of memory
        or a killed process, ends the search without a choice: what it would score might change the choice,
        and the next session trains it again. One that diverges would do so again, and loses.
        """
        places = list(self.first)
        *screening, (finalists, epochs) = halving_rungs(len(self.first), self.spec.recipe.max_epochs)
        for rung, (count, some_epochs) in enumerate(screening):
            places = self._window(count) if rung else places
            yield from self._compare(places, self.seeds[:1], epochs=some_epochs)
        if not screening or self.choice:
            self.finalists = self._window(finalists) if screening else places
            yield from self._compare(self.finalists, self.seeds, epochs=epochs)
        if not self._failed:
            for trial in self.trials.values():
                trial.drop_checkpoint()

    def _window(self, count: int) -> list[int]:
        """Return the places around the choice of the last rung."""
        if self.choice is None:
            return []
        return [place for place in around(self.choice.chosen, count) if place in self.limits]

    def _compare(
        self, places: list[int], seeds: Sequence[int], *, epochs: int
    ) -> Generator[list[Trial], None, None]:
        """Train the rates at `places` and choose; add further ones to them while the best is at an end."""
        while places:
            trials = [self._trial(place, seed) for place in places for seed in seeds]
            for trial in trials:
                trial.epochs = epochs
            if waiting := [trial for trial in trials if not trial.ended]:
                yield waiting
            if epochs == self.spec.recipe.max_epochs:
                for trial in trials:
                    trial.drop_checkpoint()
            if self._failed:
                self.choice = None
                return
            scores = self._scores(places, seeds)
            self.choice = choose(scores, places, sampling=self._sampling(scores, seeds))
            places += (further := self._beyond(places, trials))
            places.sort()
            if not further:
                return

    def _trial(self, place: int, seed: int) -> Trial:
        """Return the trial of a learning rate and a seed; a new one the first time."""
        if (place, seed) not in self.trials:
            rate = rate_at(place)
            folder = self.folder / f"{rate:g}-seed{seed}"
            self.trials[place, seed] = Trial(self.spec, rate, seed, folder, added=place not in self.first)
        return self.trials[place, seed]

    def _scores(self, places: Sequence[int], seeds: Sequence[int]) -> dict[int, list[float]]:
        """Return the best score of each seed, of the places where no seed diverged or failed."""
        found = {place: [self.trials[place, seed] for seed in seeds] for place in places}
        return {
            place: [max(trial.scores) for trial in trials]
            for place, trials in found.items()
            if not any(trial.error for trial in trials)
        }

    def _sampling(self, scores: Mapping[int, Sequence[float]], seeds: Sequence[int]) -> dict[int, float]:
        """Return the variance of scores over the choice of validation tiles; 0 for a loss.

        That of an accuracy is binomial. Macro-F1 varies more, as small classes weigh as much as large ones.
        """
        criterion, tiles = self.spec.recipe.criterion, self._validation_tiles()
        if criterion == "accuracy" and tiles:
            return {place: binomial_variance(fmean(each), tiles) for place, each in scores.items()}
        if criterion == "macro-f1":
            variances = {key: trial.macro_f1_variance for key, trial in self.trials.items() if trial.scores}
            return {place: fmean(variances[place, seed] for seed in seeds) for place in scores}
        return dict.fromkeys(scores, 0.0)

    def _validation_tiles(self) -> int | None:
        return next((each.result.validation_tiles for each in self.trials.values() if each.result), None)

    def _beyond(self, places: Sequence[int], trials: Sequence[Trial]) -> list[int]:
        """Return the neighbours of the best rate that were not tried and may be.

        Where every rate diverged, the next lower one. Ties do not end the search: small gains, each within
        the noise, can add up.
        """
        if self.choice:
            neighbours = [self.choice.best - 1, self.choice.best + 1]
        elif all(trial.diverged for trial in trials):
            neighbours = [min(places) - 1]
        else:
            neighbours = []
        return [place for place in neighbours if place not in places and place in self.limits]

    @property
    def chosen(self) -> int | None:
        """Return the place of the chosen rate; None if a trial failed, or every finalist diverged."""
        return self.choice.chosen if self.choice and self.finalists else None

    @property
    def _failed(self) -> list[Trial]:
        """Return the trials that failed without diverging."""
        return [trial for trial in self._sorted_trials() if trial.error and not trial.diverged]

    @property
    def error(self) -> OrbituneError:
        """Return why no rate was chosen."""
        if failed := self._failed:
            return RunError(
                "No learning rate was chosen, as trials failed; start the study again to repeat them: "
                f"{_reasons(failed)}"
            )
        return DivergedError(f"No learning rate trained all epochs: {_reasons(self._sorted_trials())}")

    def _sorted_trials(self) -> list[Trial]:
        return [self.trials[key] for key in sorted(self.trials)]

    def trial_records(self) -> list[TrialRecord]:
        """Return every trial as results.json stores it, by learning rate and seed."""
        chosen = None if self.chosen is None else rate_at(self.chosen)
        return [trial.record(chosen=trial.learning_rate == chosen) for trial in self._sorted_trials()]

    def record(self) -> SearchRecord:
        """Return how the rate was chosen, as results.json stores it."""
        scores = self._scores(self.finalists, self.seeds)
        choice = self.choice if self.finalists else None
        tried = sorted({place for place, _ in self.trials})
        return SearchRecord(
            method=self.spec.arm,
            split=self.spec.split,
            fold=self.spec.fold,
            criterion=self.spec.recipe.criterion,
            first=tuple(map(rate_at, self.first)),
            added=tuple(rate_at(place) for place in tried if place not in self.first),
            seeds=tuple(self.seeds),
            epochs=self.spec.recipe.max_epochs,
            validation_tiles=self._validation_tiles(),
            finalists=tuple(
                FinalistRecord(
                    learning_rate=rate_at(place),
                    scores=tuple(scores.get(place, ())),
                    mean=fmean(scores[place]) if place in scores else None,
                    tied=bool(choice and place in choice.tied),
                )
                for place in self.finalists
            ),
            spread=choice.spread if choice else None,
            standard_error=choice.standard_error if choice else None,
            best=rate_at(choice.best) if choice else None,
            chosen=rate_at(choice.chosen) if choice else None,
            edge=self._edge(choice.best) if choice else None,
        )

    def _edge(self, best: int) -> Literal["low", "high"] | None:
        """Return the side of the best rate whose neighbour did not train all epochs or diverge."""
        if best - 1 not in self.finalists:
            return "low"
        return None if best + 1 in self.finalists else "high"


def make_searches(specs: Sequence[RunSpec], count: int, *, folder: Path) -> list[Search]:
    """Return the search of each method, split and fold of a study.

    Args:
        specs: runs of the study; the first of each search is the one whose recipe is tried.
        count: number of learning rates that are tried first, >= `FINALISTS`; 0 for no search.
        folder: parent of the searches' folders.
    """
    firsts: dict[TuningKey, RunSpec] = {}
    for spec in specs:
        firsts.setdefault(spec.tuning_key, spec)
    return [
        Search(spec, around(nearest_place(_default_rate(spec)), count), folder / spec.search)
        for spec in firsts.values()
        if count
    ]


def search_learning_rates(searches: Sequence[Search], run_trials: Callable[[Sequence[Trial]], None]) -> None:
    """Run all searches side by side, each until it has chosen or no trial is left.

    Args:
        searches: one per method, split and fold.
        run_trials: trains trials up to their epochs and stores their outcomes.
    """
    running = [search.steps() for search in searches]
    while waiting := [trial for steps in running for trial in next(steps, ())]:
        run_trials(waiting)


def chosen_learning_rates(searches: Sequence[Search]) -> dict[TuningKey, float | OrbituneError]:
    """Return the chosen learning rate of each method and split, or why there is none."""
    return {
        search.spec.tuning_key: search.error if search.chosen is None else rate_at(search.chosen)
        for search in searches
    }


def _reasons(trials: Sequence[Trial]) -> str:
    """Return the errors of trials with their learning rates."""
    return "; ".join(f"at {trial.learning_rate:g}: {trial.error}" for trial in trials if trial.error)


def _default_rate(spec: RunSpec) -> float:
    return spec.recipe.learning_rate or default_learning_rate(spec.recipe)
