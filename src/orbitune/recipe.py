"""Recipe: everything that determines the result of one run, and nothing else.

A recipe is a small YAML file. What is left open (`null`) is resolved from the backbone and the
method before training, and the resolved recipe is what the run folder keeps.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from orbitune.errors import OrbituneError


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LoraSettings(_Strict):
    """Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685) of linear layers, named by their role.

    Its kin read the same settings; see `orbitune.models.peft_methods`.
    """

    rank: int = Field(8, ge=1, description="LoRA: rank of the update; its kin derive their size from it")
    alpha: int = Field(16, gt=0, description="LoRA: the update is scaled by alpha / rank")
    dropout: float = Field(0.1, ge=0, lt=1, description="LoRA: dropout before the update")
    targets: tuple[str, ...] = Field(
        ("q", "k", "v"), min_length=1, description="LoRA: roles of the layers to adapt, such as q,k,v, or all"
    )
    top_layers: int | None = Field(
        None, ge=1, description="LoRA: adapt the last so many layers only (default: all; method topk: 2)"
    )
    bias: Literal["none", "all", "lora_only"] = Field("none", description="LoRA: which biases are trained")

    plus_ratio: float = Field(16.0, gt=0, description="LoRA+: how many times the rate of A that of B is")

    @field_validator("targets", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


class Recipe(_Strict):
    """One run. Immutable; unknown keys are errors.

    Fields that are None are chosen later: `image_size` and the normalisation by the checkpoint,
    `learning_rate` by the method, `precision` by the processor.
    """

    data: str = Field(
        "synthetic",
        description="Hub id, folder, zip, list of tiles (CSV or JSON lines), or synthetic[:COUNT]",
    )
    data_config: str | None = Field(
        None, description="Configuration (subset) of a parquet data set that has several"
    )
    label_column: str | None = Field(
        None, description="Column of the labels, of a table or parquet data set (default: label)"
    )
    image_column: str | None = Field(
        None, description="Column of the images or their file names, where there are several"
    )
    split_files: str | None = Field(
        None, description="File-name lists: a folder, or train=FILE,validation=FILE,test=FILE"
    )
    split: Literal["default", "random", "spatial"] = Field(
        "default",
        description="default: the lists given, else the data's own, else at random; random: drawn anew from "
        "all tiles; spatial: the lists given or in the data's folder splits, else whole blocks of ground",
    )
    split_seed: int = Field(
        42, ge=0, lt=2**32, description="Seed of the 60/20/20 split, where the data has none"
    )
    block_size: float | None = Field(
        None,
        gt=0,
        description="Side of a spatial split's blocks in metres (default: as large as classes allow)",
    )
    shots: int | None = Field(
        None, ge=1, description="Training tiles of each class, drawn with the seed (default: all)"
    )
    on_bad_image: Literal["stop", "skip"] = Field("stop", description="What an unreadable tile does")
    backbone: str = Field("demo", description="Hub id or folder of a ViT, DeiT or DINOv2, or demo")
    method: str = Field("lora", description="Fine-tuning method")
    lora: LoraSettings = Field(default_factory=LoraSettings)
    image_size: int | Literal["native", "auto"] | None = Field(
        None,
        description="Input size in pixels; native: the tiles' own; auto: 1.75 times that, at most the "
        "checkpoint's (default: the checkpoint's)",
    )
    sizes: tuple[tuple[int, float], ...] | None = Field(
        None, description="Sizes to train at in turn, with their share of the steps, such as 64:0.5,112:0.5"
    )
    epochs: int = Field(3, ge=1, description="Epochs; validation is scored after each")
    passes: int | None = Field(
        None,
        ge=1,
        description="Passes over the training tiles in an epoch (default: 1; with shots, for 100 steps)",
    )
    batch_size: int = Field(64, ge=1, description="Tiles per step")
    learning_rate: float | None = Field(None, gt=0, description="Peak rate (default: the method's)")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's decay of the weights")
    schedule: Literal["cosine", "constant"] = Field("cosine", description="How the rate falls")
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the steps in which the rate rises")
    augment: Literal["flips", "none"] = Field(
        "flips", description="Random flips and quarter turns of the training tiles, or none"
    )
    mixup: float = Field(
        0.0, ge=0, description="Mix pairs of training tiles, with shares drawn from Beta(x, x); 0 for none"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Share of a label given to all classes alike")
    tta: Literal["flips", "none"] = Field(
        "none",
        description="Test-time augmentation: score the best weights on the mean of a tile's flips and turns",
    )
    fast: Literal["on", "off"] = Field(
        "on", description="Compute by the fast path, or as transformers and PEFT do"
    )
    prefix: Literal["on", "off"] = Field(
        "off",
        description="Keep on disk what the frozen layers below the trained ones make of each tile: faster "
        "epochs, for space and one pass",
    )
    precision: Literal["bf16", "fp16", "fp32"] | None = Field(
        None, description="Arithmetic (default: bf16 where the processor has it)"
    )
    micro_batch: int | None = Field(
        None,
        ge=1,
        description="Tiles computed at once; gradients of a batch are summed over them "
        "(default: what suits the processor's cache; on a GPU the batch)",
    )
    checkpointing: Literal["on", "off"] = Field(
        "off", description="Save memory: compute activations again for the backward pass"
    )
    seed: int = Field(
        0, ge=0, lt=2**32, description="Seed of the head, the order, the augmentation and the dropout"
    )

    @field_validator("sizes", mode="before")
    @classmethod
    def _split_sizes(cls, value: Any) -> Any:
        return [part.split(":") for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("sizes")
    @classmethod
    def _shares_make_one(cls, value: Any) -> Any:
        if value is not None and abs(sum(share for _, share in value) - 1) > 1e-6:
            raise ValueError("the shares must sum to 1, such as 64:0.5,112:0.5")
        return value

    @model_validator(mode="after")
    def _settings_agree(self) -> "Recipe":
        if self.prefix == "on":
            fixed = {"fast": "on", "sizes": None, "mixup": 0.0, "tta": "none"}
            if bad := [name for name, value in fixed.items() if getattr(self, name) != value]:
                raise ValueError(f"prefix cannot be kept with another {' or '.join(bad)} than the default")
        if self.split == "random" and self.split_files:
            raise ValueError("split random draws from all tiles: leave split_files out, or choose another")
        if self.sizes and self.image_size not in (None, self.sizes[-1][0]):
            raise ValueError(f"sizes end at {self.sizes[-1][0]} pixels, image_size says {self.image_size}")
        return self

    @classmethod
    def make(cls, values: dict[str, Any]) -> "Recipe":
        """Build a recipe from plain values; what does not fit is an OrbituneError of one line."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            parts = [f"{'.'.join(map(str, e['loc'])) or 'recipe'}: {e['msg']}" for e in error.errors()]
            raise OrbituneError("The recipe does not fit. " + "; ".join(parts)) from None

    @classmethod
    def load(cls, path: str | Path) -> "Recipe":
        """Read a YAML recipe; paths in it are relative to its folder, and become absolute.

        Raises:
            OrbituneError: it cannot be read, does not fit, or names what lies in the working directory alone.
        """
        return cls.make(anchor(read_yaml(path), Path(path).parent))

    def anchored(self) -> "Recipe":
        """Return the recipe with absolute paths, which mean the same from every working directory."""
        return self.model_copy(update=anchor({name: getattr(self, name) for name in PLACES}))

    def save(self, path: str | Path) -> None:
        """Write the recipe as YAML, complete, in the order of its fields, its paths absolute."""
        from orbitune.files import write_text

        write_text(path, yaml.safe_dump(self.anchored().model_dump(mode="json"), sort_keys=False))

    def replace(self, **changes: Any) -> "Recipe":
        """A copy with some fields changed, validated again."""
        return type(self).make({**self.model_dump(), **changes})

    @property
    def hash(self) -> str:
        """Twelve hex digits that are the same for equal recipes on any machine and in any process.

        Where files lie, and how their paths are spelt, plays no part in it: a run's inputs are hashes of what
        they hold.
        """
        values = self.anchored().model_dump(mode="json")
        local = {name: None for name in PLACES if values[name] and _is_local(values[name])}
        text = json.dumps(values | local, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def differences(self, other: "Recipe") -> list[str]:
        """Return the settings in which two recipes differ, as `name: mine, not theirs`.

        The names of data, split files and backbone are left out: what counts is what they hold, which a run
        compares by its inputs.
        """
        mine, theirs = self.model_dump(mode="json"), other.model_dump(mode="json")
        settings = [name for name in mine if name not in PLACES]
        return [
            f"{name}: {mine[name]}, not {theirs[name]}" for name in settings if mine[name] != theirs[name]
        ]

    @property
    def places(self) -> dict[str, str | None]:
        """Return the settings that name data, split files and backbone."""
        return {name: getattr(self, name) for name in PLACES}


PLACES = ("data", "split_files", "backbone")  # fields that may name files and folders


def anchor(values: dict[str, Any], file_folder: Path | None = None) -> dict[str, Any]:
    """Return values of a recipe with absolute paths in the place of relative ones that exist.

    Hub ids, names of what is built in, and what is not there stay as they are.

    Args:
        file_folder: of the file that the values are from, which paths are relative to; the working directory
            where None.

    Raises:
        OrbituneError: a path in a file means something in the working directory, and nothing in its folder.
    """
    places = {name: values[name] for name in PLACES if isinstance(values.get(name), str)}
    return {**values, **{name: _anchored(name, text, file_folder) for name, text in places.items()}}


def _anchored(name: str, text: str, file_folder: Path | None) -> str:
    if name == "split_files" and "=" in text:
        parts = [part.partition("=") for part in text.split(",")]
        return ",".join(
            f"{split.strip()}={anchor_path(path.strip(), file_folder)}" for split, _, path in parts
        )
    if (name == "data" and is_synthetic(text)) or (name == "backbone" and text == "demo"):
        return text
    return anchor_path(text, file_folder)


def anchor_path(text: str, file_folder: Path | None = None) -> str:
    """Return a path that exists as an absolute one, see `anchor`; any other text as it is."""
    folder = Path.cwd() if file_folder is None else file_folder.absolute()
    path = folder / Path(text).expanduser()
    if _exists(path):
        # The name that a link has is kept, as outputs are named after it.
        named = path.name not in ("", "..")
        return str(path.parent.resolve() / path.name if named else path.resolve())
    if file_folder is not None and _exists(here := Path.cwd() / text):
        raise OrbituneError(
            f"Paths in a file are relative to its folder, and {folder} has no {text}, but the working "
            f"directory has: write {here} there, or pass it as an option."
        )
    return text


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _is_local(place: str) -> bool:
    return place.startswith((".", "~")) or Path(place.partition("=")[2] or place).is_absolute()


def is_there(place: str) -> bool:
    """Whether every path of a field that may name files exists; hub ids and built-in names are no paths."""
    paths = [part.partition("=")[2] for part in place.split(",")] if "=" in place else [place]
    return all(_is_local(path) and _exists(Path(path).expanduser()) for path in paths)


def data_name(data: str) -> str:
    """What a data set is called for short: the last part of its path or id."""
    return "synthetic tiles" if is_synthetic(data) else Path(data).stem


def is_synthetic(data: str) -> bool:
    """Whether `data` asks for tiles drawn by a program: synthetic or synthetic:COUNT."""
    return data.partition(":")[0] == "synthetic"


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a mapping from a YAML file; OrbituneError where it is missing or something else."""
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise OrbituneError(f"Cannot read the recipe {path}: {error.strerror}.") from None
    # PyYAML lets through what is no date or number, and keys that cannot be hashed.
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        raise OrbituneError(f"{path} is not a YAML file.") from None
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise OrbituneError(f"{path} holds no recipe: expected `name: value` lines.")
    return values


# The study that started Orbitune: ViT-Base on EuroSAT RGB, as published, with the head trained.
_ORIGINAL: dict[str, Any] = {
    "data": "blanchon/EuroSAT_RGB",
    "backbone": "google/vit-base-patch16-224",
    "image_size": 224,
    "epochs": 3,
    "batch_size": 64,
    "schedule": "constant",
    "warmup": 0.0,
    "augment": "none",
    "precision": "fp32",
    "lora": {"rank": 8, "alpha": 16, "dropout": 0.1, "targets": ["q", "k", "v"], "bias": "none"},
}
_ORIGINAL_RATES = {"full": 5e-5, "lora": 5e-4}

PRESETS = ("original",)


def preset(name: str, method: str) -> dict[str, Any]:
    """The values of a named preset for one method.

    Raises:
        OrbituneError: there is no preset of that name.
    """
    if name not in PRESETS:
        raise OrbituneError(f"There is no preset {name!r}; there is: {', '.join(PRESETS)}.")
    return {**_ORIGINAL, "method": method, "learning_rate": _ORIGINAL_RATES.get(method)}
