"""Stages of a study: plan each method, tune learning rates, train the runs."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orbitune.errors import OrbituneError, RunError
from orbitune.reporting.formatting import duration
from orbitune.study.corrupted_runs import may_be_scored
from orbitune.study.executor import Executor, Outcome, Task, TaskObserver, run_tasks
from orbitune.study.folder import StudyFolder
from orbitune.study.grid import RunSpec, TuningKey
from orbitune.study.records import Plan
from orbitune.study.tune.cost import describe_costs, search_cost
from orbitune.study.tune.search import Search, search_learning_rates
from orbitune.study.tune.trials import Trial
from orbitune.training.stored.record import drop_weights

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stages:
    """The stages of a study in one session.

    Attributes:
        folder: the study's folder.
        specs: all runs of the study.
        known: names of the runs whose stored results can be reused, see `StudyFolder.claim`.
        executor: runs the tasks.
        observer: shows the progress.
        track: names of the trackers of every run.
        precision: of the runs whose recipes leave it to the processor; None to let it choose.
        drop: names of the runs whose weights are removed as soon as nothing needs them.
        scored: whether first seeds are scored on corrupted tiles after training, which needs their weights.
    """

    folder: StudyFolder
    specs: Sequence[RunSpec]
    known: set[str]
    executor: Executor
    observer: TaskObserver
    track: Sequence[str] = ()
    precision: str | None = None
    drop: frozenset[str] = frozenset()
    scored: bool = False

    def plan(self) -> dict[str, Plan | OrbituneError]:
        """Plan each arm once, by its first run.

        Return the plan or the error of each arm.
        """
        firsts: dict[str, RunSpec] = {}
        for spec in self.specs:
            firsts.setdefault(spec.arm, spec)
        plans: dict[str, Plan | OrbituneError] = {}

        def store(task: Task, outcome: Outcome) -> None:
            arm = tasks[task]
            if outcome.error is not None:
                plans[arm] = outcome.error
            elif outcome.value is not None:
                plans[arm] = plan = Plan.from_json(outcome.value["plans"][0])
                plan.write(self.folder.plan_file(arm))

        for arm in firsts:
            if plan := self.folder.read_plan(arm):
                plans[arm] = plan
        tasks = {self._plan_task(spec): arm for arm, spec in firsts.items() if arm not in plans}
        run_tasks(self.executor, list(tasks), observer=self.observer, on_end=store)
        return plans

    def with_one_precision(self, plans: Mapping[str, Plan | OrbituneError]) -> "Stages":
        """Return the stages with the precision of the runs on record, else that of the plans."""
        left = {spec.arm for spec in self.specs if spec.recipe.precision is None}
        planned = [plan for arm, plan in plans.items() if arm in left and isinstance(plan, Plan)]
        return replace(self, precision=self.precision or (planned[0].recipe.precision if planned else None))

    def _plan_task(self, spec: RunSpec) -> Task:
        recipe = self._recipe_options(spec)
        return Task(
            name=f"plan of {spec.arm}",
            arguments=("plan", *recipe, "--methods", spec.recipe.method, "--json"),
            describe_result=_describe_plan,
        )

    def tune(self, searches: Sequence[Search], plans: Mapping[str, Plan | OrbituneError]) -> None:
        """Search the learning rate of each arm and split; log first how long it takes.

        Args:
            searches: one per arm, split and fold.
            plans: plan of each arm that is searched.
        """
        if not searches:
            return
        seconds: dict[str, float] = {}
        costs = []
        for search in searches:
            plan = plans[search.spec.arm]
            assert isinstance(plan, Plan)
            seconds[search.spec.arm] = plan.epoch_seconds
            costs.append(search_cost(len(search.first), plan))
        _LOGGER.info("%s", describe_costs(costs))

        def run_trials(trials: Sequence[Trial]) -> None:
            tasks = {self._trial_task(trial, seconds[trial.spec.arm]): trial for trial in trials}
            run_tasks(
                self.executor,
                list(tasks),
                observer=self.observer,
                on_end=lambda task, outcome: tasks[task].store(outcome),
            )

        search_learning_rates(searches, run_trials)

    def train(
        self,
        plans: Mapping[str, Plan | OrbituneError],
        rates: Mapping[TuningKey, float | OrbituneError],
    ) -> dict[str, Outcome]:
        """Train the runs that are not finished; return the outcomes of all runs by name.

        Args:
            plans: plan or error of each arm.
            rates: tuned learning rate or error of each arm and split; empty without tuning.

        Raises:
            RunError: a finished run has another learning rate than its search chose.
        """
        outcomes: dict[str, Outcome] = {}
        tasks, finished = [], 0
        for spec in self.specs:
            plan, rate = plans[spec.arm], rates.get(spec.tuning_key)
            stored = self.folder.finished(spec) if spec.name in self.known else None
            if isinstance(plan, OrbituneError):
                outcomes[spec.name] = Outcome(error=plan)
            elif isinstance(rate, OrbituneError):
                outcomes[spec.name] = Outcome(error=rate)
            elif stored:
                _expect_rate(spec, stored, rate)
                outcomes[spec.name] = stored
                finished += 1
            else:
                tasks.append(self._run_task(spec, rate, plan=plan))
        if finished:
            _LOGGER.info("%d of %d runs were already finished", finished, len(self.specs))

        def store(task: Task, outcome: Outcome) -> None:
            outcomes[task.name] = outcome
            needed = may_be_scored(self.specs, outcomes) if self.scored else set()
            for name in self.drop - needed:
                if name in outcomes and outcomes[name].value is not None:
                    drop_weights(self.folder.path / name)

        run_tasks(self.executor, tasks, observer=self.observer, on_end=store)
        return outcomes

    def _trial_task(self, trial: Trial, epoch_seconds: float) -> Task:
        task = trial.task(self.folder.recipe_file(trial.spec), epoch_seconds)
        return replace(task, arguments=(*task.arguments, *self._precision_options(trial.spec)))

    def _recipe_options(self, spec: RunSpec) -> tuple[str, ...]:
        return "--recipe", str(self.folder.recipe_file(spec)), *self._precision_options(spec)

    def _precision_options(self, spec: RunSpec) -> tuple[str, ...]:
        """Return the precision that all runs share, whatever the processor, where the recipe has none."""
        return ("--precision", self.precision) if self.precision and spec.recipe.precision is None else ()

    def _run_task(self, spec: RunSpec, rate: float | None, *, plan: Plan) -> Task:
        recipe = self._recipe_options(spec)
        tuned = ("--learning-rate", repr(rate)) if rate else ()
        tracked = [word for name in self.track for word in ("--track", name)]
        out = self.folder.path / spec.name
        return Task(
            name=spec.name,
            arguments=("train", *recipe, *tuned, *tracked, "--no-report", "--out", str(out), "--json"),
            describe_result=_describe_run,
            folder=out,
            epochs=spec.recipe.max_epochs,
            seconds=None if spec.sweep else plan.seconds,  # points of a sweep have other costs
        )


def _expect_rate(spec: RunSpec, stored: Outcome, rate: float | None) -> None:
    """Raise a RunError if a finished run has another learning rate than its search chose."""
    trained = stored.value["recipe"]["learning_rate"] if stored.value and rate else rate
    if trained != rate:
        raise RunError(
            f"{spec.name} was trained with learning rate {trained:g}, and the search chose {rate:g}: its "
            "trials are of another machine or version. Choose another --out."
        )


def _describe_plan(value: dict[str, Any]) -> str:
    plan = Plan.from_json(value["plans"][0])
    return (
        f"{plan.parameters.trainable:,} trainable parameters, about {duration(plan.seconds)}, "
        f"{plan.peak_rss_bytes / 1e9:.1f} GB of memory"
    )


def _describe_run(value: dict[str, Any]) -> str:
    return f"test accuracy {value['test']['accuracy']:.2%}"
