"""Checkpoints in timm's layout: those of plain ViTs are converted to the layout of transformers.

timm itself, which needs torchvision, is not imported for them; all others are computed by it. The names are
those of timm 1.0 (timm/models/vision_transformer.py, Apache-2.0). The converted folder lies in the cache.
"""

import functools
import hashlib
import math
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orbitune.cache import cache_folder
from orbitune.errors import OrbituneError
from orbitune.files import replacing, write_json
from orbitune.integrity import file_hash, read_cached_json, read_json, write_checksummed_json
from orbitune.models.families.family import Family
from orbitune.models.families.table import FAMILIES
from orbitune.models.families.timm.config import FILTERS, MODEL_TYPE, TimmConfig
from orbitune.models.families.timm.installed import require_timm
from orbitune.models.families.timm.wrapped import PREPROCESSOR, in_wrapper_layout
from orbitune.models.files.checkpoint_files import (
    CONFIG,
    WEIGHTS,
    checkpoint_shapes,
    read_tensors,
    weight_files,
)
from orbitune.models.files.config_files import read_config_file
from orbitune.models.files.licence import CARD

if TYPE_CHECKING:
    from torch import Tensor

_VERSION = 2  # of the conversion
_HASHES = "converted.json"  # SHA-256 of the files, by which a damaged copy is found
_KNOWN = (
    "without timm, plain ViTs are read: vit_* and deit_* with a class token and without "
    "distillation, and vit_*_dinov2 with or without registers"
)
# Their names, with patch size and image size; of timm 1.0 and, with an ending, of older versions.
_PLAIN = re.compile(
    r"(vit|deit)_(?P<size>tiny|small|medium|betwixt|base|large|huge|giant|gigantic)_patch(?P<patch>\d+)_"
    r"((?P<side>\d+)(_in21k|_miil)?|(reg4_)?dinov2)"
)
_WIDTHS = {"tiny": 192, "small": 384, "medium": 512, "betwixt": 640, "base": 768, "large": 1024, "huge": 1280}
# timm derives the number of heads from the architecture's name; these are the heads of each width.
_HEADS = {192: 3, 384: 6, 512: 8, 640: 10, 768: 12, 1024: 16, 1280: 16, 1408: 16, 1664: 16}
# Arguments of timm's constructor that the shapes of the tensors show, or that do not change outputs.
_ARGUMENTS = {
    "class_token",
    "depth",
    "drop_path_rate",
    "drop_rate",
    "dynamic_img_size",
    "embed_dim",
    "img_size",
    "in_chans",
    "init_values",
    "mlp_ratio",
    "no_embed_class",
    "num_classes",
    "num_heads",
    "patch_size",
    "qkv_bias",
    "reg_tokens",
}
_OUTSIDE = {"head.weight", "head.bias"}  # the old head
_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)\.(weight|bias|gamma)")


def in_transformers_layout(folder: Path) -> Path:
    """Return the folder of a checkpoint in the layout of transformers.

    Args:
        folder: of a checkpoint in any layout.

    Returns:
        `folder` itself, or for a checkpoint of timm one in the cache: a converted copy of a plain ViT, or the
        layout of transformers' wrapper for what timm computes.

    Raises:
        MissingExtraError: it is of timm and no plain ViT, and timm is not installed.
        ModelError: it is of timm, and damaged.
    """
    try:
        stated = read_json(folder / CONFIG)
    except OrbituneError:
        return folder  # whoever reads it says what is wrong
    if not isinstance(stated, dict) or "architecture" not in stated:
        return folder
    if stated.get("model_type", MODEL_TYPE) != MODEL_TYPE:
        return folder
    config = read_config_file(folder / CONFIG, TimmConfig)
    if problem := _why_timm(folder, config):
        require_timm(
            f"{folder} is of timm's architecture {config.architecture!r}, which timm computes: {problem}."
        )
        return folder if _states_normalisation(folder) else in_wrapper_layout(folder, config)
    files = [folder / CONFIG, *weight_files(folder)]
    key = hashlib.sha256(f"{_VERSION} {_hash(*files)}".encode()).hexdigest()[:16]
    converted = cache_folder("backbones") / f"timm-{key}"
    kept = read_cached_json(converted / _HASHES) or {}
    if not (kept and all((converted / n).is_file() and _hash(converted / n) == kept[n] for n in kept)):
        _convert(folder, config, converted)
    return converted


