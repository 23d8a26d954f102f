"""Settings of a recipe, in the groups of documentation and help."""

import re
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from orbitune.class_weights import parse_class_weights
from orbitune.errors import as_written
from orbitune.fold import Fold

TaskName = Literal["single-label", "multi-label"]
DEFAULT_BACKBONE = "facebook/dinov2-small"
"""DINOv2 ViT-S/14 of Meta (Apache-2.0): 22 million parameters, 88 MB, from the Hugging Face hub."""
ATTENTION = ("q", "k", "v")
"""Roles of layers, see `orbitune.models.families.family`, that LoRA adapts by default."""


def option_of(setting: str) -> str:
    """Return the command-line option of a setting, such as --lora-rank of lora.rank."""
    return "--" + setting.replace(".", "-").replace("_", "-")


def _split_names(value: Any) -> Any:
    """Return names separated by commas as a tuple of them, and a single number, as YAML reads it, as one."""
    alone = isinstance(value, int) and not isinstance(value, bool)
    parts = value.split(",") if isinstance(value, str) else [value] if alone else value
    return tuple(str(part).strip() for part in parts) if isinstance(parts, list | tuple) else parts


_Names = Annotated[tuple[str, ...], BeforeValidator(_split_names)]
_Count = Annotated[int, Field(ge=1)]
_Place = Annotated[float, Field(gt=0, lt=1)]


def _split_pairs(value: Any, what: str) -> Any:
    """Return pairs such as 56:0.5,112:0.5 as a list of them; others as they are.

    Raises:
        ValueError: they are no pairs; the message says that they must be `what`.
    """
    parts = [part.split(":") for part in value.split(",")] if isinstance(value, str) else value
    is_pairs = isinstance(parts, list | tuple) and all(
        isinstance(part, list | tuple) and len(part) == 2 for part in parts
    )
    if parts is not None and not is_pairs:
        raise ValueError(f"must be {what}, not {as_written(value)}")
    return parts


