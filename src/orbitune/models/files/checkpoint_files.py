"""Checks of a checkpoint's files, before transformers and PEFT read them.

Both follow what a configuration says: to code (`auto_map`), pickles, other folders, the hub, and to sizes
that exceed any memory. A folder from an unknown source is therefore validated here first.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from orbitune.errors import ModelError, first_line
from orbitune.integrity import read_json
from orbitune.models.families.known import family_of
from orbitune.models.files.config_files import read_config_file

if TYPE_CHECKING:
    from torch import Tensor

CONFIG, ADAPTER_CONFIG = "config.json", "adapter_config.json"
WEIGHTS, ADAPTER_WEIGHTS = "model.safetensors", "adapter_model.safetensors"
PATCH_HEAD_FILE = "patch_head.safetensors"

# Settings of a config.json by which transformers would read other files, or code that is not its own.
_UNSUPPORTED = ("quantization_config", "transformers_weights", "fusion_config", "distributed_config")
# Ends of the names of buffers of whole numbers: of batch normalisations, and of relative positions.
_WHOLE_NUMBERS = ("num_batches_tracked", "position_index")
_ATTENTION = (None, "eager", "sdpa")

Width = Annotated[int, Field(ge=1, le=1 << 16)]
Square = Width | Annotated[list[Width], Field(min_length=2, max_length=2)]


class _Sizes(BaseModel):
    """Sizes of a vision transformer, with bounds far above any known one.

    Other settings are kept. The defaults are those of most families: see `CheckpointConfig.states`.
    """

    model_config = ConfigDict(strict=True, extra="allow")

    hidden_size: Width = 768
    intermediate_size: Annotated[int, Field(ge=1, le=1 << 18)] = 3072
    num_hidden_layers: Annotated[int, Field(ge=1, le=512)] = 12
    num_attention_heads: Width = 12
    mlp_ratio: Annotated[float, Field(gt=0, le=64)] = 4
    image_size: Square = 224
    patch_size: Square = 16
    num_channels: Annotated[int, Field(ge=1, le=64)] = 3
    num_register_tokens: Annotated[int, Field(ge=0, le=1024)] = 4
    pooler_output_size: Width | None = None
    encoder_stride: Width = 16
    embed_dim: Width | None = None
    depths: Annotated[list[Annotated[int, Field(ge=1, le=512)]], Field(max_length=16)] | None = None
    num_heads: list[Width] | None = None


class _Architecture(BaseModel):
    """The names of the architecture in a config.json, by model type and by classes of transformers."""

    model_config = ConfigDict(strict=True, extra="allow")

    model_type: str | None = None
    architectures: list[str] | None = None


class CheckpointConfig(_Sizes):
    """A config.json.

    Attributes:
        vision_config: sizes of the image encoder, in a model of images and text.
    """

    model_type: str
    vision_config: _Sizes | None = None

    def states(self, *names: str) -> bool:
        """Return whether the file has all these settings; defaults differ by family."""
        return self.model_fields_set.issuperset(names)


def check_config(folder: Path) -> CheckpointConfig:
    """Read the config.json of a checkpoint.

    Raises:
        ModelError: there is none; its architecture is not supported; it is damaged or states sizes that no
            vision transformer has; or reading it would follow it to other files or to code.
    """
    if (folder / ADAPTER_CONFIG).exists():
        raise ModelError(
            f"{folder} holds an adapter ({ADAPTER_CONFIG}), which is not a backbone. Pass its backbone, and "
            "import the adapter (orbitune import); a bundle on the hub has to be pulled (orbitune pull)."
        )
    if not (folder / CONFIG).is_file():
        raise ModelError(f"{folder} holds no {CONFIG}; expected a checkpoint in the hub's layout.")
    named = read_config_file(folder / CONFIG, _Architecture)
    # Before the sizes: an unknown architecture may state others.
    family = family_of(named.model_type, whose=str(folder), classes=named.architectures or ())
    config = read_config_file(folder / CONFIG, CheckpointConfig)
    others = config.model_extra or {}
    refused = [name for name in _UNSUPPORTED if others.get(name)]
    refused += ["attn_implementation"] if others.get("attn_implementation") not in _ATTENTION else []
    if refused:
        raise ModelError(
            f"The {CONFIG} of {folder} sets {', '.join(refused)}, which is not supported here; use a plain "
            "checkpoint in safetensors."
        )
    sizes = config.vision_config or config
    # Those of timm are not in its config.json, and convolutional networks have none.
    states_heads = "q" in family.roles and not (sizes.num_heads or family.name_parts)
    if states_heads and sizes.hidden_size % sizes.num_attention_heads:
        raise ModelError(
            f"The {CONFIG} of {folder} cannot be read: {sizes.num_attention_heads} heads do not divide a "
            f"width of {sizes.hidden_size}."
        )
    return config


def hashed_files(folder: Path) -> list[Path]:
    """Return the safetensors files whose hash tells weights apart, in order.

    The patch head is none of them: a bundle may get one when it is made again, with the same weights.
    """
    return sorted(file for file in folder.glob("*.safetensors") if file.name != PATCH_HEAD_FILE)


def weight_files(folder: Path) -> list[Path]:
    """Return the files that hold a checkpoint's weights.

    Only safetensors are ever read.

    Raises:
        ModelError: there are none, or they are in a form that can run programs or lies elsewhere.
    """
    whole, index = folder / WEIGHTS, folder / f"{WEIGHTS}.index.json"
    if any(folder.glob("shard-*-model-*.safetensors")):
        raise ModelError(f"{folder} holds a distributed checkpoint; save it as one model in safetensors.")
    if whole.is_file():
        return [whole]
    if not index.is_file():
        pickles = sorted(file.name for file in folder.glob("*.bin"))
        reason = f"{pickles[0]} is a pickle, which can run any program; " if pickles else ""
        raise ModelError(
            f"The weights of {folder} cannot be loaded: {reason}there is no {WEIGHTS}. Save them as "
            "safetensors."
        )
    stated = read_json(index)
    names = stated.get("weight_map") if isinstance(stated, dict) else None
    parts = set(names.values()) if isinstance(names, dict) and _are_names(names.values()) else set()
    files = [folder / name for name in sorted(parts)]
    if not files or not all(f.name in parts and f.suffix == ".safetensors" and f.is_file() for f in files):
        raise ModelError(f"{index} is damaged: it should name safetensors files beside it. Restore it.")
    return files


def _are_names(values: Any) -> bool:
    """Return whether all values are names of files without folders."""
    return all(isinstance(value, str) and Path(value).name == value for value in values)


def stored_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors in a safetensors file, by name.

    No tensor is read.

    Raises:
        ModelError: the file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as opened:
            names = opened.keys()
            return {name: tuple(opened.get_slice(name).get_shape()) for name in names}
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelError(f"{file} cannot be loaded: {first_line(error)}. Restore it.") from None


def checkpoint_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all tensors of a checkpoint, by name.

    Raises:
        ModelError: as `weight_files` and `stored_shapes`.
    """
    return {name: shape for file in weight_files(folder) for name, shape in stored_shapes(file).items()}