def _hash(*files: Path) -> str:
    """Return the SHA-256 over files; once a process, unless their sizes or times change."""
    return _hash_of(files, tuple((stat.st_size, stat.st_mtime_ns) for stat in map(Path.stat, files)))


@functools.lru_cache(maxsize=64)
def _hash_of(files: tuple[Path, ...], stamps: tuple[tuple[int, int], ...]) -> str:
    return file_hash(*files)


def _states_normalisation(folder: Path) -> bool:
    """Return whether a folder has the preprocessing that transformers' own image processors read."""
    file = folder / PREPROCESSOR
    return file.is_file() and "image_mean" in read_json(file)


def _why_timm(folder: Path, config: TimmConfig) -> str | None:
    """Return why a checkpoint is computed by timm; None for one that is converted."""
    if config.model_type:
        return "it is in the layout of transformers' timm wrapper"
    if not _PLAIN.fullmatch(config.architecture):
        return f"it is no plain ViT; {_KNOWN}"
    problem = _problem(config, checkpoint_shapes(folder))
    return problem and f"{problem}; {_KNOWN}"


def _convert(folder: Path, config: TimmConfig, converted: Path) -> None:
    """Write a checkpoint of timm in the layout of transformers."""
    from safetensors.torch import save_file

    tensors = {name: t for file in weight_files(folder) for name, t in read_tensors(file).items()}
    family = FAMILIES[_model_type(tensors)]
    with replacing(converted) as temporary:
        temporary.mkdir()
        renamed = {name: tensor.contiguous().clone() for name, tensor in _renamed(tensors, family).items()}
        save_file(renamed, temporary / WEIGHTS, {"format": "pt"})
        write_json(temporary / PREPROCESSOR, config.pretrained_cfg.preprocessor)
        if (folder / CARD).is_file():
            shutil.copyfile(folder / CARD, temporary / CARD)  # it states the licence
        write_json(temporary / CONFIG, _settings(config, tensors, family))
        hashes = {name: file_hash(temporary / name) for name in (CONFIG, WEIGHTS, PREPROCESSOR)}
        write_checksummed_json(temporary / _HASHES, hashes)