class Settings(BaseModel):
    """Immutable settings; unknown names are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)  # start-up time

    @field_validator("*", mode="before")
    @classmethod
    def _check_text(cls, value: Any) -> Any:
        if isinstance(value, str) and not value.strip():
            raise ValueError("must not be empty")
        return value


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
        None,
        description="Column of the labels in a manifest or parquet data set, or columns of 0 and 1, one for "
        "each class, such as Forest,River (default: label)",
    )
    task: TaskName | None = Field(
        None, description="One label a tile or several (default: as the labels of the data are)"
    )
    image_column: str | None = Field(
        None, description="Column of the images or their file names, where there are several"
    )
    bands: _Names | None = Field(
        None,
        min_length=1,
        description="Bands to read, by name or number, such as B04,B03,B02,B08; or all (default: all of "
        "GeoTIFFs with more than three bands, else red, green and blue)",
    )
    split_files: str | None = Field(
        None, description="File-name lists: a folder, or train=FILE,validation=FILE,test=FILE"
    )
    split: Literal["default", "random", "spatial", "group"] = Field(
        "default",
        description="default: the given file lists, else those that the data come with, else random; random: "
        "drawn from all tiles; spatial: the given file lists or the data's folder splits, else spatial "
        "blocks; group: by the groups of group_pattern or group_column",
    )
    group_pattern: str | None = Field(
        None,
        description="Regular expression that finds the scene, flight or field in a tile's name with its "
        "folders, such as '(scene[0-9]+)_'; all tiles of one go to the same split",
    )
    group_column: str | None = Field(
        None,
        description="Column of the metadata, list or parquet data set that names the scene, flight or field "
        "of a tile; all tiles of one go to the same split",
    )
    fold: str | None = Field(
        None,
        description="Fold of a cross-validation, such as 2/5: with split random, spatial or group, its tiles "
        "are the test split and those of the next fold the validation split",
    )
    split_seed: int = Field(
        42, ge=0, lt=2**32, description="Seed of the 60/20/20 split, where the data has none"
    )
    block_size: float | None = Field(
        None,
        gt=0,
        description="Side of the blocks of split spatial in metres (default: the largest that leaves every "
        "class in every split)",
    )
    shots: int | None = Field(
        None, ge=1, description="Training tiles per class, drawn with the seed (default: all)"
    )
    on_bad_image: Literal["stop", "skip"] = Field(
        "stop", description="Stop at an unreadable image, or skip it"
    )

    @field_validator("fold")
    @classmethod
    def _check_fold(cls, value: str | None) -> str | None:
        return None if value is None else str(Fold.parse(value))

    @field_validator("group_pattern")
    @classmethod
    def _check_pattern(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"must be a regular expression: {error}") from None
        return value


class ModelSettings(Settings):
    """The pretrained backbone and its input."""

    backbone: str = Field(
        DEFAULT_BACKBONE,
        description="Hub id or folder of a checkpoint, or a finished run or bundle; or demo, of the extra "
        "demo, without a hub; or scratch, a small network with random weights, for method full",
    )
    keep_head: bool = Field(
        False,
        description="Keep the head of the backbone, which must have the same classes (default: a new one)",
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
    targets: _Names = Field(
        ATTENTION, min_length=1, description="LoRA: layers to adapt, such as q,k,v, or all (loraall: always)"
    )
    top_layers: int | None = Field(
        None, ge=1, description="LoRA: adapt only the last N layers (default: all; method topk: 2)"
    )
    bias: Literal["none", "all", "lora_only"] = Field("none", description="LoRA: biases to train")
    plus_ratio: float = Field(
        16.0, gt=0, description="Learning-rate ratio of LoRA B to LoRA A (LoRA+, arXiv:2402.12354)"
    )


class MethodSettings(Settings):
    """The fine-tuning method."""

    method: str = Field("lora", description="Fine-tuning method")
    lora: LoraSettings = Field(default_factory=LoraSettings)


class OptimisationSettings(Settings):
    """Epochs, batches, learning rate, augmentation and regularisation."""

    epochs: int | Literal["auto"] | None = Field(
        None,
        description="Epochs, each followed by validation; auto: until validation no longer improves, at most "
        "30 (default: 3, with backbone scratch 40). A larger number than that of a finished run extends it",
    )
    passes: int | None = Field(
        None,
        ge=1,
        description="Passes over the training tiles per epoch (default: 1; with shots, or without a number "
        "of epochs, enough for 80 steps)",
    )
    patience: int | None = Field(
        None,
        ge=1,
        description="Stop after this many epochs without a better validation score (default: never; 3 with "
        "epochs auto)",
    )
    restarts: Annotated[tuple[int, ...] | None, BeforeValidator(_split_names)] = Field(
        None,
        description="Epochs after which the learning-rate schedule starts anew, such as 4,8 (SGDR, "
        "arXiv:1608.03983); the extension of a finished run is one",
    )
    loss: Literal["cross-entropy", "bce", "asymmetric"] | None = Field(
        None,
        description="Loss of several labels a tile: bce, or asymmetric (arXiv:2009.14119) (default: bce; for "
        "one label cross-entropy)",
    )
    best_by: Literal["accuracy", "macro-f1", "micro-f1", "map", "loss"] | None = Field(
        None,
        description="Validation score that chooses the epoch whose weights are kept (default: accuracy; map, "
        "the mean average precision, for several labels a tile)",
    )
    class_weights: Annotated[str | dict[str, float] | None, BeforeValidator(parse_class_weights)] = Field(
        None,
        description="Class weights of the loss: balanced (inversely proportional to the training tiles of a "
        "class), or a CSV or YAML file of class,weight; with several labels a tile, of the present labels",
    )
    sampling: Literal["shuffle", "balanced"] = Field(
        "shuffle",
        description="shuffle: a pass takes every training tile once; balanced: it draws as many tiles with "
        "replacement, from all classes alike",
    )
    batch_size: int = Field(64, ge=1, description="Tiles per optimizer step")
    learning_rate: float | None = Field(None, gt=0, description="Peak learning rate (default: the method's)")
    schedule: Literal["cosine", "constant"] = Field(
        "cosine", description="Learning-rate schedule after the warm-up"
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="Fraction of the steps with linear warm-up")
    weight_decay: float = Field(0.01, ge=0, description="Weight decay of AdamW")
    sizes: tuple[tuple[int | Literal["native", "half", "auto"], float], ...] | None = Field(
        None,
        description="Progressive resizing: input sizes, in pixels, native, auto or half of auto, with their "
        "fraction of the steps, such as 56:0.5,112:0.5",
    )
    freeze_layers: tuple[tuple[_Count, _Place], ...] | None = Field(
        None,
        description="Layer freezing: numbers of first layers, with the embeddings, that are trained no more, "
        "and the fraction of the steps after which, such as 4:0.3,8:0.6; later steps are faster",
    )
    augment: Literal["sensor", "flips", "none"] | None = Field(
        None,
        description="Augmentation of training tiles: sensor: flips, and views of every fourth tile as other "
        "sensors and smaller windows show it, some with haze, noise or a stripe; flips: random flips and "
        "90-degree rotations; none (default: sensor; flips with cache_frozen)",
    )
    patch_dropout: float = Field(
        0.0, ge=0, lt=1, description="Fraction of a training tile's patches that a step leaves out at random"
    )
    merge_tokens: Annotated[tuple[_Count, ...] | None, BeforeValidator(_split_names)] = Field(
        None, description="Blocks after which training merges half of the patches, such as 4,8 (ToMe)"
    )
    mixup: float = Field(
        0.0, ge=0, description="Mixup of training tiles with weights from Beta(x, x); 0 for none"
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Probability that is spread evenly over all classes"
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of head, order of tiles, augmentation and dropout")

    @field_validator("epochs")
    @classmethod
    def _check_epochs(cls, value: Any) -> Any:
        if isinstance(value, int) and value < 1:
            raise ValueError(f"must be at least 1, not {value}")
        return value

    @field_validator("sizes", mode="before")
    @classmethod
    def _split_sizes(cls, value: Any) -> Any:
        return _split_pairs(value, "sizes with their fractions, such as 56:0.5,112:0.5")

    @field_validator("freeze_layers", mode="before")
    @classmethod
    def _split_freezing(cls, value: Any) -> Any:
        return _split_pairs(value, "numbers of layers with fractions, such as 4:0.3,8:0.6")

    @field_validator("sizes")
    @classmethod
    def _check_fractions(cls, value: Any) -> Any:
        if value is not None and abs(sum(fraction for _, fraction in value) - 1) > 1e-6:
            raise ValueError("the fractions must sum to 1, such as 56:0.5,112:0.5")
        return value

    @field_validator("freeze_layers")
    @classmethod
    def _check_rising(cls, value: Any) -> Any:
        if any(
            later <= earlier for pair in pairwise(value or ()) for earlier, later in zip(*pair, strict=True)
        ):
            raise ValueError("the numbers of layers and the fractions must rise, such as 4:0.3,8:0.6")
        return value


class RuntimeSettings(Settings):
    """How the run is computed."""

    precision: Literal["bf16", "fp16", "tf32", "fp32"] | None = Field(
        None,
        description="Floating-point type (default: bf16 where the processor supports it); tf32: fp32 whose "
        "products a GPU rounds to TF32",
    )
    fast: bool = Field(True, description="Use the fast path in place of the forward pass of transformers")
    cache_frozen: bool = Field(
        False,
        description="Cache the activations of the frozen layers on disk, for faster epochs; building it "
        "takes one pass over the tiles",
    )
    cache_bits: int | None = Field(
        None,
        description="Bits of each number in the activation cache: 8, with a scale for each 32 numbers "
        "(default: those of the precision)",
    )
    micro_batch: int | None = Field(
        None,
        ge=1,
        description="Micro-batch size; gradients are accumulated over a batch (default: fits the processor's "
        "cache; on a GPU the batch size)",
    )
    checkpointing: bool = Field(False, description="Save memory: recompute activations in the backward pass")


GROUPS: dict[str, type[Settings]] = {
    "Data": DataSettings,
    "Model": ModelSettings,
    "Method": MethodSettings,
    "Optimisation": OptimisationSettings,
    "Runtime": RuntimeSettings,
}
