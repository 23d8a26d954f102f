"""orbitune.json, which a saved model carries: what its fields may hold, checked once, where it is read.

Readers use the values as they stand in the file; fields that are not listed here are ignored.
"""

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from orbitune.errors import OrbituneError, RunError, one_line
from orbitune.integrity import read_sealed_json

FORMAT = 1
FILE = "orbitune.json"

Side = Annotated[int, Field(ge=1, le=1 << 14)]  # pixels
Fraction = Annotated[float, Field(ge=0, le=1)]
Three = Annotated[list[FiniteFloat], Field(min_length=3, max_length=3)]  # one number for each band
ThreePositive = Annotated[list[Annotated[FiniteFloat, Field(gt=0)]], Field(min_length=3, max_length=3)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def check_class_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return class names without blanks around them.

    Raises:
        ValueError: there is none; one is empty or holds a line break or another control character; or two are
            equal.
    """
    plain = tuple(name.strip() for name in names)
    for number, name in enumerate(plain):
        if not name:
            raise ValueError(f"class {number + 1} has no name")
        if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name):
            raise ValueError(f"class {name!r} holds a control character")
    written = [unicodedata.normalize("NFC", name) for name in plain]
    if twice := next((name for name in written if written.count(name) > 1), None):
        raise ValueError(f"two classes are named {twice!r}")
    if not plain:
        raise ValueError("there are no classes")
    return plain


def _named(names: list[str]) -> list[str]:
    """Check that names are unique; those in older files may hold control characters."""
    if not names or not all(name.strip() for name in names) or len(set(names)) < len(names):
        raise ValueError("expected class names, none empty and none twice")
    return names


def _plain_name(name: str) -> str:
    if Path(name).name != name:
        raise ValueError("expected names of files in this folder")
    return name


Hashes = dict[Annotated[str, AfterValidator(_plain_name)], Sha256]  # by name of the file


class _Part(BaseModel):
    """Values are not converted, as readers take them from the file itself."""

    model_config = ConfigDict(strict=True, extra="allow")


class Preprocessing(_Part):
    """What a tile goes through before the model, see `orbitune.models.backbones.Preprocessing`."""

    image_size: Side
    mean: Three
    std: ThreePositive
    resample: Literal["bilinear", "bicubic"]
    stated_by: str = ""


class Backbone(_Part):
    """The checkpoint below an adapter."""

    weights_sha256: str


class NamedBackbone(Backbone):
    """The same, with what finds it again."""

    weights_sha256: Sha256
    name: str
    reference: Annotated[str, Field(min_length=1)]
    description: str


class Scores(_Part):
    """What was reached on one split."""

    accuracy: Fraction
    interval: Annotated[list[FiniteFloat], Field(min_length=2, max_length=2)]
    macro_f1: FiniteFloat = 0.0
    count: Annotated[int, Field(ge=0)] = 0


class Brightness(_Part):
    """Mean and standard deviation of the training tiles in each band, 0..255."""

    mean: Three
    deviation: Three


class Data(_Part):
    """The tiles of the training."""

    tile_size: Annotated[list[Side], Field(min_length=2, max_length=2)] | None = None
    white: Annotated[int, Field(ge=1, le=65535)] | None = None
    brightness: Brightness | None = None


class OODDetector(_Part):
    """When a tile is called unlike those of the training."""

    threshold: Annotated[FiniteFloat, Field(ge=0)]
    false_alarm_rate: Fraction = 0.0
    bytes: Annotated[int, Field(ge=0)] = 0


class Storage(_Part):
    """How the weights are stored, and what that changed."""

    dtype: Literal["float32", "float16", "bfloat16"]
    accuracy_before: Fraction = 0.0
    accuracy_after: Fraction = 0.0
    largest_logit_difference: FiniteFloat = 0.0


class SavedFacts(_Part):
    """What loading a saved model needs; the other fields are checked where they are there."""

    format: PositiveInt = FORMAT
    method: Annotated[str, Field(min_length=1)] = "full"
    classes: Annotated[list[str], AfterValidator(_named)]
    preprocessing: Preprocessing
    backbone: Backbone
    scores: dict[str, Scores] = {}
    temperature: Annotated[FiniteFloat, Field(gt=0)] | None = None
    tta: Literal["none", "flips"] = "none"
    data: Data = Data()
    confusion: list[list[Annotated[int, Field(ge=0)]]] | None = None
    likeness: OODDetector | None = None
    storage: Storage | None = None
    files: Hashes = {}
    settings: Hashes = {}

    @model_validator(mode="after")
    def _one_row_a_class(self) -> "SavedFacts":
        count = len(self.classes)
        if self.confusion and [len(row) for row in self.confusion] != [count] * count:
            raise ValueError(f"confusion: expected {count} rows of {count} counts, as there are classes")
        return self


class BundleFacts(SavedFacts):
    """What a bundle and a finished run say besides."""

    format: PositiveInt
    method: Annotated[str, Field(min_length=1)]
    backbone: NamedBackbone
    scores: dict[str, Scores]


def read_facts(folder: Path, schema: type[SavedFacts] = SavedFacts) -> dict[str, Any]:
    """Read the orbitune.json of a saved folder, and check every field that is read anywhere.

    Raises:
        RunError: there is none, it was written by a newer version, or a field is missing or holds what it
            cannot.
    """
    try:
        values = read_sealed_json(folder / FILE)
    except OrbituneError as error:
        if not (folder / FILE).exists():
            raise RunError(f"{folder} holds no readable {FILE}; it is no saved model of Orbitune.") from None
        raise RunError(f"{folder} holds no readable {FILE}: {error}") from None
    check_facts(values, folder, schema)
    return values


def check_facts(values: dict[str, Any], folder: Path, schema: type[SavedFacts] = SavedFacts) -> None:
    """Check the fields of an orbitune.json.

    Raises:
        RunError: as `read_facts`.
    """
    version = values.get("format", FORMAT)
    if isinstance(version, int) and version > FORMAT:
        raise RunError(f"{folder} was written by a newer Orbitune; update it to read this.")
    needed = [name for name, field in schema.model_fields.items() if field.is_required()]
    if missing := [name for name in needed if name not in values]:
        raise RunError(f"The {FILE} of {folder} lacks {', '.join(missing)}; it is damaged. Restore it.")
    try:
        schema.model_validate(values)
    except ValidationError as error:
        raise RunError(f"The {FILE} of {folder} is damaged: {first_fault(error)}. Restore it.") from None


def first_fault(error: ValidationError) -> str:
    """Return the first invalid field and the reason, in one line."""
    fault = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, fault["loc"]))
    reason = fault["msg"].removeprefix("Value error, ")
    return one_line(f"{place}: {reason}" if place else reason).rstrip(".")
