"""A study: methods, seeds and splits on the same tiles, each run in a process of its own, then one report.

A process per run makes its peak memory its own. A study that was stopped, in whatever way, is started again
with the same command: what is finished is not repeated, and what was under way goes on from its checkpoint.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from orbitune.errors import DivergedError, OrbituneError, RunError
from orbitune.evaluation.run_result import RunResult
from orbitune.files import remove_abandoned, write_json
from orbitune.integrity import read_kept, write_sealed_json
from orbitune.recipe import Recipe, read_yaml
from orbitune.study.analysis import analyse_results
from orbitune.study.corrupted_runs import score_corrupted
from orbitune.study.executor import Executor, LocalExecutor, Outcome, Task, run_tasks
from orbitune.study.grid import Grid, RunSpec
from orbitune.study.live_table import LiveTable
from orbitune.study.report import write_report
from orbitune.study.results import FORMAT, count_test_reads, shared_settings
from orbitune.study.tune import Trial, chosen_learning_rates, make_trials, tune
from orbitune.training.run_folder import check_inputs, divergence
from orbitune.training.setup import prepare_training

Outcomes = dict[str, Outcome]


def _local(jobs: int | None, folder: Path, live: bool) -> Executor:
    # One run at a time may speak for itself, where no table is in its way.
    return LocalExecutor(jobs or 1, folder / "logs" if live or (jobs or 1) > 1 else None)


def _ray(jobs: int | None, folder: Path, live: bool) -> Executor:
    from orbitune.study.ray import RayExecutor

    return RayExecutor(jobs, folder)


EXECUTORS: dict[str, Callable[[int | None, Path, bool], Executor]] = {"local": _local, "ray": _ray}


@dataclass(frozen=True)
class Study:
    """Several recipes that differ in the method, and the folder that holds their runs and the report.

    Attributes:
        recipes: one per method, in the order of the report.
        folder: each run is in the folder of its name below it.
        command: what reproduces the study, for the report.
        grid: the seeds, splits and sweeps of every method.
        trials: how many learning rates are tried per method and split, see `orbitune.study.tune`; 0 for none.
        jobs: how many runs at once; None lets the engine choose.
        engine: `local`, or `ray` for the machines of a Ray cluster.
        robustness: on how many validation tiles the first seed of each method is tried with corruptions, see
            `orbitune.evaluation.robustness`; 0 for none.
    """

    recipes: tuple[Recipe, ...]
    folder: Path
    command: str
    grid: Grid = field(default_factory=Grid)
    trials: int = 0
    jobs: int | None = None
    engine: str = "local"
    robustness: int = 0

    def __post_init__(self) -> None:
        methods = [recipe.method for recipe in self.recipes]
        if not methods or len(set(methods)) < len(methods):
            raise OrbituneError("A study needs one or more different methods.")
        if self.engine not in EXECUTORS:
            raise OrbituneError(f"There is no engine {self.engine!r}; there is: {', '.join(EXECUTORS)}.")
        if self.trials == 1 or self.trials < 0:
            raise OrbituneError("--tune needs two trials or more to choose from; 0 is none.")
        if self.jobs is not None and self.jobs < 1:
            raise OrbituneError("--jobs must be 1 or more.")
        if self.robustness < 0:
            raise OrbituneError("--robustness takes a number of tiles; 0 is none.")

    def run(self, say: Callable[[str], None] = print, live: bool = False) -> dict[str, Any]:
        """Do every run that is not finished, then write results.json, report.html and report.md.

        A run that fails or diverges is reported so and does not stop the others.

        Args:
            say: receives a line about each run.
            live: show a table of what runs on stderr, where the runs' own messages would be.

        Returns:
            The results, as results.json has them.

        Raises:
            OrbituneError: a recipe does not take a value of the grid.
            RunError: the folder holds a study of another recipe; or no run succeeded.
            Interrupted: SIGINT arrived; the runs under way have saved their state.
        """
        specs = self.grid.runs([recipe.anchored() for recipe in self.recipes])
        remove_abandoned(self.folder, recursive=True)
        known = self._claim(specs)
        engine = EXECUTORS[self.engine](self.jobs, self.folder, live)
        with closing(engine), LiveTable(say, live) as board:
            self._note(engine.slots)
            sitting = _Sitting(self.folder, specs, known, engine, board)
            plans = sitting.plan()
            planned = [spec for spec in specs if plans[spec.recipe.method].error is None]
            searches = make_trials(planned, self.trials, self.folder / "trials") if self.trials else []
            sitting.tune(searches)
            outcomes = sitting.train(plans, chosen_learning_rates(searches))
            tried = score_corrupted(specs, outcomes, self.folder, self.robustness, engine, board)
        results = self._collect(specs, plans, searches, outcomes, engine)
        results |= {"robustness": tried, **analyse_results(results, self.folder, say)}
        write_json(self.folder / "results.json", results)
        write_report(results, self.folder)
        return results

    def _claim(self, specs: Sequence[RunSpec]) -> set[str]:
        """Keep the recipes in the folder, unless it has runs of others: those must not be written over.

        Returns:
            The names of the runs whose recipe was kept before, so that what they left can be trusted.
        """
        known = set()
        notes = _notes(self.folder)
        for spec in specs:
            file = _recipe_file(self.folder, spec)
            begun = (self.folder / spec.name).exists() or (self.folder / "trials" / spec.group).exists()
            if not file.is_file():
                continue
            kept = Recipe.make(read_yaml(file))
            differences = spec.recipe.differences(kept)
            moved = spec.recipe.places != kept.places
            if begun and differences:
                raise self._other("of another recipe", differences)
            if moved and begun:
                self._check_inputs(spec)
            if differences or (moved and not begun):
                _plan_file(self.folder, spec).unlink(missing_ok=True)
            elif begun and notes.get("tune", self.trials) != self.trials:
                raise self._other("with other trials", [f"--tune {self.trials}, not {notes['tune']}"])
            else:
                known.add(spec.name)
        for spec in specs:
            spec.recipe.save(_recipe_file(self.folder, spec))
        return known

    def _check_inputs(self, spec: RunSpec) -> None:
        """Compare what data, split files and backbone hold with what they held where they lay before.

        Raises:
            RunError: they are others.
        """
        trials = (self.folder / "trials" / spec.group).glob("*")
        begun = [place for place in (self.folder / spec.name, *trials) if (place / "inputs.json").is_file()]
        inputs = prepare_training(spec.recipe, progress=False).inputs() if begun else {}
        for place in begun:
            check_inputs(place, inputs)

    def _note(self, jobs: int) -> None:
        """Keep in study.json what later sittings must know: the trials, and the most runs at once."""
        most = max(jobs, _notes(self.folder).get("jobs", 1))
        write_sealed_json(self.folder / "study.json", {"tune": self.trials, "jobs": most})

    def _other(self, kind: str, differences: Sequence[str]) -> RunError:
        return RunError(
            f"{self.folder} holds a study {kind} ({'; '.join(differences)}). Choose another --out."
        )

    def _collect(
        self,
        specs: Sequence[RunSpec],
        plans: Outcomes,
        searches: Sequence[Sequence[Trial]],
        outcomes: Outcomes,
        engine: Executor,
    ) -> dict[str, Any]:
        """What the runs measured, and what they share."""
        entries = [_entry(spec, plans, outcomes[spec.name]) for spec in specs]
        varied = {"method", "learning_rate", *self.grid.varied}
        shared = shared_settings(entries, self.folder, varied)
        return {
            "format": FORMAT,
            "command": self.command,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            **shared,
            "grid": self.grid.to_json(),
            "engine": {
                "name": engine.name,
                "jobs": engine.slots,
                "threads": engine.threads or shared["environment"]["threads"],
                # Runs beside each other share the caches and the memory's bandwidth.
                "timings_comparable": _notes(self.folder)["jobs"] == 1,
            },
            "runs": entries,
            "trials": [trial.facts() for trials in searches for trial in trials],
            "test_reads": {spec.name: count_test_reads(self.folder / spec.name) for spec in specs},
        }


@dataclass(frozen=True)
class _Sitting:
    """The work of a study from one start to its end."""

    folder: Path
    specs: Sequence[RunSpec]
    known: set[str]
    engine: Executor
    board: LiveTable

    def plan(self) -> Outcomes:
        """Plan each method once, by its first run; the report puts the plan beside what was measured."""
        firsts: dict[str, RunSpec] = {}
        for spec in self.specs:
            firsts.setdefault(spec.recipe.method, spec)
        files = {method: _plan_file(self.folder, spec) for method, spec in firsts.items()}
        plans: Outcomes = {}

        def take(task: Task, outcome: Outcome) -> None:
            method = task.name.removeprefix("plan of ")
            if outcome.value is None:
                plans[method] = outcome
            else:
                write_sealed_json(files[method], outcome.value["plans"][0])

        tasks = [self._plan_task(spec) for method, spec in firsts.items() if read_kept(files[method]) is None]
        run_tasks(self.engine, tasks, self.board, take)
        kept = {method: Outcome(plan) for method, file in files.items() if (plan := read_kept(file))}
        return {**kept, **plans}

    def _plan_task(self, spec: RunSpec) -> Task:
        recipe = ("--recipe", str(_recipe_file(self.folder, spec)))
        return Task(
            name=f"plan of {spec.recipe.method}",
            arguments=("plan", *recipe, "--methods", spec.recipe.method, "--json"),
            describe_result=lambda value: _plan_words(value["plans"][0]),
        )

    def tune(self, searches: Sequence[list[Trial]]) -> None:
        """Let the trials of each method and split choose its learning rate."""

        def work(trials: Sequence[Trial]) -> None:
            tasks = {trial.task(_recipe_file(self.folder, trial.spec)): trial for trial in trials}
            run_tasks(self.engine, list(tasks), self.board, lambda task, end: tasks[task].take(end))

        if searches:
            tune(searches, work)

    def train(
        self, plans: Outcomes, learning_rates: Mapping[tuple[str, str], float | OrbituneError]
    ) -> Outcomes:
        """Do the runs that are not finished; all outcomes by the runs' names."""
        outcomes: Outcomes = {}
        tasks, before = [], 0
        for spec in self.specs:
            plan, rate = plans[spec.recipe.method], learning_rates.get(spec.tuning_key)
            obstacle = plan.error or (rate if isinstance(rate, OrbituneError) else None)
            if obstacle:
                outcomes[spec.name] = Outcome(error=obstacle)
            elif kept := self._kept(spec):
                outcomes[spec.name] = kept
                before += 1
            else:
                tasks.append(self._run_task(spec, rate, plan.value))
        if before:
            self.board.line(f"{before} of {len(self.specs)} runs had ended before")
        run_tasks(self.engine, tasks, self.board, lambda task, end: outcomes.update({task.name: end}))
        return outcomes

    def _kept(self, spec: RunSpec) -> Outcome | None:
        """How a run ended in an earlier sitting; None where it has to be started, or to go on."""
        folder = self.folder / spec.name
        if spec.name not in self.known:
            return None  # the run itself will see whether what is there is its own
        if error := divergence(folder):
            return Outcome(error=DivergedError(error))
        return Outcome(asdict(RunResult.load(folder))) if (folder / "result.json").is_file() else None

    def _run_task(self, spec: RunSpec, rate: Any, plan: Any) -> Task:
        recipe = ("--recipe", str(_recipe_file(self.folder, spec)))
        tuned = ("--learning-rate", repr(rate)) if rate else ()
        out = self.folder / spec.name
        return Task(
            name=spec.name,
            arguments=("train", *recipe, *tuned, "--out", str(out), "--json"),
            describe_result=lambda value: f"test accuracy {value['test']['accuracy']:.2%}",
            folder=out,
            epochs=spec.recipe.epochs,
            seconds=None if spec.sweep else plan["train_seconds"] + plan["evaluation_seconds"],
        )


