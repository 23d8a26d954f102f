"""Folder of a study: recipes, plans, settings and results of earlier sessions."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import NonNegativeInt, PositiveInt

from orbitune.errors import DivergedError, OrbituneError, RunError, counted
from orbitune.evaluation.run_result import RunResult
from orbitune.files import holds_files
from orbitune.integrity import read_checksummed_json
from orbitune.recipe import Recipe
from orbitune.recipe_settings import DataSettings
from orbitune.records import RecordError, StoredRecord
from orbitune.study.design.fixed import Design
from orbitune.study.executor import Outcome
from orbitune.study.grid import RunSpec
from orbitune.study.layout import PLANS, RECIPES, SETTINGS, plan_file, recipe_file, trials_folder
from orbitune.study.records import Plan
from orbitune.study.renaming import Renaming, find_renamings, other_study
from orbitune.training.checkpoint import read_state
from orbitune.training.run_folder import check_inputs, divergence
from orbitune.training.setup import prepare_training
from orbitune.training.stored.recipe import has_trained, stored_recipe
from orbitune.training.stored.record import relocate
from orbitune.training.stored.records import RunInputs
from orbitune.yaml_files import read_yaml

_LOGGER = logging.getLogger(__name__)
_SEARCH = 2  # see `StudySettings.search`


class StudySettings(StoredRecord):
    """Settings of a study that its recipes do not hold: the content of study.json.

    Attributes:
        tune: number of learning rates that are tried first for each method, >= 0.
        jobs: most runs at once in any session, >= 1.
        design: what was fixed before the test split was read; None where an earlier version stored it.
        search: rule by which learning rates were searched: 1 compared some of the epochs with one seed (0.2
            and before), 2 is that of `orbitune.study.tune`.
    """

    FORMAT: ClassVar[int] = 2
    UNVERSIONED: ClassVar[int | None] = 1

    tune: NonNegativeInt
    jobs: PositiveInt
    search: PositiveInt = _SEARCH
    design: Design | None = None

    @classmethod
    def upgrade(cls, values: dict[str, Any], version: int) -> dict[str, Any]:
        """Mark the search of an earlier version."""
        return {**values, "search": 1}


@dataclass(frozen=True)
class StudyFolder:
    """Paths and stored state of a study.

    Attributes:
        path: the folder; each run is in the folder of its name below it.
        trials: number of learning rates that are tried first, see `orbitune.study.tune`.
    """

    path: Path
    trials: int
    _inputs: dict[tuple[object, ...], RunInputs] = field(default_factory=dict, repr=False, compare=False)

    def recipe_file(self, spec: RunSpec) -> Path:
        """Return the file of a run's recipe."""
        return recipe_file(self.path, spec.name)

    def plan_file(self, arm: str) -> Path:
        """Return the file of an arm's plan."""
        return plan_file(self.path, arm)

    def read_plan(self, arm: str) -> Plan | None:
        """Return an arm's stored plan; None where it is missing or damaged."""
        try:
            return Plan.read(self.plan_file(arm))
        except (OrbituneError, RecordError):
            return None

    def check_place(self) -> None:
        """Check that the folder is new, empty or that of a study.

        Raises:
            RunError: it holds other files, which a study must not be mixed with.
        """
        if not self.path.exists() or any((self.path / own).is_dir() for own in (RECIPES, PLANS)):
            return
        if holds_files(self.path):
            raise RunError(f"{self.path} exists and is not a study of Orbitune. Choose another --out.")

    def claim(self, specs: Sequence[RunSpec]) -> set[str]:
        """Store the recipes of all runs, unless the folder holds runs of other recipes.

        Runs that an earlier grid named otherwise are renamed, see `orbitune.study.renaming`.

        Returns:
            Names of the runs whose recipe was stored before, so that their results can be reused.

        Raises:
            RunError: the folder holds runs of other recipes, other inputs or another number of trials, or the
                place of a renamed run is taken. Nothing is changed then.
        """
        renamings = find_renamings(specs, self.path)
        known = {spec.name for spec in specs if self._matches(spec, renamings.get(spec.name))}
        self._expect_same_inputs([spec for spec in specs if spec.name in known], specs, renamings=renamings)
        for renaming in renamings.values():
            renaming.apply()
        if renamed := [(each.run[0].name, name) for name, each in renamings.items() if each.begun]:
            _LOGGER.info("renamed %s: %s is now %s", counted(len(renamed), "run"), *renamed[0])
        for spec in specs:
            recipe, file = spec.recipe, self.recipe_file(spec)
            if spec.name not in known and file.is_file():
                self.plan_file(spec.arm).unlink(missing_ok=True)
            if spec.name in known and recipe.epochs is None:  # older versions stored the default
                recipe = recipe.replace(epochs=Recipe.make(read_yaml(file)).epochs)
            recipe.save(file)
            for place in self._places(spec):
                if (moved := stored_recipe(place)) and moved.path_fields != recipe.path_fields:
                    relocate(place, recipe.path_fields)
        return known

    def _matches(self, spec: RunSpec, renaming: Renaming | None) -> bool:
        """Return whether the stored recipe of a run is that of `spec`, as that of a renamed run is.

        Raises a RunError if the recipe must not change.
        """
        if renaming:
            self._check_trials(renaming.begun)
            return True
        file = self.recipe_file(spec)
        if not file.is_file():
            return False
        begun = any(map(has_trained, self._places(spec)))
        stored = Recipe.make(read_yaml(file))
        differences = spec.recipe.differences(stored)
        moved = spec.recipe.path_fields != stored.path_fields
        if begun and differences:
            raise other_study(self.path, "of another recipe", differences=differences)
        if moved and begun:
            self._check_inputs(spec)
        if differences or (moved and not begun):
            return False
        self._check_trials(begun)
        return True

    def _check_trials(self, begun: bool) -> None:
        """Check that a run that has begun was tuned alike."""
        settings = self._settings()
        if begun and settings.tune != self.trials:
            raise other_study(
                self.path, "with other trials", differences=[f"--tune {self.trials}, not {settings.tune}"]
            )
        if begun and self.trials and settings.search != _SEARCH:
            raise other_study(
                self.path, "tuned by an earlier version", differences=["its learning rates may differ"]
            )

    def _places(self, spec: RunSpec) -> list[Path]:
        """Return the folders of a run and of the trials of its learning rate."""
        return [self.path / spec.name, *trials_folder(self.path, spec.search).glob("*")]

    def _expect_same_inputs(
        self, known: Sequence[RunSpec], specs: Sequence[RunSpec], *, renamings: Mapping[str, Renaming]
    ) -> None:
        """Check that runs still to be trained get the data and backbone of those that are finished."""
        finished: dict[tuple[str, str | None], tuple[RunSpec, Path]] = {}
        for spec in known:
            place = renamings[spec.name].run[0] if spec.name in renamings else self.path / spec.name
            if (place / "result.json").is_file():
                finished.setdefault((spec.split, spec.fold), (spec, place))
        if not all(map(self.finished, specs)):
            for spec, place in finished.values():
                self._check_place(spec, place)

    def _check_inputs(self, spec: RunSpec) -> None:
        """Check that moved data, split files and backbone have the same content."""
        for place in self._places(spec):
            self._check_place(spec, place)

    def _check_place(self, spec: RunSpec, place: Path) -> None:
        """Check that the inputs of a run or trial are those that it would have now."""
        if not (place / "inputs.json").is_file():
            return
        named = ("backbone", "seed", *DataSettings.model_fields)  # what the hashes follow from
        stored = stored_recipe(place) or spec.recipe  # trials have seeds of their own
        recipe = stored.model_copy(update=spec.recipe.path_fields)
        key = tuple(getattr(recipe, name) for name in named)
        if key not in self._inputs:
            self._inputs[key] = prepare_training(recipe, progress=False).inputs()
        check_inputs(place, self._inputs[key])

    def recorded_precision(self, specs: Sequence[RunSpec]) -> str | None:
        """Return the precision of the runs that have begun, of recipes that leave it to the processor.

        Raises:
            RunError: they were computed in several.
        """
        found: dict[str, Path] = {}
        for spec in specs:
            for place in self._places(spec) if spec.recipe.precision is None else ():
                recipe = stored_recipe(place) if has_trained(place) else None
                if recipe and recipe.precision:
                    found.setdefault(recipe.precision, place)
        if len(found) > 1:
            each = ", ".join(f"{precision}: {place.name}" for precision, place in found.items())
            raise RunError(
                f"{self.path} holds runs of several precisions ({each}), and one comparison takes one. "
                "Remove the folders of the others, which are trained again then."
            )
        return next(iter(found), None)

    def store(self, jobs: int, design: Design | None = None) -> None:
        """Store the number of trials, the most parallel runs and the design in study.json."""
        settings = StudySettings(tune=self.trials, jobs=max(jobs, self.max_jobs), design=design)
        settings.write(self.path / SETTINGS)

    @property
    def design(self) -> Design | None:
        """Return what an earlier session fixed; None where there was none."""
        return self._settings().design

    @property
    def test_was_read(self) -> bool:
        """Return whether any run of the folder has read its test split."""
        recipes = (self.path / RECIPES).glob("*.yaml")
        return any(count_test_reads(self.path / file.stem) for file in recipes)

    @property
    def max_jobs(self) -> int:
        """Highest number of parallel runs in any session."""
        return self._settings().jobs

    def _settings(self) -> StudySettings:
        file = self.path / SETTINGS
        if not file.exists():
            return StudySettings(tune=self.trials, jobs=1)
        try:
            return StudySettings.read(file)
        except RecordError as error:
            raise RunError(f"{file} {error}") from None
        except OrbituneError as error:  # what was fixed beforehand cannot be made up again
            raise RunError(f"{error} Restore it, or choose another --out.") from None

    def finished(self, spec: RunSpec) -> Outcome | None:
        """Return how a run ended in an earlier session; None if it has to be run."""
        folder = self.path / spec.name
        if error := divergence(folder):
            return Outcome(error=DivergedError(error))
        return Outcome(RunResult.load(folder).to_json()) if (folder / "result.json").is_file() else None


def count_test_reads(run: Path) -> int:
    """Return how often a run has read the test split, finished or not.

    A run counts a read in its checkpoint before it reads, so a run without result and checkpoint has read
    none.

    Args:
        run: the run's folder.

    Raises:
        RunError: its result.json is damaged.
    """
    if (file := run / "result.json").is_file():
        try:
            return int(read_checksummed_json(file)["test_reads"])
        except (OrbituneError, LookupError, TypeError, ValueError):
            raise RunError(f"{file} is damaged. Restore it, or train the run again.") from None
    state = run / "checkpoint" / "state.safetensors"
    return read_state(state).test_reads if state.is_file() else 0
