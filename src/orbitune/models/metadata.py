"""Metadata of a saved model, stored as orbitune.json beside its weights."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, FiniteFloat, NonNegativeInt, Strict, model_validator

from orbitune.errors import OrbituneError, RunError, find_repeated
from orbitune.models.files.checkpoint_files import ADAPTER_CONFIG
from orbitune.models.lineage.adaptation import Adaptation
from orbitune.models.lineage.ancestors import Ancestor, check_joined
from orbitune.models.lineage.merging import MergeParent, MergeScore
from orbitune.models.lineage.scores import AnyScores, Fraction, Sha256
from orbitune.models.lineage.taught import TaughtHead
from orbitune.models.lineage.training_data import RENAMED_DATA, TrainingData
from orbitune.models.preprocessing import Preprocessing
from orbitune.recipe_settings import TaskName
from orbitune.records import JsonTuple, Record, RecordError, StoredRecord, rename_keys

FILE = "orbitune.json"
HUB_FILES = ("*.json", "*.safetensors", "README.md", "examples/*.png")  # of a bundle
HASHED = "sha256:"  # before the hash of a backbone that is found by it

StorageType = Literal["float32", "float16", "bfloat16"]


def check_class_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return class names without blanks around them.

    Raises:
        ValueError: there is none, one is empty or holds a control character, or two are equal.
    """
    plain = tuple(name.strip() for name in names)
    for number, name in enumerate(plain):
        if not name:
            raise ValueError(f"class {number + 1} has no name")
        if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name):
            raise ValueError(f"class {name!r} holds a control character")
    if twice := find_repeated([unicodedata.normalize("NFC", name) for name in plain]):
        raise ValueError(f"two classes are named {twice[0]!r}")
    if not plain:
        raise ValueError("there are no classes")
    return plain


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    """Check that names are unique; those in older files may hold control characters."""
    if not names or not all(name.strip() for name in names) or len(set(names)) < len(names):
        raise ValueError("expected class names, none empty and none twice")
    return names


def _plain_name(name: str) -> str:
    """Check that a name has no folder in it."""
    if Path(name).name != name:
        raise ValueError("expected names of files in this folder")
    return name


ClassNames = Annotated[JsonTuple[str], AfterValidator(_distinct)]
Hashes = dict[Annotated[str, AfterValidator(_plain_name)], Sha256]  # by name of the file


def with_licence(description: str, licence: str | None) -> str:
    """Return a checkpoint's description with its licence, see `BackboneRecord`."""
    stated = "unknown" if licence is None else licence or "its card states none"
    return f"{description} (licence: {stated})"


class BackboneRecord(Record):
    """The checkpoint that a model was trained from.

    Attributes:
        name: what the user called it.
        reference: what finds it again: the hub id, or the absolute folder; in what is shipped, in place of a
            folder, sha256: and the hash of its weights.
        description: for people.
        weights_sha256: over its weight files, see `Backbone.weights_hash`.
        licence: as its card states it; empty where it states none, None where there was no readable card.
        ancestors: the fine-tuned models that led to it, the oldest first.
    """

    name: str
    reference: Annotated[str, Field(min_length=1)]
    description: str
    weights_sha256: Sha256
    licence: str | None = None
    ancestors: JsonTuple[Ancestor] = ()

    @model_validator(mode="after")
    def _joined(self) -> "BackboneRecord":
        """Check that the hashes of the ancestors form a chain."""
        check_joined(self.ancestors, self.weights_sha256)
        return self

    @property
    def is_hashed(self) -> bool:
        """Return whether it is found by its hash alone."""
        return self.reference.startswith(HASHED)

    @property
    def summary(self) -> str:
        """Return the description with the licence."""
        return with_licence(self.description, self.licence)

    @property
    def runs(self) -> str:
        """Return what the runs of a fine-tuned backbone are called."""
        return f"the backbone's runs ({', '.join(link.name for link in self.ancestors)})"


class ParameterCounts(Record):
    """Numbers of parameters of a model.

    Attributes:
        total: sum of backbone, adapter and head.
        backbone, adapter, head: of each part; random matrices that an adapter scales belong to the adapter.
        trainable: parameters that training changes.
        stored: numbers that are saved; None where it was not recorded.
    """

    total: NonNegativeInt
    backbone: NonNegativeInt
    adapter: NonNegativeInt
    head: NonNegativeInt
    trainable: NonNegativeInt
    stored: NonNegativeInt | None = None

    @property
    def stored_bytes(self) -> int:
        """Size of the saved weights in fp32."""
        assert self.stored is not None
        return 4 * self.stored


