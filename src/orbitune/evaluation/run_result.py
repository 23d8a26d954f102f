"""The result of a finished run, stored as result.json."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import (
    Field,
    FiniteFloat,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)

from orbitune.errors import OrbituneError, RunError, counted
from orbitune.evaluation.tasks.label_set_scores import AnySplitScores
from orbitune.integrity import read_checksummed_json
from orbitune.models.lineage.training_data import RENAMED_DATA, TrainingData
from orbitune.models.metadata import FILE as MODEL
from orbitune.models.metadata import (
    BackboneRecord,
    ClassNames,
    ParameterCounts,
)
from orbitune.models.preprocessing import Preprocessing
from orbitune.recipe import Recipe, upgrade
from orbitune.records import JsonTuple, Record, RecordError, StoredRecord, rename_keys
from orbitune.suggestions import missing

FILE = "result.json"
# Older names of fields.
_COSTS = {"prefix_seconds": "cache_seconds", "prefix_reused": "cache_reused"}
_SPLITS = {"train", "validation", "test"}
_FALL = 0.2  # of the training accuracy from one epoch to the next; smaller ones are noise of few tiles


class EpochMetrics(Record):
    """Metrics of one epoch.

    Attributes:
        epoch: from 1.
        train_loss, train_accuracy: means over the steps of the epoch, in nats and 0..1.
        validation_loss, validation_accuracy, validation_macro_f1: after the epoch, in nats and 0..1; macro-F1
            is None in files of earlier versions.
        validation_macro_f1_error: standard error of macro-F1 over the choice of tiles; None for several
            labels and in files of earlier versions.
        validation_map, validation_micro_f1: mean average precision and micro-F1 of several labels a tile;
            None for one label. F1 is at the thresholds that the validation tiles give.
        learning_rate: of the last step, of the first parameter group.
        train_seconds, evaluation_seconds: wall time of each phase.
    """

    epoch: PositiveInt
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    validation_macro_f1: float | None = None
    validation_macro_f1_error: float | None = None
    validation_map: float | None = None
    validation_micro_f1: float | None = None
    learning_rate: float
    train_seconds: float
    evaluation_seconds: float

    @model_serializer(mode="wrap")
    def _without_missing_scores(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out missing scores, as files of earlier versions do.

        log.jsonl is compared with the history as text.
        """
        values: dict[str, Any] = serialise(self)
        return {name: value for name, value in values.items() if value is not None}


def epoch_score(metrics: EpochMetrics, best_by: str) -> float:
    """Return the validation score of an epoch that a recipe's `criterion` names; higher is better."""
    scores = {
        "accuracy": metrics.validation_accuracy,
        "macro-f1": metrics.validation_macro_f1,
        "micro-f1": metrics.validation_micro_f1,
        "map": metrics.validation_map,
        "loss": -metrics.validation_loss,
    }
    score = scores[best_by]
    assert score is not None
    return score


def best_epoch(history: Sequence[EpochMetrics], best_by: str) -> EpochMetrics:
    """Return the first epoch with the best validation score, see `epoch_score`."""
    return max(history, key=lambda metrics: (epoch_score(metrics, best_by), -metrics.epoch))


def describe_fall(history: Sequence[EpochMetrics]) -> str | None:
    """Return a warning if the training accuracy fell in the last epoch by more than a fifth; else None."""
    before, now = (each.train_accuracy for each in [history[0], *history][-2:])
    if before - now <= _FALL:
        return None
    return (
        f"The training accuracy fell from {100 * before:.1f} to {100 * now:.1f} % in epoch {len(history)}: "
        "the learning rate may be too high for this backbone. Lower --learning-rate, or search one with "
        "study --tune 3."
    )