def read_tensors(file: Path) -> "dict[str, Tensor]":
    """Read all tensors of a safetensors file into memory.

    Raises:
        ModelError: the file is missing or damaged, or holds other than finite floating-point numbers.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(file)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise ModelError(f"{file} cannot be read: {first_line(error)}. Restore it.") from None
    for name, tensor in tensors.items():
        if not (tensor.is_floating_point() or name.endswith(_WHOLE_NUMBERS)):
            raise ModelError(
                f"{file} holds whole numbers ({name}: {tensor.dtype}) in place of weights. Save floats."
            )
    check_finite(tensors, str(file))
    return tensors


def check_finite(tensors: "Mapping[str, Tensor]", whose: str) -> None:
    """Check that all floating-point numbers of tensors are finite.

    Raises:
        ModelError: one is not.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.numel():
            low, high = tensor.float().aminmax()  # NaN where a number is NaN
            if not (math.isfinite(low) and math.isfinite(high)):
                raise not_finite(whose, name)


def not_finite(whose: str, tensor: str) -> ModelError:
    """Return the error of weights of which a tensor holds a number that is not finite."""
    return ModelError(
        f"{whose} holds numbers that are not finite (NaN or infinite), such as in {tensor}: it was damaged, "
        "or its training diverged. Use another copy, or train again."
    )
