"""Runner of a study: every run in its own process, then results and report.

A process per run gives each its own peak memory. A study that was stopped in any way continues when it is
started again: finished runs are not repeated, and unfinished ones resume from their checkpoints.
"""

import logging
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

from orbitune.data.labels.early_checks import check_tiles
from orbitune.errors import OrbituneError, counted
from orbitune.evaluation.statistics.comparison import MARGIN
from orbitune.extras import require
from orbitune.files import remove_abandoned
from orbitune.fold import Fold
from orbitune.machine.timestamps import timestamp
from orbitune.messages import shown_on_stderr
from orbitune.recipe import Recipe
from orbitune.recipe_paths import SCRATCH
from orbitune.study.analysis import analyse_runs
from orbitune.study.corrupted_runs import score_corrupted
from orbitune.study.design.fixed import Design, design_words
from orbitune.study.design.power_plan import PowerPlan, expect_plannable, plan_power
from orbitune.study.design.stated import StatedVariability
from orbitune.study.executor import Executor, LocalExecutor
from orbitune.study.folder import StudyFolder, count_test_reads
from orbitune.study.grid import Grid, RunSpec
from orbitune.study.layout import TRIALS
from orbitune.study.live_table import LiveTable
from orbitune.study.own_lists import with_own_lists
from orbitune.study.recipes import expect_one_label, one_per_method
from orbitune.study.records import ExecutorRecord, Plan, RunRecord, StudyResults
from orbitune.study.report import write_report
from orbitune.study.results import write_results
from orbitune.study.run_records import record_run, shared_fields
from orbitune.study.stages import Stages
from orbitune.study.tune.search import Search, check_count, chosen_learning_rates, make_searches
from orbitune.suggestions import unknown
from orbitune.training.setup import check_recipes, prepare_training
from orbitune.training.stored.record import drop_weights
from orbitune.training.tracking.trackers import make_trackers

_LOGGER = logging.getLogger(__name__)


class _ExecutorFactory(Protocol):
    """Maker of the executor of a study in a folder."""

    def __call__(self, jobs: int | None, folder: Path, *, to_logs: bool) -> Executor: ...


def _make_local(jobs: int | None, folder: Path, *, to_logs: bool) -> Executor:
    return LocalExecutor(jobs or 1, folder / "logs" if to_logs or (jobs or 1) > 1 else None)


def _make_ray(jobs: int | None, folder: Path, *, to_logs: bool) -> Executor:
    from orbitune.study.ray import RayExecutor

    return RayExecutor(jobs, folder)


KEEP = ("all", "records")
EXECUTORS: dict[str, _ExecutorFactory] = {"local": _make_local, "ray": _make_ray}


