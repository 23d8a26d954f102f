"""Recipe: the settings that determine the result of one run.

A recipe is a small YAML file. What is left open (`null`) is resolved from the backbone and the
method before training; the run folder keeps the resolved recipe.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo

from orbitune.errors import OrbituneError
from orbitune.recipe_paths import PATH_FIELDS, anchor, is_local
from orbitune.settings_errors import describe_errors
from orbitune.yaml_files import read_yaml

DEFAULT_BACKBONE = "facebook/dinov2-small"
"""DINOv2 ViT-S/14 of Meta (Apache-2.0): 22 million parameters, 88 MB, from the Hugging Face hub."""


class Settings(BaseModel):
    """Immutable settings; unknown names are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)  # start-up time


class DataSettings(Settings):
    """Tiles, labels and splits."""

    data: str = Field(
        "synthetic",
        description="Hub id, folder, zip, manifest (CSV or JSON lines), or synthetic[:COUNT]",
    )
    data_config: str | None = Field(
        None, description="Configuration (subset) of a parquet data set that has several"
    )
    label_column: str | None = Field(
        None, description="Column of the labels in a manifest or parquet data set (default: label)"
    )
    image_column: str | None = Field(
        None, description="Column of the images or their file names, where there are several"
    )
    bands: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="Bands to read, by name or number, such as B04,B03,B02,B08; or all (default: all of "
        "GeoTIFFs with more than three bands, else red, green and blue)",
    )
    split_files: str | None = Field(
        None, description="File-name lists: a folder, or train=FILE,validation=FILE,test=FILE"
    )
    split: Literal["default", "random", "spatial"] = Field(
        "default",
        description="default: the given file lists, else the data's own splits, else random; random: drawn "
        "from all tiles; spatial: the given file lists or the data's folder splits, else spatial blocks",
    )
    split_seed: int = Field(
        42, ge=0, lt=2**32, description="Seed of the 60/20/20 split, where the data has none"
    )
    block_size: float | None = Field(
        None,
        gt=0,
        description="Side of the blocks of a spatial split in metres (default: the largest that leaves every "
        "class in every split)",
    )
    shots: int | None = Field(
        None, ge=1, description="Training tiles per class, drawn with the seed (default: all)"
    )
    on_bad_image: Literal["stop", "skip"] = Field(
        "stop", description="Stop at an unreadable image, or skip it"
    )

    @field_validator("bands", mode="before")
    @classmethod
    def _split_bands(cls, value: Any) -> Any:
        parts = value.split(",") if isinstance(value, str) else value
        return tuple(str(part).strip() for part in parts) if isinstance(parts, list | tuple) else parts


class ModelSettings(Settings):
    """The pretrained backbone and its input."""

    backbone: str = Field(
        DEFAULT_BACKBONE,
        description="Hub id or folder of a ViT, DeiT or DINOv2; or demo, of the extra demo, without a hub",
    )
    image_size: int | Literal["native", "auto"] | None = Field(
        None,
        description="Input size in pixels; native: the size of the tiles; auto: 1.75 times that, at most the "
        "checkpoint's (default: the checkpoint's)",
    )
    tta: Literal["flips", "none"] = Field(
        "none",
        description="Test-time augmentation: average the predictions of a tile's flips and quarter turns",
    )