def _entry(spec: RunSpec, plans: Outcomes, outcome: Outcome) -> dict[str, Any]:
    """A run as results.json has it; a plan is for the comparison, not for the points of a sweep."""
    entry = {
        **spec.facts(),
        "plan": None if spec.sweep else plans[spec.recipe.method].value,
        **outcome.facts(),
    }
    if outcome.value is None:
        return entry
    resolved = outcome.value["recipe"]["image_size"]
    return {**entry, "image_size": resolved, "result": outcome.value}


def _plan_words(plan: dict[str, Any]) -> str:
    minutes = (plan["train_seconds"] + plan["evaluation_seconds"]) / 60
    return (
        f"{plan['parameters']['trainable']:,} parameters to train, about {minutes:.1f} min, "
        f"{plan['peak_rss_bytes'] / 1e9:.1f} GB of memory"
    )


def _recipe_file(folder: Path, spec: RunSpec) -> Path:
    return folder / "recipes" / f"{spec.name}.yaml"


def _plan_file(folder: Path, spec: RunSpec) -> Path:
    return folder / "plans" / f"{spec.recipe.method}.json"


def _notes(folder: Path) -> dict[str, Any]:
    """study.json: how the study was tuned, and with how many runs side by side at most."""
    return read_kept(folder / "study.json") or {}
