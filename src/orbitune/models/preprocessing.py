"""Preprocessing of tiles, as a checkpoint's preprocessor_config.json states it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from orbitune.errors import ModelError, OrbituneError
from orbitune.integrity import read_json
from orbitune.models.metadata import Side, Three, ThreePositive, first_fault

if TYPE_CHECKING:
    from orbitune.models.families import Family

_RESAMPLE = {2: "bilinear", 3: "bicubic"}  # PIL's numbers, as preprocessor files spell them


@dataclass(frozen=True)
class Preprocessing:
    """What a tile goes through before the model: pixels / 255, resized, then (x - mean) / std per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    resample: str
    stated_by: str

    def to_json(self) -> dict[str, Any]:
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}


def read_preprocessing(folder: Path, family: "Family") -> tuple[Preprocessing, int | None]:
    """Read a folder's preprocessor_config.json, and the input size in pixels if it states one.

    Raises:
        ModelError: the file is damaged, or asks for what is not supported.
    """
    stated = _preprocessor_file(folder)
    return _preprocessing(stated, family), _stated_size(stated)


class _Stated(BaseModel):
    """A preprocessor_config.json, as far as it is followed."""

    model_config = ConfigDict(strict=True, extra="allow")

    do_normalize: bool = True
    do_center_crop: bool = False
    resample: int | None = 2
    image_mean: Three | None = None
    image_std: ThreePositive | None = None
    size: Side | dict[str, Side] | None = None
    crop_size: Side | dict[str, Side] | None = None


def _preprocessor_file(folder: Path) -> _Stated:
    file = folder / "preprocessor_config.json"
    if not file.is_file():
        return _Stated()
    try:
        return _Stated.model_validate(read_json(file))
    except ValidationError as error:
        raise ModelError(
            f"{file.name} of {folder.name} is damaged: {first_fault(error)}. Restore it."
        ) from None
    except OrbituneError:
        raise ModelError(f"{file.name} of {folder.name} is not valid JSON; mend or remove it.") from None


def _preprocessing(stated: _Stated, family: "Family") -> Preprocessing:
    number = 2 if stated.resample is None else stated.resample
    if number not in _RESAMPLE:
        raise ModelError(
            f"The checkpoint resizes with PIL's filter {number}; supported are 2 (bilinear) and 3 (bicubic)."
        )
    resample = _RESAMPLE[number]
    if not stated.do_normalize:
        return Preprocessing((0.0,) * 3, (1.0,) * 3, resample, "the checkpoint, which does not normalise")
    if stated.image_mean and stated.image_std:
        mean, std = tuple(stated.image_mean), tuple(stated.image_std)
        return Preprocessing(mean, std, resample, "the checkpoint's preprocessor_config.json")
    return Preprocessing(
        *family.normalisation, resample, f"the {family.title} family (the checkpoint has none)"
    )


def _stated_size(stated: _Stated) -> int | None:
    """The side in pixels of what the checkpoint's own preprocessing puts out (DINOv2 crops)."""
    size = stated.crop_size if stated.do_center_crop else stated.size
    return (size.get("height") or size.get("shortest_edge")) if isinstance(size, dict) else size
