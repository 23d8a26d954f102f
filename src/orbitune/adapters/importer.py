"""Adapters that other programs trained, as bundles: under one form of names, told what they do not say."""

import re
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from orbitune.adapters.key_mapping import canonical, canonical_config, canonical_patterns, without_copies
from orbitune.errors import ModelError, OrbituneError
from orbitune.files import replacing, write_json
from orbitune.inference.bundle import Bundle
from orbitune.integrity import read_json
from orbitune.models.adapter_files import check_adapter, check_head, read_adapter_config
from orbitune.models.backbones import Backbone, empty_model, find_backbone
from orbitune.models.checkpoint_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, read_tensors
from orbitune.models.checkpoint_io import load_saved, write_metadata
from orbitune.models.metadata import FILE, ModelMetadata, check_class_names
from orbitune.models.preprocessing import (
    PREPROCESSOR_CONFIG,
    Preprocessing,
    read_preprocessing,
    write_preprocessing,
)


def import_adapter(
    folder: str | Path,
    backbone: str,
    labels: tuple[str, ...],
    out: str | Path,
    say: Callable[[str], None] = warnings.warn,
) -> Bundle:
    """Make a bundle of a PEFT LoRA over transformers 4, transformers 5 or timm; it has no scores.

    Args:
        folder: adapter_config.json and adapter_model.safetensors; a preprocessor_config.json in it goes
            before the backbone's.
        labels: class names in the order of the adapter's head.
        out: the folder to make; it must not exist.
        say: receives one line if the adapter names another backbone than `backbone`.

    Raises:
        ModelError: it is no such adapter, has no head for these classes, or does not fit the backbone; or a
            class has no name of its own.
    """
    folder, out, found = Path(folder), Path(out), find_backbone(backbone)
    if out.exists():
        raise ModelError(f"{out} exists; choose another --out, or remove it.")
    labels = _class_names(labels)
    config, tensors = _read(folder)
    stated = _check_backbone(folder, config, found, say)
    if _speaks_ours(tensors, found, labels):
        named = without_copies(tensors)
    else:
        named = canonical(tensors, found.family)
        config = _renamed(config, tensors, named, found)
    shapes = {name: tuple(tensor.shape) for name, tensor in named.items()}
    check_head(folder, shapes, found, len(labels), "--labels")
    metadata = ModelMetadata(
        method="lora",
        classes=labels,
        preprocessing=_preprocessing(folder, found),
        backbone=found.record,
        scores={},
        imported={"base_model": stated},
    )
    with replacing(out) as temporary:
        temporary.mkdir()
        _write(temporary, _for_hub(config, found), named, metadata)
        load_saved(temporary, found)  # raises where a tensor fits nowhere
    return Bundle.open(out)


def _class_names(labels: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return check_class_names(labels.split(",") if isinstance(labels, str) else labels)
    except (ValueError, AttributeError) as error:
        raise ModelError(
            f"The class names (--labels) do not do: {error}. Give one of its own for each class."
        ) from None


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    check_adapter(folder)
    config = read_adapter_config(folder)
    if config["peft_type"] != "LORA":
        raise ModelError(f"{folder} is of PEFT's type {config['peft_type']}; only LORA can be imported.")
    return config, read_tensors(folder / ADAPTER_WEIGHTS)


def _check_backbone(
    folder: Path, config: dict[str, Any], backbone: Backbone, say: Callable[[str], None]
) -> str | None:
    """Compare the backbone that an adapter names with the one that was passed, and return its name.

    The same checkpoint has many names (a hub id, folders of several machines), so a difference is a warning,
    not an error; where the adapter keeps a hash of the weights, that decides.

    Raises:
        ModelError: the weights are not those that the adapter was trained on.
    """
    stated = config.get("base_model_name_or_path") or None
    if (digest := _kept_digest(folder)) is not None:
        if digest != backbone.weights_hash:
            raise ModelError(
                f"{folder} was trained on {stated or 'a backbone'}, with other weights than {backbone.name} "
                "holds; its predictions would be wrong. Pass that one as --backbone."
            )
    elif stated and _plain(stated) not in {
        _plain(name) for name in (backbone.name, backbone.reference, str(backbone.folder))
    }:
        say(
            f"{folder} states that it was trained on {stated}, not on {backbone.name}: check that their "
            "weights are the same, or its predictions are wrong."
        )
    return stated


def _kept_digest(folder: Path) -> str | None:
    """The hash of the backbone's weights, which an adapter of Orbitune keeps."""
    try:
        digest = read_json(folder / FILE)["backbone"]["weights_sha256"]
    except (OrbituneError, KeyError, TypeError):
        return None
    return digest if isinstance(digest, str) else None


def _plain(name: str) -> str:
    """Return a checkpoint's name without its owner or folder."""
    return name.replace("\\", "/").rstrip("/").rpartition("/")[2].casefold()


def _speaks_ours(tensors: Iterable[str], backbone: Backbone, labels: tuple[str, ...]) -> bool:
    """Return whether every tensor name belongs to a module of the backbone in this transformers."""
    modules = {name for name, _ in empty_model(backbone, labels).named_modules()}
    wrapping = re.compile(r"\.(lora_|base_layer|modules_to_save|original_module).*|\.[^.]*$")
    return all(
        wrapping.sub("", name.removeprefix("base_model.model."), count=1) in modules for name in tensors
    )


def _renamed(
    config: dict[str, Any], tensors: dict[str, Any], named: dict[str, Any], backbone: Backbone
) -> dict[str, Any]:
    """Return the configuration for renamed tensors.

    Raises:
        ModelError: it has a setting that means the names, or the shapes, of the other library.
    """
    if config.get("target_parameters"):
        raise ModelError(
            "The adapter has target_parameters, which cannot be renamed. Train it again without them."
        )
    start, fused = config.get("init_lora_weights"), len(named) > len(without_copies(tensors))
    if fused and isinstance(start, str) and start.lower() in ("pissa", "olora"):
        raise ModelError(
            f"The adapter was started by {start}, which changed fused layers, and these cannot be split. "
            "Save it as plain LoRA (path_initial_model_for_weight_conversion)."
        )
    plain = {**config, "rank_pattern": {}, "alpha_pattern": {}, "exclude_modules": None}
    return canonical_config(plain, named) | canonical_patterns(config, tensors, backbone.family)


def _for_hub(config: dict[str, Any], backbone: Backbone) -> dict[str, Any]:
    """Return the configuration with a reference to the backbone and no other references."""
    library = (config.get("auto_mapping") or {}).get("parent_library", "")
    known = isinstance(library, str) and library.startswith("transformers.models.")
    return {
        **config,
        "base_model_name_or_path": backbone.reference,
        "revision": None,
        "auto_mapping": config.get("auto_mapping") if known else None,
    }


def _preprocessing(folder: Path, backbone: Backbone) -> Preprocessing:
    """Return the preprocessing that the adapter states, else the backbone's."""
    if (folder / PREPROCESSOR_CONFIG).is_file():
        return read_preprocessing(folder, backbone.family, backbone.image_size)
    return backbone.preprocessing


def _write(folder: Path, config: dict[str, Any], tensors: dict[str, Any], metadata: ModelMetadata) -> None:
    from safetensors.torch import save_file

    write_json(folder / ADAPTER_CONFIG, config)
    save_file(tensors, folder / ADAPTER_WEIGHTS, {"format": "pt"})
    write_preprocessing(folder, metadata.preprocessing)
    write_metadata(folder, metadata)