class OODThreshold(Record):
    """The threshold of the out-of-distribution detector, and how it was set.

    Attributes:
        measure: how the OOD score is computed, for people.
        threshold: tiles with a higher OOD score are *not sure*.
        false_alarm_rate: fraction of tiles like the training tiles above the threshold, at most, on average;
            of the validation tiles in bundles of version 0.1.
        view_threshold: the same for cells of a map: set on views of the validation tiles as other sensors and
            smaller windows show them; None for `threshold`.
        min_confidence: cells of a map with a lower class probability are *not sure*.
        risk: fraction of the other views whose class is wrong.
        training_tiles, validation_tiles: number of tiles it was fitted and set on.
        bytes: size of the detector's file.
    """

    measure: str = ""
    threshold: Annotated[FiniteFloat, Field(ge=0)]
    false_alarm_rate: Fraction = 0.0
    view_threshold: Annotated[FiniteFloat, Field(ge=0)] | None = None
    min_confidence: Fraction = 0.0
    risk: Fraction | None = None
    training_tiles: NonNegativeInt = 0
    validation_tiles: NonNegativeInt = 0
    bytes: NonNegativeInt = 0


class WeightStorage(Record):
    """Storage type of the weights, and its effect on the validation scores.

    Attributes:
        dtype: of the stored weights; the other fields are None for float32, which changes nothing.
        tiles: number of validation tiles.
        accuracy_before, accuracy_after: 0..1; None with several labels a tile.
        label_scores: with several labels a tile, (before, after) of mAP and micro-F1; else empty.
        largest_logit_difference: largest absolute difference of a logit.
    """

    dtype: StorageType
    tiles: NonNegativeInt | None = None
    accuracy_before: Fraction | None = None
    accuracy_after: Fraction | None = None
    label_scores: dict[str, Annotated[tuple[Fraction, Fraction], Strict(False)]] = Field(default_factory=dict)
    largest_logit_difference: FiniteFloat | None = None

    def describe_change(self) -> str:
        """Return the scores before and after with the largest difference of a logit; empty if unmeasured."""
        scores = [
            f"{name} {one:.4f} before and {other:.4f} after"
            for name, (one, other) in self.label_scores.items()
        ]
        if self.accuracy_before is not None:
            scores = [f"accuracy {self.accuracy_before:.3%} before and {self.accuracy_after:.3%} after"]
        if not scores:
            return ""
        return f"{', '.join(scores)}; a logit differs by at most {self.largest_logit_difference:.2g}"