class RunData(TrainingData):
    """The tiles of a run, with its classes.

    Attributes:
        classes: class names in the order of the logits.
        sizes: number of tiles in train, validation and test.
        skipped: number of unreadable images that were left out.
        seen: number of validation and test tiles that the runs of a fine-tuned backbone were trained on;
            splits without any are left out. None where it is not known.
        validated: of the other test tiles, the number that were their validation tiles; None likewise.
    """

    source: str
    classes: ClassNames
    skipped: NonNegativeInt = 0
    seen: dict[str, NonNegativeInt] | None = Field(default_factory=dict)
    validated: dict[str, NonNegativeInt] | None = None

    @field_validator("sizes")
    @classmethod
    def _of_every_split(cls, sizes: dict[str, int]) -> dict[str, int]:
        """Check that there is a size for every split."""
        if not sizes.keys() >= _SPLITS:
            raise ValueError("expected the number of tiles in train, validation and test")
        return sizes


class Cost(Record):
    """What a run cost; None where it was not measured.

    Attributes:
        train_seconds, evaluation_seconds: wall time of each phase.
        cache_seconds: wall time of computing or reading the cached activations; None without the cache.
        cpu_seconds: of all phases.
        run_seconds: wall time of all processes that worked on the run, from their start.
        energy_joules: energy of the run; None where the machine has no counter that can be read.
        energy_source: the counter that was read.
        seconds_per_epoch, images_per_second: of training.
        peak_rss_bytes, peak_cuda_bytes: highest resident memory, and highest memory that torch allocated.
        artefact_bytes: size of the saved model on disk.
        resumed: how often the run was continued.
        cache_reused: whether the activations of frozen layers were found in the cache.
    """

    train_seconds: NonNegativeFloat
    evaluation_seconds: NonNegativeFloat
    cache_seconds: NonNegativeFloat | None = None
    cpu_seconds: NonNegativeFloat
    run_seconds: NonNegativeFloat | None = None
    energy_joules: NonNegativeFloat | None = None
    energy_source: str | None = None
    seconds_per_epoch: NonNegativeFloat
    images_per_second: NonNegativeFloat
    peak_rss_bytes: NonNegativeInt
    peak_cuda_bytes: NonNegativeInt | None = None
    artefact_bytes: NonNegativeInt
    resumed: NonNegativeInt = 0
    cache_reused: bool = False


class Computation(Record):
    """How a run was computed; other machines and settings may differ.

    Attributes:
        fast: whether the fast path computed the run.
        why_not_fast: reason why the fast path was not used although the recipe asked for it.
        precision: bf16, fp16, tf32 or fp32.
        attention: name of the attention kernel.
        compiled_kernels: whether compiled kernels were used.
        why_not_compiled: reason why the fast path did not use them.
        products: what multiplies matrices, and in which dtype.
        micro_batch: tiles per forward pass.
        processes: number of processes.
    """

    fast: bool | None = None
    why_not_fast: str | None = None
    precision: str | None = None
    attention: str
    compiled_kernels: bool | None = None
    why_not_compiled: str | None = None
    products: str | None = None
    micro_batch: PositiveInt | None = None
    processes: PositiveInt | None = None


class ReloadCheck(Record):
    """The check that the saved model loads in another process.

    Attributes:
        largest_difference: largest absolute difference of a logit.
        tolerance: the largest one that is allowed.
    """

    largest_difference: FiniteFloat
    tolerance: FiniteFloat | None = None