def _problem(config: TimmConfig, shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """Return why a checkpoint is no plain ViT; None for one that is."""
    arguments = config.model_args or {}
    first = (f"blocks.0.{part}.weight" for part in ("attn.qkv", "mlp.fc1", "mlp.fc2"))
    needed = ("cls_token", "pos_embed", "patch_embed.proj.weight", "norm.weight", *first)
    if lacking := [name for name in needed if name not in shapes]:
        return f"it has no {lacking[0]}"
    if others := sorted(name for name in shapes if _new_names(name, FAMILIES["dinov2"]) is None):
        return f"{others[0]} has no place in one"
    if ("blocks.0.ls1.gamma" in shapes) != ("dinov2" in config.architecture):
        return "DINOv2, and no other of them, has layer scales"
    if "reg_token" in shapes and "dinov2" not in config.architecture:
        return "it has registers"
    if unknown := sorted(arguments.keys() - _ARGUMENTS):
        return f"its model_args set {unknown[0]}"
    width = shapes["norm.weight"][0]
    heads = arguments.get("num_heads", _HEADS.get(width))
    if not isinstance(heads, int) or heads < 1 or width % heads:
        return f"its number of heads is not known at a width of {width}"
    if 2 * shapes["blocks.0.mlp.fc2.weight"][1] == shapes["blocks.0.mlp.fc1.weight"][0]:
        return "its MLP is gated (SwiGLU)"
    positions = shapes["pos_embed"][1]
    if positions not in (math.isqrt(positions) ** 2, math.isqrt(positions - 1) ** 2 + 1):
        return f"its {positions} positions are no square grid"
    stated = config.pretrained_cfg
    if stated.interpolation not in FILTERS:
        return f"its images are resized by {stated.interpolation}"
    if stated.input_size[0] != shapes["patch_embed.proj.weight"][1]:
        return "it reads another number of bands than its pretrained_cfg says"
    return _contradiction(config.architecture, arguments, shapes)


def _contradiction(
    architecture: str, arguments: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> str | None:
    """Return which tensors contradict the name of a plain ViT; None where none does."""
    named = _PLAIN.fullmatch(architecture)
    assert named
    width, _, patch, _ = shapes["patch_embed.proj.weight"]
    side = math.isqrt(shapes["pos_embed"][1]) * patch
    found = {
        "embed_dim": (width, _WIDTHS.get(named["size"]), "a width"),
        "patch_size": (patch, int(named["patch"]), "patches"),
        "img_size": (side, named["side"] and int(named["side"]), "images"),
    }
    wrong = [
        f"its tensors have {what} of {own}, and one of this name {expected}"
        for argument, (own, expected, what) in found.items()
        if argument not in arguments and expected not in (None, own)
    ]
    return wrong[0] if wrong else None


def _model_type(tensors: Mapping[str, "Tensor"]) -> str:
    """Return the family of a plain ViT: with layer scales DINOv2, with registers too."""
    if "blocks.0.ls1.gamma" not in tensors:
        return "vit"
    return "dinov2_with_registers" if "reg_token" in tensors else "dinov2"


def _new_names(name: str, family: Family) -> list[str] | None:
    """Return the names of a tensor in transformers, several for a fused one.

    The list is empty for a tensor that is left out; None for an unknown one.
    """
    before, after = family.norms
    outside = {
        "cls_token": "embeddings.cls_token",
        "pos_embed": "embeddings.position_embeddings",
        "reg_token": "embeddings.register_tokens",
        **{f"patch_embed.proj.{kind}": f"{family.projection}.{kind}" for kind in ("weight", "bias")},
        **{f"norm.{kind}": f"{family.last_norm}.{kind}" for kind in ("weight", "bias")},
    }
    if name in _OUTSIDE:
        return []
    if name in outside:
        return [f"{family.body}.{outside[name]}"]
    inside = {
        "norm1": [before],
        "norm2": [after],
        "attn.qkv": [family.roles[role][0] for role in "qkv"],
        "attn.proj": [family.roles["o"][0]],
        "mlp.fc1": ["mlp.fc1"],
        "mlp.fc2": ["mlp.fc2"],
        "ls1": ["layer_scale1"],
        "ls2": ["layer_scale2"],
    }
    found = _BLOCK.fullmatch(name)
    if not found or found[2] not in inside or (found[3] == "gamma") != found[2].startswith("ls"):
        return None
    kind = "lambda1" if found[3] == "gamma" else found[3]
    return [f"{family.body}.{family.layers}.{found[1]}.{part}.{kind}" for part in inside[found[2]]]


def _renamed(tensors: Mapping[str, "Tensor"], family: Family) -> "dict[str, Tensor]":
    """Return the tensors under the names of transformers; fused queries, keys and values are split."""
    import torch

    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        names = _new_names(name, family) or []
        parts = tensor.chunk(len(names)) if len(names) > 1 else (tensor,)
        renamed |= dict(zip(names, parts, strict=False))
    positions = tensors["pos_embed"]
    if math.isqrt(positions.shape[1]) ** 2 == positions.shape[1]:  # without the class token
        zero = torch.zeros_like(positions[:, :1])
        renamed[f"{family.body}.embeddings.position_embeddings"] = torch.cat([zero, positions], 1)
    if family.model_type != "vit":
        renamed[f"{family.body}.embeddings.mask_token"] = torch.zeros_like(tensors["norm.weight"])[None]
    return renamed


def _settings(config: TimmConfig, tensors: Mapping[str, "Tensor"], family: Family) -> dict[str, Any]:
    """Return the config.json of transformers."""
    width, channels, patch, _ = tensors["patch_embed.proj.weight"].shape
    blocks = {found[1] for name in tensors if (found := _BLOCK.fullmatch(name))}
    hidden = len(tensors["blocks.0.mlp.fc1.weight"])
    sizes: dict[str, Any] = {"intermediate_size": hidden}
    if family.model_type != "vit":
        ratio = hidden / width
        sizes = {"mlp_ratio": int(ratio) if ratio.is_integer() else ratio, "use_swiglu_ffn": False}
    if "reg_token" in tensors:
        sizes["num_register_tokens"] = tensors["reg_token"].shape[1]
    return {
        "model_type": family.model_type,
        "architectures": [],
        "hidden_act": "gelu",
        "hidden_size": width,
        **sizes,
        "image_size": math.isqrt(tensors["pos_embed"].shape[1]) * patch,
        "layer_norm_eps": 1e-6,
        "num_attention_heads": (config.model_args or {}).get("num_heads", _HEADS.get(width)),
        "num_channels": channels,
        "num_hidden_layers": len(blocks),
        "patch_size": patch,
        "qkv_bias": "blocks.0.attn.qkv.bias" in tensors,
    }