class Study:
    """Compare fine-tuning methods, and backbones, on the same tiles.

    Examples:
        >>> from orbitune import Recipe, Study
        >>> recipe = Recipe(data="tiles", backbone="demo", epochs=1)
        >>> results = Study(recipe, "runs/study", methods=["full", "lora"], seeds=2).run()
        >>> results.summaries[0].accuracy.mean

    Args:
        recipes: one recipe per method, in the order of the report; or one recipe for all `methods`.
        out: the study's folder; each run is in the folder of its name below it.
        methods: names of methods, with a single recipe.
        backbones: backbones of every method, in place of the recipes'; each is run with its own image size,
            where the recipe names none.
        seeds: the seeds of every method, or their number, counted from the recipe's seed.
        splits: splits of every method, such as ["random", "spatial"]. `random` takes the lists that the data
            come with, where there are, and `redrawn` draws others.
        folds: number of folds of a cross-validation, in which each tile is tested once; for splits random,
            spatial and group. None for ordinary splits.
        shots: sweep over training tiles per class; "all" for all tiles.
        ranks: sweep over ranks, for the methods that have one.
        image_sizes: sweep over input sizes in pixels.
        scratch: epochs of one more arm, a small network trained from random weights, which shows what
            pretraining buys; None for no such arm.
        tune: number of learning rates that a search tries first, one for each method, backbone and split,
            see `orbitune.study.tune`; 0 for no tuning.
        margin: points below the reference that still count as equally good, of all splits or of each.
        primary: the comparison that the study is for, such as "lora:full"; by default all, judged together.
        difference: true difference in points, method minus reference, that the study is planned for.
        jobs: number of runs at once; None lets the executor choose.
        executor: `local`, or `ray` for the machines of a Ray cluster.
        robustness: number of validation tiles on which the first seed of each method is scored with
            corruptions, see `orbitune.evaluation.robustness`; 0 for none.
        keep: `all` of every run, or `records`: results, predictions and settings without weights, from which
            a study goes on, and is reported, on any machine; weights of earlier sessions stay.
        track: names of trackers that log every run, see `orbitune.training.tracking.trackers.TRACKERS`.
        command: command that reproduces the study, for the report; by default one with the same settings.

    Raises:
        OrbituneError: a setting is invalid.
    """

    def __init__(
        self,
        recipes: Recipe | Sequence[Recipe],
        out: str | Path,
        *,
        methods: Sequence[str] | None = None,
        backbones: Sequence[str] = (),
        seeds: int | Sequence[int] | None = None,
        splits: Sequence[str] = (),
        folds: int | None = None,
        shots: Sequence[int | str | None] = (),
        ranks: Sequence[int] = (),
        image_sizes: Sequence[int] = (),
        scratch: int | None = None,
        tune: int = 0,
        margin: float | Mapping[str, float] = MARGIN,
        primary: str | None = None,
        difference: float = 0.0,
        jobs: int | None = None,
        executor: str = "local",
        robustness: int = 0,
        keep: str = "all",
        track: Sequence[str] = (),
        command: str | None = None,
    ) -> None:
        if len(backbones) == 1:
            raise OrbituneError(f"--backbones compares two or more: for one, pass --backbone {backbones[0]}.")
        self.recipes, self.scratch = one_per_method(recipes, methods, scratch=scratch), scratch
        self.grid = Grid.of(
            backbones=backbones,
            seeds=seeds,
            splits=splits,
            folds=folds,
            shots=shots,
            ranks=ranks,
            image_sizes=image_sizes,
            first_seed=self.recipes[0].seed,
        )
        if folds is None and (alone := next((each.fold for each in self.recipes if each.fold), None)):
            raise OrbituneError(
                f"A study trains all folds of a cross-validation, and the recipe has fold {alone} alone: "
                f"pass --folds {Fold.parse(alone).count}, or leave fold out of it."
            )
        if executor not in EXECUTORS:
            raise OrbituneError(unknown("executor", executor, known=EXECUTORS))
        check_count(tune)
        if jobs is not None and jobs < 1:
            raise OrbituneError("--jobs must be 1 or more.")
        if robustness < 0:
            raise OrbituneError("--robustness takes a number of tiles, or 0 for none.")
        if keep not in KEEP:
            raise OrbituneError(unknown("value of --keep", keep, known=KEEP))
        make_trackers(track, out)  # checks that they are known and installed
        self.folder, self.track = StudyFolder(Path(out), tune), tuple(track)
        self.jobs, self.executor, self.robustness, self.keep = jobs, executor, robustness, keep
        self.margin, self.primary, self.difference = margin, primary, difference
        self.command = command or self._default_command()

    def run(self, progress: bool = True) -> StudyResults:
        """Train the unfinished runs; write results.json, report.html and report.md.

        A run that fails or diverges is reported as such and does not stop the others.

        Args:
            progress: show a live table on a terminal, else a message per event; False for no output.

        Returns:
            The results, as results.json stores them.

        Raises:
            OrbituneError: a recipe does not accept a value of the grid, or data or backbone are missing.
            RunError: the folder holds a study of another recipe, or no run succeeded.
            Interrupted: SIGINT was received; the running runs have saved their state.
        """
        require("study", purpose="studies")  # first: it brings `train` too
        require("train", purpose="studies")
        specs = self.grid.runs(self.recipes)
        path, live = self.folder.path, progress and sys.stderr.isatty()
        self.folder.check_place()
        unfinished = [spec.recipe for spec in specs if not self.folder.finished(spec)]
        check_recipes(*unfinished, one_label=True)
        specs = with_own_lists(specs, progress=progress)
        check_tiles((spec.recipe for spec in specs if not self.folder.finished(spec)), progress=progress)
        session = self._design(specs)
        design = session.after(self.folder.design, test_was_read=self.folder.test_was_read)
        remove_abandoned(path, recursive=True)
        executor = EXECUTORS[self.executor](self.jobs, path, to_logs=live or not progress)
        with shown_on_stderr(progress), closing(executor), LiveTable(live) as table:
            known = self.folder.claim(specs)
            self.folder.store(executor.slots, design)
            new = [spec.name for spec in specs if not self.folder.finished(spec)]
            drop = frozenset(new if self.keep == "records" else ())
            stages = Stages(
                self.folder,
                specs,
                known,
                executor,
                table,
                self.track,
                precision=self.folder.recorded_precision(specs),
                drop=drop,
                scored=self.robustness > 0,
            )
            plans = stages.plan()
            stages = stages.with_one_precision(plans)
            expect_one_label(plans.values())
            planned = [spec for spec in specs if isinstance(plans[spec.arm], Plan)]
            searches = make_searches(planned, self.folder.trials, folder=path / TRIALS)
            stages.tune(searches, plans)
            fixed, design = design, design.with_added(session)
            self.folder.store(executor.slots, design)  # before a run that was added reads the test split
            try:
                outcomes = stages.train(plans, chosen_learning_rates(searches))
            finally:
                if not any(count_test_reads(path / spec.name) for spec in specs if not fixed.covers(spec)):
                    design = fixed
                    self.folder.store(executor.slots, design)
            robustness = score_corrupted(
                specs, outcomes, folder=path, tiles=self.robustness, executor=executor, observer=table
            )
            self._drop_weights([name for name in drop if outcomes[name].value is not None])
            runs = [
                record_run(spec, plans[spec.arm], outcome=outcomes[spec.name], folder=path) for spec in specs
            ]
            found = self._collect(runs, searches, executor=executor)
            found |= analyse_runs(runs, path, design=design)
            results = StudyResults(**found, robustness=robustness, design=design)
        write_results(results, path)
        write_report(results, path)
        return results

    def power(
        self,
        *,
        pilot: str | Path | None = None,
        accuracy: float | None = None,
        spread: float | None = None,
        discordant: float | None = None,
        worse_by: float | None = None,
        progress: bool = True,
    ) -> PowerPlan:
        """Return the chance that the study decides, and what 80 % would take; nothing is trained or stored.

        Examples:
            >>> from orbitune import Recipe, Study
            >>> study = Study(Recipe(data="tiles"), "runs/s", methods=["full", "lora"], seeds=8)
            >>> study.power(accuracy=96, spread=0.1, discordant=3).comparisons[0].chances[0].chance

        Args:
            pilot: folder of a finished study, or of runs, with two seeds or more of each method.
            accuracy: of the reference, stated in percent in place of the pilot's.
            spread: standard deviation between seeds, stated in points.
            discordant: test images on which a run of one of two methods alone is right, stated in percent.
            worse_by: loss in points that is to be called more than the margin; by default twice the margin.
            progress: show progress while tiles are decoded.

        Raises:
            OrbituneError: the study cannot be run, or its power cannot be planned.
        """
        require("train", purpose="studies")
        specs = self.grid.runs(self.recipes)
        design = self._design(specs)
        stated, observed = StatedVariability(accuracy, spread, discordant), Path(pilot) if pilot else None
        expect_plannable(design, pilot=observed, stated=stated)
        check_recipes(*(spec.recipe for spec in specs), one_label=True)
        specs = with_own_lists(specs, progress=progress)
        first = {spec.split: spec for spec in reversed(specs) if spec.sweep is None}
        setups = {split: prepare_training(spec.recipe, progress) for split, spec in first.items()}
        images = {split: len(setup.splits["test"]) for split, setup in setups.items()}
        return plan_power(design, images=images, pilot=observed, stated=stated, worse_by=worse_by)

    def _design(self, specs: Sequence[RunSpec]) -> Design:
        """Return what this session would fix; references stay once the test split has been read."""
        stored = self.folder.design if self.folder.test_was_read else None
        own: dict[str, Any] = {"margin": self.margin, "primary": self.primary, "difference": self.difference}
        return Design.of(specs, **own, stored=stored)

    def _drop_weights(self, names: Sequence[str]) -> None:
        """Remove the weights of runs of this session, of which the records are kept alone."""
        for name in names:
            drop_weights(self.folder.path / name)
        if names:
            runs = counted(len(names), "run")
            _LOGGER.info("removed the weights of %s, trained in this session (--keep records)", runs)

    def _collect(
        self, runs: Sequence[RunRecord], searches: Sequence[Search], *, executor: Executor
    ) -> dict[str, Any]:
        """Return the measured fields of `StudyResults`."""
        varied = {"method", "learning_rate", *self.grid.varied}
        shared = shared_fields(runs, self.folder.path, varied=varied)
        return {
            "command": self.command,
            "created": timestamp(),
            **shared,
            "grid": self.grid,
            "executor": ExecutorRecord(
                name=executor.name,
                jobs=executor.slots,
                threads=executor.threads or shared["environment"].threads,
                # Parallel runs share caches and memory bandwidth.
                timings_comparable=self.folder.max_jobs == 1,
            ),
            "runs": runs,
            "trials": [record for search in searches for record in search.trial_records()],
            "searches": [search.record() for search in searches],
            "test_reads": {run.name: count_test_reads(self.folder.path / run.name) for run in runs},
        }

    def _default_command(self) -> str:
        """Return the command line of this study's settings."""
        grid = self.grid.to_json()
        folds = grid.pop("folds")
        lists = {f"--{name.replace('_', '-')}": values for name, values in grid.items() if values}
        compared = {name: getattr(self.grid, name) for name in ("backbones", "seeds", "splits", "folds")}
        first = Grid(**compared).runs(self.recipes)[0]
        words = ["orbitune", "study", "--recipe", str(self.folder.recipe_file(first))]
        words += ["--methods", ",".join(each.method for each in self.recipes if each.backbone != SCRATCH)]
        for option, values in lists.items():
            text = ",".join(map(str, values))
            words += [option, f"{text}," if option == "--seeds" and len(values) == 1 else text]
        numbers = {
            "--folds": folds,
            "--scratch": self.scratch,
            "--tune": self.folder.trials,
            "--jobs": self.jobs,
            "--robustness": self.robustness,
        }
        for option, number in numbers.items():
            words += [option, str(number)] if number else []
        words += design_words(self.margin, primary=self.primary, difference=self.difference)
        words += [word for name in self.track for word in ("--track", name)]
        if self.keep != "all":
            words += ["--keep", self.keep]
        if self.executor != "local":
            words += ["--executor", self.executor]
        return shlex.join([*words, "--out", str(self.folder.path)])
