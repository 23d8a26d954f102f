"""Adapters that other programs trained, as bundles: under one form of names, told what they do not say."""

import json
from pathlib import Path
from typing import Any

from orbitune.deploy.bundle import FORMAT, Bundle
from orbitune.deploy.names import canonical, canonical_config
from orbitune.errors import ModelError, first_line
from orbitune.files import replacing, write_json
from orbitune.models.backbones import Backbone, find_backbone, read_preprocessing
from orbitune.models.saving import load_saved, write_facts, write_preprocessor

WEIGHTS = "adapter_model.safetensors"


def import_adapter(folder: str | Path, backbone: str, labels: tuple[str, ...], out: str | Path) -> Bundle:
    """Make a bundle of a PEFT LoRA over transformers 4, transformers 5 or timm; it has no scores.

    Args:
        folder: adapter_config.json and adapter_model.safetensors; a preprocessor_config.json in it goes
            before the backbone's.
        labels: class names in the order of the adapter's head.
        out: the folder to make; it must not exist.

    Raises:
        ModelError: it is no such adapter, has no head for these classes, or does not fit the backbone.
    """
    folder, out, found = Path(folder), Path(out), find_backbone(backbone)
    if out.exists():
        raise ModelError(f"{out} exists; choose another --out, or remove it.")
    config, tensors = _read(folder)
    named = canonical(tensors, found.family)
    _check_head(folder, named, labels, found)
    if named.keys() != tensors.keys():
        config = canonical_config(config, named)
    config["base_model_name_or_path"] = found.reference
    with replacing(out) as temporary:
        temporary.mkdir()
        _write(temporary, config, named, _facts(folder, found, labels))
        load_saved(temporary, found)  # raises where a tensor fits nowhere
    return Bundle.open(out)


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if (folder / "adapter_model.bin").is_file() and not (folder / WEIGHTS).is_file():
        raise ModelError(f"{folder} holds a pickle, which can run any program; save it as safetensors.")
    try:
        config = json.loads((folder / "adapter_config.json").read_text())
        tensors = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"{folder} cannot be read as an adapter of PEFT: {first_line(error)}.") from None
    if config.get("peft_type") != "LORA":
        raise ModelError(f"{folder} is of PEFT's type {config.get('peft_type')}; only LORA can be imported.")
    return config, tensors


def _check_head(folder: Path, tensors: dict[str, Any], labels: tuple[str, ...], backbone: Backbone) -> None:
    heads = [
        name for name in tensors if name.split(".")[-2] in backbone.family.heads and name.endswith(".weight")
    ]
    if not heads:
        raise ModelError(
            f"{folder} holds no classification head, so it cannot predict: it was saved without one "
            f"(modules_to_save). Train it again, with the head."
        )
    if len(tensors[heads[0]]) != len(labels):
        raise ModelError(
            f"The head of {folder} has {len(tensors[heads[0]])} classes; --labels has {len(labels)}."
        )


def _facts(folder: Path, backbone: Backbone, labels: tuple[str, ...]) -> dict[str, Any]:
    preprocessing, size = backbone.preprocessing, None
    if (folder / "preprocessor_config.json").is_file():
        preprocessing, size = read_preprocessing(folder, backbone.family)
    return {
        "format": FORMAT,
        "method": "lora",
        "classes": list(labels),
        "preprocessing": {"image_size": size or backbone.image_size, **preprocessing.to_json()},
        "backbone": {
            "name": backbone.name,
            "description": backbone.description,
            "weights_sha256": backbone.weights_hash,
            "reference": backbone.reference,
        },
        "scores": {},
    }


def _write(folder: Path, config: dict[str, Any], tensors: dict[str, Any], facts: dict[str, Any]) -> None:
    from safetensors.torch import save_file

    write_json(folder / "adapter_config.json", config)
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    write_preprocessor(folder, facts)
    write_facts(folder, facts)