class RunResult(StoredRecord):
    """One finished run, the content of result.json.

    Attributes:
        recipe: the resolved recipe.
        recipe_hash: of the recipe, as the version that wrote the file computed it.
        backbone: the checkpoint that was trained.
        preprocessing: of a tile, with the side of the input.
        data: the tiles and their splits.
        best_epoch: the epoch, from 1, whose weights were kept, by the recipe's `best_by`.
        validation, test: scores of the kept weights.
        test_reads: how often the test split has been read.
        history: metrics of each epoch.
        cost: time, memory, energy and size.
        compute: how it was computed.
        reload_check: the check of the saved model.
    """

    FORMAT: ClassVar[int] = 3

    recipe: Recipe
    recipe_hash: str
    parameters: ParameterCounts
    backbone: BackboneRecord
    preprocessing: Preprocessing
    data: RunData
    best_epoch: PositiveInt
    validation: AnySplitScores
    test: AnySplitScores
    test_reads: NonNegativeInt
    history: JsonTuple[EpochMetrics]
    cost: Cost
    compute: Computation
    reload_check: ReloadCheck

    @classmethod
    def upgrade(cls, values: dict[str, Any], version: int) -> dict[str, Any]:
        """Convert values of version 1, with "on" and "off", and 2, with other names."""
        recipe, backbone, cost, data = (values.get(key) for key in ("recipe", "backbone", "cost", "data"))
        if isinstance(recipe, dict):
            values["recipe"] = upgrade(recipe)
        if isinstance(backbone, dict):
            values["backbone"] = {"reference": backbone.get("name"), **backbone}
        if isinstance(cost, dict):
            values["cost"] = rename_keys(cost, _COSTS)
        if isinstance(data, dict):
            values["data"] = rename_keys(data, RENAMED_DATA)
        return rename_keys(values, {"proof": "reload_check"})

    @property
    def data_recipe(self) -> Recipe:
        """Return the recipe to read its tiles with, as the run read them; earlier versions knew one task."""
        return self.recipe if self.recipe.task else self.recipe.replace(task="single-label")

    def at(self, paths: dict[str, str | None]) -> "RunResult":
        """Return the result with other paths of the same data, split files and backbone."""
        return self.model_copy(update={"recipe": self.recipe.model_copy(update=paths)})

    @property
    def named_split(self) -> dict[str, str | None]:
        """Return the fields of `TrainingData` on its split; earlier versions stored its origin as a note."""
        fields = {name: getattr(self.recipe, name) for name in ("split", "split_files", "fold")}
        return {**fields, "split_origin": self.data.split_origin}

    @property
    def training_data(self) -> RunData:
        """Return its tiles with the fields on their split."""
        return self.data.model_copy(update=self.named_split)

    @property
    def split_name(self) -> str:
        """Return what its split is called."""
        return self.training_data.split_name

    def save(self, folder: Path) -> None:
        """Write result.json into the run folder."""
        self.write(folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> "RunResult":
        """Read a finished run.

        Raises:
            RunError: there is none, or its result.json is damaged or of a newer version.
        """
        values = _read(folder)
        try:
            return cls.from_json(values)
        except RecordError as error:
            raise _damaged(folder, str(error)) from None


def read_recipe(folder: Path) -> Recipe:
    """Read the resolved recipe of a finished run alone.

    Raises:
        RunError: as `RunResult.load`.
    """
    recipe = _read(folder).get("recipe")
    if not isinstance(recipe, dict):
        raise _damaged(folder, "it lacks recipe")
    try:
        return Recipe.make(recipe)
    except OrbituneError as error:
        raise _damaged(folder, str(error)) from None


def require_no_study(folder: Path) -> None:
    """Check that a folder is not one that holds finished runs, as that of a study does.

    Raises:
        RunError: it is; the message names a run to pass.
    """
    if runs := sorted(file.parent for file in folder.glob(f"*/{FILE}")):
        raise RunError(f"{folder} holds {counted(len(runs), 'run')}: pass one of them, such as {runs[0]}.")


def _read(folder: Path) -> dict[str, Any]:
    """Read the JSON object of a result.json."""
    file = Path(folder) / FILE
    if not file.is_file():
        if not Path(folder).is_dir():
            raise RunError(missing("folder", folder, advice="pass that of a finished run"))
        require_no_study(Path(folder))
        if (Path(folder) / MODEL).is_file():
            raise RunError(f"{folder} is a bundle: pass the folder of its run, or evaluate it with --data.")
        raise RunError(f"{folder} holds no finished run (no {FILE}).")
    try:
        return read_checksummed_json(file)
    except OrbituneError:
        raise _damaged(folder, "it was changed after it was written") from None


def _damaged(folder: Path, reason: str) -> RunError:
    """Return the error for a result.json that cannot be read."""
    return RunError(
        f"{Path(folder) / FILE} is damaged or of another version ({reason.rstrip('.')}). "
        "Restore it, or train again with another --out."
    )