class LoraSettings(Settings):
    """Settings of LoRA (Hu et al. 2021, arXiv:2106.09685).

    Related methods read the same settings; see `orbitune.models.peft_methods`.
    """

    rank: int = Field(
        8, ge=1, description="LoRA: rank of the update; related methods derive their size from it"
    )
    alpha: int = Field(16, gt=0, description="LoRA: the update is scaled by alpha / rank")
    dropout: float = Field(0.1, ge=0, lt=1, description="LoRA: dropout on the input of the update")
    targets: tuple[str, ...] = Field(
        ("q", "k", "v"), min_length=1, description="LoRA: roles of the layers to adapt, such as q,k,v, or all"
    )
    top_layers: int | None = Field(
        None, ge=1, description="LoRA: adapt only the last N layers (default: all; method topk: 2)"
    )
    bias: Literal["none", "all", "lora_only"] = Field("none", description="LoRA: biases to train")
    plus_ratio: float = Field(
        16.0, gt=0, description="Learning-rate ratio of LoRA B to LoRA A (LoRA+, arXiv:2402.12354)"
    )

    @field_validator("targets", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


class MethodSettings(Settings):
    """The fine-tuning method."""

    method: str = Field("lora", description="Fine-tuning method")
    lora: LoraSettings = Field(default_factory=LoraSettings)


class OptimisationSettings(Settings):
    """Epochs, batches, learning rate, augmentation and regularisation."""

    epochs: int = Field(3, ge=1, description="Epochs; the validation split is scored after each")
    passes: int | None = Field(
        None,
        ge=1,
        description="Passes over the training tiles per epoch (default: 1; with shots, enough for 100 steps)",
    )
    batch_size: int = Field(64, ge=1, description="Tiles per optimizer step")
    learning_rate: float | None = Field(None, gt=0, description="Peak learning rate (default: the method's)")
    schedule: Literal["cosine", "constant"] = Field(
        "cosine", description="Learning-rate schedule after the warm-up"
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="Fraction of the steps with linear warm-up")
    weight_decay: float = Field(0.01, ge=0, description="Weight decay of AdamW")
    sizes: tuple[tuple[int, float], ...] | None = Field(
        None,
        description="Progressive resizing: input sizes with their fraction of the steps, such as "
        "56:0.5,112:0.5",
    )
    augment: Literal["sensor", "flips", "none"] | None = Field(
        None,
        description="Augmentation of training tiles: sensor: flips, and views of every fourth tile as other "
        "sensors and smaller windows show it, some with haze, noise or a stripe; flips: random flips and "
        "90-degree rotations; none (default: sensor; flips with cache_frozen)",
    )
    patch_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Fraction of the patches of a training tile that a step leaves out, drawn at random, for "
        "faster steps (PatchDropout, arXiv:2208.07220)",
    )
    mixup: float = Field(
        0.0, ge=0, description="Mixup of training tiles with weights from Beta(x, x); 0 for none"
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Probability that is spread evenly over all classes"
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of head, order of tiles, augmentation and dropout")

    @field_validator("sizes", mode="before")
    @classmethod
    def _split_sizes(cls, value: Any) -> Any:
        return [part.split(":") for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("sizes")
    @classmethod
    def _check_fractions(cls, value: Any) -> Any:
        if value is not None and abs(sum(fraction for _, fraction in value) - 1) > 1e-6:
            raise ValueError("the fractions must sum to 1, such as 56:0.5,112:0.5")
        return value


class RuntimeSettings(Settings):
    """How the run is computed."""

    precision: Literal["bf16", "fp16", "fp32"] | None = Field(
        None, description="Floating-point type (default: bf16 where the processor supports it)"
    )
    fast: bool = Field(True, description="Use the fast path in place of the forward pass of transformers")
    cache_frozen: bool = Field(
        False,
        description="Cache the activations of the frozen layers on disk, for faster epochs; building it "
        "takes one pass over the tiles",
    )
    micro_batch: int | None = Field(
        None,
        ge=1,
        description="Micro-batch size; gradients are accumulated over a batch (default: fits the processor's "
        "cache; on a GPU the batch size)",
    )
    checkpointing: bool = Field(False, description="Save memory: recompute activations in the backward pass")


# Pydantic lists the fields of the last base first.
class Recipe(RuntimeSettings, OptimisationSettings, MethodSettings, ModelSettings, DataSettings):
    """Settings of one run, validated and immutable.

    Fields that are None are resolved later: `image_size` and the normalisation by the checkpoint,
    `learning_rate` by the method, `precision` by the processor.

    Raises:
        OrbituneError: a setting is unknown, out of range or contradicts another.
    """

    @model_validator(mode="after")
    def _check_together(self) -> "Recipe":
        if self.cache_frozen:
            fixed = {"fast": True, "sizes": None, "patch_dropout": 0.0, "mixup": 0.0, "tta": "none"}
            bad = [name for name, value in fixed.items() if getattr(self, name) != value]
            if bad := bad + ["augment"] * (self.augment == "sensor"):
                raise ValueError(f"cache_frozen cannot be combined with a setting of {' or '.join(bad)}")
        if self.split == "random" and self.split_files:
            raise ValueError("split random draws from all tiles: leave split_files out, or choose another")
        if self.sizes and self.image_size not in (None, self.sizes[-1][0]):
            raise ValueError(f"sizes end at {self.sizes[-1][0]} pixels, image_size says {self.image_size}")
        return self

    @model_validator(mode="wrap")
    @classmethod
    def _in_plain_words(cls, values: Any, validate: Callable[[Any], "Recipe"]) -> "Recipe":
        try:
            return validate(values)
        except ValidationError as error:
            raise OrbituneError(f"Invalid recipe: {describe_errors(error, cls)}.") from None

    @classmethod
    def groups(cls) -> dict[str, dict[str, FieldInfo]]:
        """Return the fields by group, in the order of documentation and help."""
        return {
            title: {name: cls.model_fields[name] for name in group.model_fields}
            for title, group in _GROUPS.items()
        }

    @classmethod
    def make(cls, values: dict[str, Any]) -> "Recipe":
        """Return the recipe of plain values, as a file or a stored result holds them.

        Values of earlier versions are read too, see `upgrade`.

        Args:
            values: settings by name; those left out have their defaults.

        Raises:
            OrbituneError: they are no valid recipe.
        """
        return cls.model_validate(upgrade(values))

    @classmethod
    def load(cls, path: str | Path) -> "Recipe":
        """Return the recipe in a YAML file; its paths are relative to its folder.

        Args:
            path: the file.

        Raises:
            OrbituneError: it cannot be read, does not fit, or names what lies in the working directory alone.
        """
        return cls.make(anchor(read_yaml(path), Path(path).parent))

    def anchored(self) -> "Recipe":
        """Return the recipe with absolute paths, valid from every working directory."""
        return self.model_copy(update=anchor({name: getattr(self, name) for name in PATH_FIELDS}))

    def save(self, path: str | Path) -> None:
        """Write the complete recipe as YAML, with absolute paths.

        Args:
            path: the file; one that is there is replaced.
        """
        from orbitune.files import write_text

        write_text(path, yaml.safe_dump(self.anchored().model_dump(mode="json"), sort_keys=False))

    def replace(self, **changes: Any) -> "Recipe":
        """Return a copy with some fields changed, validated again.

        Args:
            **changes: new values by name.

        Raises:
            OrbituneError: a setting is unknown, out of range or contradicts another.
        """
        return type(self).make({**self.model_dump(), **changes})

    @property
    def hash(self) -> str:
        """Return twelve hex digits, equal for equal recipes on any machine.

        Paths are left out: contents of files are compared by their own hashes, see `TrainingSetup.inputs`.
        """
        values = self.anchored().model_dump(mode="json")
        local = {name: None for name in PATH_FIELDS if values[name] and is_local(values[name])}
        text = json.dumps(values | local, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def differences(self, other: "Recipe") -> list[str]:
        """Return the settings in which two recipes differ, as `name: mine, not theirs`.

        Equal recipes have none. Paths of data, split files and backbone are left out: a run compares their
        content by hash.

        Args:
            other: recipe to compare with.
        """
        mine, theirs = self.model_dump(mode="json"), other.model_dump(mode="json")
        settings = [name for name in mine if name not in PATH_FIELDS]
        return [
            f"{name}: {mine[name]}, not {theirs[name]}" for name in settings if mine[name] != theirs[name]
        ]

    @property
    def path_fields(self) -> dict[str, str | None]:
        """Return the settings that may be paths: data, split files and backbone."""
        return {name: getattr(self, name) for name in PATH_FIELDS}


_GROUPS: dict[str, type[Settings]] = {
    "Data": DataSettings,
    "Model": ModelSettings,
    "Method": MethodSettings,
    "Optimisation": OptimisationSettings,
    "Runtime": RuntimeSettings,
}


def upgrade(values: dict[str, Any]) -> dict[str, Any]:
    """Convert a recipe's values of version 0.1 to the fields of this version.

    The hash differs from that of version 0.1. Hashes that a run folder stores are compared only with each
    other.
    """
    renamed = {"cache_frozen" if name == "prefix" else name: value for name, value in values.items()}
    switches = {"fast", "cache_frozen", "checkpointing"} & renamed.keys()
    words = {"on": True, "off": False}
    return renamed | {
        name: words.get(value, value) for name in switches if isinstance(value := renamed[name], str)
    }
