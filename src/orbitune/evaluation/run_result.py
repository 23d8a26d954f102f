"""RunResult: everything that was measured in one run, as its result.json keeps it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, FiniteFloat, NonNegativeInt, PositiveInt, ValidationError

from orbitune.errors import OrbituneError, RunError
from orbitune.integrity import read_sealed_json, write_sealed_json
from orbitune.models.metadata import Backbone, Data, Preprocessing, Scores, first_fault

FORMAT = 1
_FILE = "result.json"


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class _Recipe(_Part):
    method: str
    backbone: str


class _NamedBackbone(Backbone):
    name: str
    description: str


class _Sizes(_Part):
    train: NonNegativeInt
    validation: NonNegativeInt
    test: NonNegativeInt


class _Data(Data):
    source: str
    classes: list[str]
    sizes: _Sizes
    notes: list[str]
    skipped: NonNegativeInt = 0


class _Class(_Part):
    name: str
    precision: FiniteFloat
    recall: FiniteFloat
    f1: FiniteFloat
    support: NonNegativeInt


class _Scores(Scores):
    count: NonNegativeInt
    macro_f1: FiniteFloat
    per_class: list[_Class]


class _Compute(_Part):
    attention: str


class _Proof(_Part):
    largest_difference: FiniteFloat


class _Result(_Part):
    """What result.json may hold; see `RunResult` for its meaning."""

    recipe: _Recipe
    recipe_hash: str
    parameters: dict[str, NonNegativeInt]
    backbone: _NamedBackbone
    preprocessing: Preprocessing
    data: _Data
    best_epoch: PositiveInt
    validation: _Scores
    test: _Scores
    test_reads: NonNegativeInt
    history: list[dict[str, Any]]
    cost: dict[str, Any]
    compute: _Compute
    proof: _Proof
    format: PositiveInt = FORMAT


@dataclass(frozen=True)
class RunResult:
    """One finished run.

    Attributes:
        recipe: the resolved recipe.
        parameters: counts of each part, see `orbitune.models.methods.count_parameters`.
        backbone: name, plain description, hash of the weight files.
        preprocessing: image size, mean, std, resampling, and who stated them.
        data: source, fingerprint, classes, sizes of the splits, notes.
        best_epoch: the epoch, from 1, whose weights were kept, by validation accuracy.
        validation, test: scores, see `orbitune.evaluation.metrics.score`.
        test_reads: how often the test split has been read.
        history: losses, accuracies, learning rate and seconds of each epoch.
        cost: seconds, images per second of training, peak memory in bytes, size on disk in bytes;
            energy_joules, None where the machine shows none, and energy_source, which says what was counted.
            Runs from before energy was measured have neither.
        compute: how it was computed: fast path or why not, precision, attention kernel, micro-batch.
        proof: largest difference of a logit after reloading from disk in a fresh process.
    """

    recipe: dict[str, Any]
    recipe_hash: str
    parameters: dict[str, int]
    backbone: dict[str, Any]
    preprocessing: dict[str, Any]
    data: dict[str, Any]
    best_epoch: int
    validation: dict[str, Any]
    test: dict[str, Any]
    test_reads: int
    history: list[dict[str, float]]
    cost: dict[str, Any]
    compute: dict[str, Any]
    proof: dict[str, Any]
    format: int = FORMAT

    def save(self, folder: Path) -> None:
        """Write result.json into the run folder."""
        write_sealed_json(folder / _FILE, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> "RunResult":
        """Read a finished run; raise a RunError if there is none or its result.json is damaged."""
        values = _read(folder)
        try:
            _Result.model_validate(values)
            return cls(**values)
        except (ValidationError, TypeError) as error:
            reason = first_fault(error) if isinstance(error, ValidationError) else "its fields are not known"
            raise _damaged(folder, reason) from None


def read_recipe(folder: Path) -> dict[str, Any]:
    """Read the resolved recipe of a finished run alone; RunError as `RunResult.load`."""
    values = _read(folder)
    if not isinstance(recipe := values.get("recipe"), dict):
        raise _damaged(folder, "recipe is missing")
    return recipe


def _read(folder: Path) -> dict[str, Any]:
    file = Path(folder) / _FILE
    if not file.is_file():
        raise RunError(f"{folder} holds no finished run (no {_FILE}).")
    try:
        return read_sealed_json(file)
    except OrbituneError:
        raise _damaged(folder, "it is not as it was written") from None


def _damaged(folder: Path, reason: str) -> RunError:
    return RunError(
        f"{Path(folder) / _FILE} is damaged or of another version ({reason}). Restore it, or train again "
        "with another --out."
    )
