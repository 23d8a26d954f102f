"""Benchmark suites (YAML): the arms, their data, and the number of rounds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from orbitune.bench.figure_kinds import FIGURES, INPUTS, describe_missing
from orbitune.bench.ratios import judge
from orbitune.errors import OrbituneError
from orbitune.evaluation.run_result import read_recipe
from orbitune.recipe import Recipe
from orbitune.recipe_paths import anchor, anchor_path
from orbitune.settings_errors import InvalidSettingsError, find_faults
from orbitune.suggestions import unknown
from orbitune.yaml_files import read_yaml

# What is measured: each has a module of that name, `_` for `-`, in `orbitune.bench.arms`.
TRAINING = ("orbitune", "hf-trainer", "original")
PREDICTION = ("bank", "classifier", "export", "peft-adapters", "pipeline")
KINDS = (*TRAINING, *PREDICTION)


@dataclass(frozen=True)
class Arm:
    """One way to train or predict, run in its own process.

    Attributes:
        name: readable description, unique in the suite.
        kind: one of KINDS.
        recipe: of the training; for a prediction, that of the suite's run.
        settings: (name, value) pairs of a prediction.
    """

    name: str
    kind: str
    recipe: Recipe
    settings: tuple[tuple[str, Any], ...] = ()


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ArmComparison(_Strict):
    """Two arms and the target for their ratio; above 1, the candidate is better.

    Attributes:
        candidate, baseline: the kind of an arm and its settings: of a recipe, or of a prediction, such as
            `tasks`.
        measure: images per second; latency, the median over the steps; or memory: the GPU's peak where there
            is one, else the peak RSS minus that of the imports.
        at_least, aim: required and desired ratio.
    """

    title: str
    candidate: dict[str, Any]
    baseline: dict[str, Any]
    measure: Literal["images_per_second", "latency", "memory"] = "images_per_second"
    at_least: float | None = None
    aim: float | None = None


class BenchFigure(_Strict):
    """One number and its target.

    Attributes:
        measure: its kind, one of FIGURES, and its settings.
        at_least, at_most: required bound; the one that is given also says which side of `aim` is better.
    """

    title: str
    measure: dict[str, Any]
    at_least: float | None = None
    at_most: float | None = None
    aim: float | None = None

    @property
    def kind(self) -> str:
        """Return the kind of the measure, one of FIGURES."""
        return str(self.measure.get("kind"))

    @property
    def settings(self) -> dict[str, Any]:
        """Return the settings of the measure."""
        return {name: value for name, value in self.measure.items() if name != "kind"}

    def judge(self, value: float, *, interval: tuple[float, float] | None = None) -> str:
        """Return whether a value reaches the aim or the required bound, see `orbitune.bench.ratios.judge`."""
        at_most = self.at_most is not None
        required = self.at_most if at_most else self.at_least
        return judge(value, required, aim=self.aim, at_most=at_most, interval=interval)


class Suite(_Strict):
    """Comparisons on the same data with the same backbone and batch size.

    Attributes:
        name: stem of the report's files; that of the YAML file.
        data, backbone: of every training; a prediction has those of its run.
        run: folder of a finished run, for prediction arms and figures.
        reference_run: folder of a finished run that figures compare the run with.
        scene: raster of a real scene, for map figures.
        labelled_scenes: folder of labelled scenes, see `orbitune.bench.figures.labelled_scenes`.
        groups: classes by the coarse group in which answers on labelled scenes are judged.
        warmup: steps of each process that are not measured.
        seconds: measured time of each process.
        rounds: how often each arm is run; even, as every other round is reversed.
    """

    name: str
    data: str = ""
    backbone: str = ""
    run: str | None = None
    reference_run: str | None = None
    scene: str | None = None
    labelled_scenes: str | None = None
    groups: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    batch_size: int = Field(64, ge=1)
    warmup: int = Field(3, ge=1)
    seconds: float = Field(10, gt=0)
    rounds: int = Field(6, ge=2)
    comparisons: tuple[ArmComparison, ...] = ()
    figures: tuple[BenchFigure, ...] = ()

    @field_validator("rounds")
    @classmethod
    def _check_even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("must be even, since every other round runs in reverse order")
        return value

    @classmethod
    def make(cls, values: dict[str, Any]) -> "Suite":
        """Build a suite from plain values.

        Raises:
            OrbituneError: a value is missing, unknown or invalid.
        """
        try:
            suite = cls.model_validate(values)
        except ValidationError as error:
            raise InvalidSettingsError.of("suite", find_faults(error, cls)) from None
        if not (suite.comparisons or suite.figures):
            raise OrbituneError("Invalid suite: comparisons: there are none, and no figures")
        suite.arms()
        for figure in suite.figures:
            if figure.kind not in FIGURES:
                raise OrbituneError(unknown("figure", figure.kind, known=FIGURES))
        return suite

    @classmethod
    def load(cls, path: Path) -> "Suite":
        """Read a suite from a YAML file, whose stem is its name.

        Paths in it are relative to its folder.
        """
        return cls.make({"name": path.stem, **_anchored(read_yaml(path, "benchmark suite"), path.parent)})

    def with_inputs(
        self,
        *,
        data: str | None = None,
        backbone: str | None = None,
        run: str | None = None,
        reference_run: str | None = None,
        scene: str | None = None,
        labelled_scenes: str | None = None,
    ) -> "Suite":
        """Return the suite with other inputs where given."""
        given = {
            "data": data,
            "backbone": backbone,
            "run": run,
            "reference_run": reference_run,
            "scene": scene,
            "labelled_scenes": labelled_scenes,
        }
        return self.model_copy(
            update=_anchored({name: value for name, value in given.items() if value is not None})
        )

    def quick(self) -> "Suite":
        """Return a short form for a check; its figures are not to be published."""
        short = {"name": f"{self.name}-quick", "warmup": 2, "seconds": 2.0, "rounds": 2}
        return self.model_copy(update=short)

    def arms(self) -> list[Arm]:
        """Return the distinct arms in the order in which they are named."""
        return list(dict.fromkeys(arm for each in self.comparisons for arm in self.pair(each)))

    def pair(self, comparison: ArmComparison) -> tuple[Arm, Arm]:
        """Return the two arms of a comparison."""
        return self._arm(comparison.candidate), self._arm(comparison.baseline)

    def _arm(self, settings: dict[str, Any]) -> Arm:
        own = dict(settings)
        kind, method = own.pop("kind", None), own.get("method", "lora")
        if kind not in KINDS:
            raise OrbituneError(unknown("kind of arm", kind, known=KINDS))
        if kind in PREDICTION:
            words = (f"{key} {value}" for key, value in sorted(own.items()))
            name, recipe = ", ".join((kind, *words)), self.run_recipe()
            if size := own.pop("batch_size", None):
                recipe = recipe.replace(batch_size=size)
            return Arm(name, kind, recipe, tuple(sorted(own.items())))
        if given := {"data", "backbone"} & set(own):
            raise OrbituneError(f"The arms of a suite share its {' and '.join(sorted(given))}.")
        shared = {"data": self.data, "backbone": self.backbone, "batch_size": self.batch_size}
        # No baseline shows views of other sensors, so ours train without them unless an arm asks for them.
        recipe = Recipe.make({**shared, "augment": "flips", **own})
        if kind == "original" and recipe.precision != "fp32":
            raise OrbituneError("The original study computed in fp32: set `precision: fp32` for that arm.")
        size = f"{recipe.image_size} px" if "image_size" in own else ""
        switch = {True: "on", False: "off"}
        named_first = {"method", "image_size", "precision"}
        others = (
            f"{key} {switch[own[key]] if isinstance(own[key], bool) else own[key]}"
            for key in sorted(set(own) - named_first)
        )
        named = (kind, method, size, own.get("precision", ""), *others)
        return Arm(", ".join(filter(None, named)), kind, recipe)

    def check_inputs(self) -> None:
        """Check that the suite has all inputs of its arms and figures.

        Raises:
            OrbituneError: one is missing; the message says how it is given.
        """
        given = {name for name in INPUTS if getattr(self, name)}
        if "run" not in given and any(arm.kind in PREDICTION for arm in self.arms()):
            raise OrbituneError(describe_missing(("run",)))
        for figure in self.figures:
            if missing := FIGURES[figure.kind].missing(given):
                raise OrbituneError(describe_missing(missing))

    def inputs(self, figure: BenchFigure) -> dict[str, Any]:
        """Return the inputs of a figure by name."""
        kind = FIGURES[figure.kind]
        return {name: getattr(self, name) for name in (*kind.needs, *kind.any_of)}

    def run_recipe(self) -> Recipe:
        """Return the run's recipe with the suite's batch size.

        Without a run, it is the default recipe.
        """
        recipe = read_recipe(Path(self.run)) if self.run else Recipe()
        return recipe.replace(batch_size=self.batch_size)


def _anchored(values: dict[str, Any], file_folder: Path | None = None) -> dict[str, Any]:
    """Return the values with absolute paths, see `orbitune.recipe_paths.anchor`."""
    named = {name: values[name] for name in INPUTS if isinstance(values.get(name), str)}
    return anchor(values, file_folder) | {n: anchor_path(text, file_folder) for n, text in named.items()}


# Runs anywhere: needs neither a network, beyond the installation, nor a data set.
BUILT_IN: dict[str, Any] = {
    "name": "synthetic",
    "data": "synthetic:1000",
    "backbone": "demo",
    "comparisons": [
        {
            "title": "LoRA against full fine-tuning",
            "candidate": {"kind": "orbitune", "method": "lora", "image_size": 56},
            "baseline": {"kind": "orbitune", "method": "full", "image_size": 56},
        },
        {
            "title": "LoRA against the Trainer of transformers with PEFT",
            "candidate": {"kind": "orbitune", "method": "lora", "image_size": 56},
            "baseline": {"kind": "hf-trainer", "method": "lora", "image_size": 56},
        },
    ],
}