class ModelMetadata(StoredRecord):
    """The content of orbitune.json; what is not known is None.

    Attributes:
        made_by: program and version.
        method: name of the fine-tuning method.
        task: one label a tile, or several.
        classes: class names in the order of the logits.
        preprocessing: of a tile, with the side of the input.
        recipe_hash: of the run.
        scores: by split; empty for an imported adapter.
        temperature: divides logits before offsets and softmax or sigmoid (Guo et al. 2017, arXiv:1706.04599).
        offsets: added to them then (Platt 1999), with several labels a tile; None for none.
        thresholds: probability from which a tile has each class, with several labels a tile; else None.
        tta: test-time augmentation of the scores and predictions.
        confusion: test tiles by true class (rows) and prediction.
        ood_detector: None for a run, for an imported adapter, and where validation tiles were too few.
        imported: what an imported adapter stated about its backbone.
        merged_from: the parents of a merged adapter; `validations` are its scores on their tiles.
        adaptation: how the head was refitted to a scene; None for other models.
        taught: how the head was fitted to pictures in the browser; None for other models.
        merged_link: of weights with an adapter merged, to train on: the link of the chain that they are.
        files, settings: SHA-256 of the weight files and of the JSON files beside this one.
    """

    FORMAT: ClassVar[int] = 5

    made_by: str | None = None
    method: Annotated[str, Field(min_length=1)]
    task: TaskName = "single-label"
    classes: ClassNames
    preprocessing: Preprocessing
    backbone: BackboneRecord
    data: TrainingData = TrainingData()
    recipe_hash: str | None = None
    parameters: ParameterCounts | None = None
    scores: dict[str, AnyScores]
    temperature: Annotated[FiniteFloat, Field(gt=0)] | None = None
    offsets: JsonTuple[FiniteFloat] | None = None
    thresholds: JsonTuple[Fraction] | None = None
    tta: Literal["none", "flips"] = "none"
    confusion: JsonTuple[JsonTuple[NonNegativeInt]] | None = None
    ood_detector: OODThreshold | None = None
    storage: WeightStorage | None = None
    imported: dict[str, str | None] | None = None
    merged_from: JsonTuple[MergeParent] | None = None
    validations: JsonTuple[MergeScore] | None = None
    adaptation: Adaptation | None = None
    taught: TaughtHead | None = None
    merged_link: Ancestor | None = None
    files: Hashes = Field(default_factory=dict)
    settings: Hashes = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_row_per_class(self) -> "ModelMetadata":
        """Check that the confusion matrix has one row and column per class."""
        count = len(self.classes)
        if self.confusion and [len(row) for row in self.confusion] != [count] * count:
            raise ValueError(f"confusion: expected {count} rows of {count} counts, as there are classes")
        return self

    @model_validator(mode="after")
    def _one_value_per_class(self) -> "ModelMetadata":
        """Check that several labels a tile have a threshold each, and an offset or none; one has neither."""
        wanted = len(self.classes) if self.task == "multi-label" else 0
        if len(self.thresholds or ()) != wanted:
            raise ValueError(f"thresholds: expected {wanted} for task {self.task}")
        if len(self.offsets or ()) not in (0, wanted):
            raise ValueError(f"offsets: expected {wanted} for task {self.task}")
        return self

    @model_validator(mode="after")
    def _places_of_known_classes(self) -> "ModelMetadata":
        """Check that the labelled points of an adaptation are of the model's classes."""
        places = self.adaptation.places if self.adaptation else ()
        if unknown := sorted({place.label for place in places} - set(self.classes)):
            raise ValueError(f"adaptation: a labelled place has the unknown class {unknown[0]!r}")
        return self

    @classmethod
    def upgrade(cls, values: dict[str, Any], version: int) -> dict[str, Any]:
        """Convert values of versions 1 and 2, with other names of fields; 3 has one label, 4 no offsets."""
        if "likeness" in values:
            values["ood_detector"] = values.pop("likeness")
        if isinstance(parents := values.get("merged_from"), list):
            values["merged_from"] = [
                {"weight": each.get("share"), **each} if isinstance(each, dict) else each for each in parents
            ]
        if isinstance(data := values.get("data"), dict):
            values["data"] = rename_keys(data, RENAMED_DATA)
        return values if values.get("parameters") else {**values, "parameters": None}

    def describe_seen(self, split: str) -> str:
        """Return how many tiles of a split the runs of the backbone have seen; empty where none are known."""
        return self.scores[split].describe_seen(split, self.backbone.runs)

    def to_json(self) -> dict[str, Any]:
        """Return the metadata as a JSON object, without the fields that are not known.

        It is in format 3, which earlier versions read, unless it has what they cannot: several labels a tile,
        or an adapter's backbone or an ancestor without its folder.
        """
        values = self.model_dump(mode="json", exclude_none=True)
        links = (*self.backbone.ancestors, *filter(None, [self.merged_link]))
        hashed = self.backbone.is_hashed and ADAPTER_CONFIG in self.settings
        if self.task == "single-label" and not hashed and all(link.folder for link in links):
            del values["task"]
            values["format"] = 3
        return values


def read_metadata(folder: Path) -> ModelMetadata:
    """Read the orbitune.json of a saved model.

    Raises:
        RunError: there is none, it was written by a newer version, or a field is missing or invalid.
    """
    try:
        return ModelMetadata.read(folder / FILE)
    except RecordError as error:
        raise RunError(f"The {FILE} of {folder} {error}") from None
    except OrbituneError as error:
        if not (folder / FILE).exists():
            raise RunError(f"{folder} holds no readable {FILE}; it is not a model of Orbitune.") from None
        raise RunError(f"{folder} holds no readable {FILE}: {error}") from None
