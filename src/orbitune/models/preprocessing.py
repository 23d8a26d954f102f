"""Preprocessing of tiles, as a checkpoint's preprocessor_config.json states it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, Strict

from orbitune.errors import ModelError
from orbitune.files import write_json
from orbitune.models.files.config_files import read_config_file
from orbitune.records import Record

if TYPE_CHECKING:
    from orbitune.models.families import Family

PREPROCESSOR_CONFIG = "preprocessor_config.json"
_RESAMPLE: dict[int, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}  # PIL's filter numbers

Side = Annotated[int, Field(ge=1, le=1 << 14)]  # pixels
_Positive = Annotated[FiniteFloat, Field(gt=0)]
Bands = Annotated[tuple[FiniteFloat, FiniteFloat, FiniteFloat], Strict(False)]  # red, green, blue
PositiveBands = Annotated[tuple[_Positive, _Positive, _Positive], Strict(False)]


class Preprocessing(Record):
    """Preprocessing from uint8 pixels to a model's input.

    Pixels are divided by 255, resized, and normalised in each band: (x - mean) / std.

    Attributes:
        image_size: side of the model's input in pixels.
        mean, std: of each band, for values in 0..1.
        resample: interpolation of the resize.
        stated_by: the file or family that these values come from.
    """

    image_size: Side
    mean: Bands
    std: PositiveBands
    resample: Literal["bilinear", "bicubic"]
    stated_by: str = ""

    def at_size(self, image_size: int) -> "Preprocessing":
        """Return the same preprocessing for another input size in pixels."""
        return self.model_copy(update={"image_size": image_size})


def read_preprocessing(folder: Path, family: "Family", *, default_size: int) -> Preprocessing:
    """Read a folder's preprocessor_config.json.

    Args:
        default_size: side of the input in pixels where the file states none.

    Raises:
        ModelError: the file is damaged, or asks for an unsupported step.
    """
    stated = _preprocessor_file(folder)
    size, filter_number = _stated_size(stated) or default_size, stated.resample
    if filter_number is not None and filter_number not in _RESAMPLE:
        raise ModelError(
            f"The checkpoint resizes with PIL's filter {filter_number}; supported are 2 (bilinear) and "
            "3 (bicubic)."
        )
    resample = _RESAMPLE[filter_number or 2]
    if not stated.do_normalize:
        mean, std, source = (0.0,) * 3, (1.0,) * 3, "the checkpoint, which does not normalise"
    elif stated.image_mean and stated.image_std:
        mean, std, source = stated.image_mean, stated.image_std, f"the checkpoint's {PREPROCESSOR_CONFIG}"
    else:
        mean, std = family.normalisation
        source = f"the {family.title} family (the checkpoint has none)"
    return Preprocessing(image_size=size, mean=mean, std=std, resample=resample, stated_by=source)


def write_preprocessing(folder: Path, used: Preprocessing) -> None:
    """Write preprocessor_config.json, which image processors of transformers read.

    Args:
        folder: folder of the saved model.
        used: preprocessing of the training.
    """
    stated = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": used.image_size, "width": used.image_size},
        "resample": {name: number for number, name in _RESAMPLE.items()}[used.resample],
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": used.mean,
        "image_std": used.std,
    }
    write_json(folder / PREPROCESSOR_CONFIG, stated)


class _PreprocessorConfig(BaseModel):
    """The fields of a preprocessor_config.json that are followed."""

    model_config = ConfigDict(strict=True, extra="allow")

    do_normalize: bool = True
    do_center_crop: bool = False
    resample: int | None = 2
    image_mean: Bands | None = None
    image_std: PositiveBands | None = None
    size: Side | dict[str, Side] | None = None
    crop_size: Side | dict[str, Side] | None = None


def _preprocessor_file(folder: Path) -> _PreprocessorConfig:
    """Read preprocessor_config.json; the defaults where there is none."""
    if not (folder / PREPROCESSOR_CONFIG).is_file():
        return _PreprocessorConfig()
    return read_config_file(folder / PREPROCESSOR_CONFIG, _PreprocessorConfig)


def _stated_size(stated: _PreprocessorConfig) -> int | None:
    """Return the side in pixels that the checkpoint's preprocessing outputs."""
    size = stated.crop_size if stated.do_center_crop else stated.size
    return (size.get("height") or size.get("shortest_edge")) if isinstance(size, dict) else size
