"""Preprocessing of tiles, as a checkpoint's preprocessor_config.json states it."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    SerializerFunctionWrapHandler,
    Strict,
    model_serializer,
    model_validator,
)

from orbitune.data.band_statistics import BandStatistics
from orbitune.data.transform import LARGEST, TileDtype, Transform
from orbitune.errors import ModelError, counted
from orbitune.files import write_json
from orbitune.models.families.timm.config import PRETRAINED_CFG
from orbitune.models.files.config_files import read_config_file
from orbitune.records import JsonTuple, Record
from orbitune.sources.band_names import COLOURS, is_rgb

if TYPE_CHECKING:
    from orbitune.models.families.family import Family

PREPROCESSOR_CONFIG = "preprocessor_config.json"
_OF_THE_FILE = f"the checkpoint's {PREPROCESSOR_CONFIG}"
_RESAMPLE: dict[int, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}  # PIL's filter numbers

MAX_BANDS = 1024
Side = Annotated[int, Field(ge=1, le=1 << 14)]  # pixels
_Positive = Annotated[FiniteFloat, Field(gt=0)]
# One number for each band.
Bands = Annotated[tuple[FiniteFloat, ...], Strict(False), Field(min_length=1, max_length=MAX_BANDS)]
PositiveBands = Annotated[tuple[_Positive, ...], Strict(False), Field(min_length=1, max_length=MAX_BANDS)]


class Preprocessing(Record):
    """Preprocessing from pixels to a model's input.

    Pixels are divided by the largest value of their dtype, resized, and normalised in each band:
    (x - mean) / std.

    Attributes:
        image_size: side of the model's input in pixels.
        mean, std: of each band, for values in 0..1.
        resample: interpolation of the resize.
        stated_by: the file or family that these values come from.
        bands: names of the bands that the model reads, in their order.
        dtype: of the tiles that it reads.
    """

    image_size: Side
    mean: Bands
    std: PositiveBands
    resample: Literal["bilinear", "bicubic"]
    stated_by: str = ""
    bands: Annotated[JsonTuple[str], Field(min_length=1)] = COLOURS
    dtype: TileDtype = "uint8"

    @property
    def settings(self) -> dict[str, Any]:
        """Return the JSON values that go into the hash of a backbone's settings.

        Earlier versions, whose runs store it, named the file that a checkpoint of timm is converted to.
        """
        values = self.model_dump(mode="json", exclude={"image_size"}) | {"size": self.image_size}
        return values | ({"stated_by": _OF_THE_FILE} if PRETRAINED_CFG in self.stated_by else {})

    @model_validator(mode="after")
    def _one_value_per_band(self) -> "Preprocessing":
        """Check that there are a mean and a standard deviation for each band."""
        if not len(self.mean) == len(self.std) == len(self.bands):
            raise ValueError(f"expected {len(self.bands)} values of mean and std, one for each band")
        return self

    @model_serializer(mode="wrap")
    def _without_defaults(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out bands and dtype of RGB models, as files without them mean the same."""
        values: dict[str, Any] = serialise(self)
        if self.is_rgb:
            for name in ("bands", "dtype"):
                values.pop(name, None)
        return values

    @property
    def is_rgb(self) -> bool:
        """Return whether the model reads 8-bit red, green and blue."""
        return is_rgb(self.bands, self.dtype)

    @property
    def transform(self) -> Transform:
        """Return the function that preprocesses batches of tiles."""
        return Transform(self.image_size, self.mean, self.std, self.resample)

    def normalised_by(
        self, statistics: BandStatistics, *, bands: tuple[str, ...], dtype: TileDtype
    ) -> "Preprocessing":
        """Return the same preprocessing for other bands, normalised by their statistics.

        Args:
            statistics: of the training tiles, in the units of the tiles.
            bands: names of the bands.
            dtype: of the tiles.
        """
        largest = LARGEST[dtype]
        return Preprocessing(
            image_size=self.image_size,
            mean=tuple(value / largest for value in statistics.mean),
            std=tuple(value / largest for value in statistics.std),
            resample=self.resample,
            stated_by=f"the bands of {counted(statistics.tiles, 'training tile')}",
            bands=bands,
            dtype=dtype,
        )

    def at_size(self, image_size: int) -> "Preprocessing":
        """Return the same preprocessing for another input size in pixels."""
        return self.model_copy(update={"image_size": image_size})


def read_preprocessing(
    folder: Path, family: "Family", *, default_size: int, channels: int = 3, name: str = ""
) -> Preprocessing:
    """Read a folder's preprocessor_config.json.

    Args:
        name: last part of the checkpoint's hub id or path, which tells whether it has a normalisation of its
            own.
        default_size: side of the input in pixels where the file states none.
        channels: number of bands that the model reads.

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
        mean, std = (0.0,) * channels, (1.0,) * channels
        source = "the checkpoint, which does not normalise"
    elif stated.image_mean and stated.image_std:
        mean, std, source = stated.image_mean, stated.image_std, stated.stated_by
    elif channels == len(COLOURS):
        mean, std = family.normalisation
        source = f"the {family.title} family (the checkpoint has none)"
    else:
        mean, std, source = (0.0,) * channels, (1.0,) * channels, "nothing (the checkpoint has none)"
    for part, own in family.own_normalisation.items():
        if part in name.lower() and (mean, std) == family.normalisation:
            (mean, std), source = own, f"the tiles of {family.title}'s {part} weights"
    if not len(mean) == len(std) == channels:
        raise ModelError(
            f"The {PREPROCESSOR_CONFIG} of {folder} states {len(mean)} means and {len(std)} deviations for "
            f"{channels} channels. Restore it."
        )
    return Preprocessing(
        image_size=size,
        mean=mean,
        std=std,
        resample=resample,
        stated_by=source,
        bands=COLOURS if channels == len(COLOURS) else tuple(map(str, range(1, channels + 1))),
        dtype=_stated_dtype(stated.rescale_factor),
    )


def _stated_dtype(rescale_factor: float) -> TileDtype:
    """Return the dtype of tiles whose largest value a factor makes 1."""
    return "uint16" if math.isclose(rescale_factor * LARGEST["uint16"], 1, rel_tol=0.01) else "uint8"


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
        "rescale_factor": 1 / LARGEST[used.dtype],
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
    rescale_factor: FiniteFloat = 1 / 255
    image_mean: Bands | None = None
    image_std: PositiveBands | None = None
    stated_by: str = _OF_THE_FILE  # another one in converted checkpoints
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
