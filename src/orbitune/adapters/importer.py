"""Import of LoRA adapters that other programs trained, as bundles."""

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from orbitune.adapters.key_mapping import drop_copies, rename_config, rename_patterns, rename_tensors
from orbitune.errors import ModelError, OrbituneError
from orbitune.files import replacing, write_json
from orbitune.inference.bundle import Bundle
from orbitune.inference.output_places import check_place
from orbitune.integrity import read_json
from orbitune.models.backbones import Backbone, empty_model
from orbitune.models.checkpoint_io import load_saved, write_metadata
from orbitune.models.files.adapter_files import PREFIX, check_adapter, check_head, read_adapter_config
from orbitune.models.files.checkpoint_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, read_tensors
from orbitune.models.lineage.carrying import carry_backbone
from orbitune.models.lineage.fine_tuned import open_backbone
from orbitune.models.lineage.shipping import strip_paths
from orbitune.models.metadata import FILE, ModelMetadata, check_class_names
from orbitune.models.preprocessing import (
    PREPROCESSOR_CONFIG,
    Preprocessing,
    read_preprocessing,
    write_preprocessing,
)
from orbitune.suggestions import taken

_LOGGER = logging.getLogger("orbitune")


def import_adapter(
    folder: str | Path,
    backbone: str,
    *,
    labels: Sequence[str],
    out: str | Path,
    log: Callable[[str], None] = _LOGGER.warning,
) -> Bundle:
    """Import a PEFT LoRA of transformers 4, transformers 5 or timm as a bundle.

    The bundle has no scores.

    Args:
        folder: adapter_config.json and adapter_model.safetensors. If it has a preprocessor_config.json, that
            overrides the backbone's.
        backbone: hub id or folder of the backbone.
        labels: class names in the order of the adapter's head.
        out: folder of the bundle; it must not exist.
        log: called with one line if the adapter names another backbone than `backbone`.

    Raises:
        ModelError: it is not such an adapter, has no head for these classes, gives a tile several labels, or
            does not fit the backbone; class names are empty or repeated; or the folder exists.
        DataError: the folder cannot be made.
    """
    folder, out, found = Path(folder), Path(out), open_backbone(backbone)
    check_place(out)
    if out.exists():
        raise ModelError(taken(out))
    classes = _class_names(labels)
    config, tensors = _read(folder)
    if _stored(folder).get("task", "single-label") != "single-label":
        raise ModelError(
            f"{folder} has several labels a tile and thresholds, which an import would lose: use its run or "
            "bundle as it is."
        )
    stated = _check_backbone(folder, config, backbone=found, log=log)
    if _has_native_names(tensors, found, labels=classes):
        named = drop_copies(tensors)
    else:
        named = rename_tensors(tensors, found.family)
        config = _renamed(config, tensors, named=named, backbone=found)
    shapes = {name: tuple(tensor.shape) for name, tensor in named.items()}
    check_head(folder, shapes, backbone=found, classes=len(classes), named="--labels")
    metadata = ModelMetadata(
        method="lora",
        classes=classes,
        preprocessing=_preprocessing(folder, found),
        backbone=found.record,
        scores={},
        imported={"base_model": stated},
    )
    with replacing(out) as temporary:
        temporary.mkdir()
        _write(temporary, _for_hub(config), tensors=named, metadata=metadata, backbone=found)
        carry_backbone(temporary, found)
        load_saved(temporary, found)  # raises where a tensor fits nowhere
    return Bundle.open(out)


def _class_names(labels: Sequence[str]) -> tuple[str, ...]:
    """Return the class names without surrounding blanks, or raise a ModelError."""
    try:
        return check_class_names(labels)
    except (ValueError, AttributeError) as error:
        raise ModelError(f"Invalid class names (--labels): {error}. Give each class its own name.") from None


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return configuration and tensors of a LoRA folder."""
    check_adapter(folder)
    config = read_adapter_config(folder)
    if config["peft_type"] != "LORA":
        raise ModelError(f"{folder} has the PEFT type {config['peft_type']}; only LORA can be imported.")
    return config, read_tensors(folder / ADAPTER_WEIGHTS)


def _check_backbone(
    folder: Path, config: dict[str, Any], *, backbone: Backbone, log: Callable[[str], None]
) -> str | None:
    """Compare the backbone that an adapter names with the given one; return its name.

    A checkpoint can have many names (a hub id, folders on several machines), so a difference is a warning. If
    the adapter stores a hash of the weights, a difference of hashes is an error.

    Raises:
        ModelError: the adapter was trained on other weights.
    """
    stated = config.get("base_model_name_or_path") or None
    if (digest := _stored_hash(folder)) is not None:
        if digest != backbone.weights_hash:
            raise ModelError(
                f"{folder} was trained on {stated or 'a backbone'}, with other weights than those of "
                f"{backbone.name}; its predictions would be wrong. Pass that backbone as --backbone."
            )
    elif stated and _basename(stated) not in {
        _basename(name) for name in (backbone.name, backbone.reference, str(backbone.folder))
    }:
        log(
            f"{folder} states that it was trained on {stated}, not on {backbone.name}: check that their "
            "weights are the same, or its predictions are wrong."
        )
    return stated


def _stored_hash(folder: Path) -> str | None:
    """Return the stored hash of the adapter's backbone weights, or None."""
    backbone = _stored(folder).get("backbone")
    digest = backbone.get("weights_sha256") if isinstance(backbone, dict) else None
    return digest if isinstance(digest, str) else None


def _stored(folder: Path) -> dict[str, Any]:
    """Return the content of the adapter's orbitune.json; empty if it has none."""
    try:
        stored = read_json(folder / FILE)
    except OrbituneError:
        return {}
    return stored if isinstance(stored, dict) else {}


def _basename(name: str) -> str:
    """Return a checkpoint's name without its owner or folder."""
    return name.replace("\\", "/").rstrip("/").rpartition("/")[2].casefold()


def _has_native_names(tensors: Iterable[str], backbone: Backbone, *, labels: tuple[str, ...]) -> bool:
    """Return whether all tensors have the names of this version of transformers."""
    modules = {name for name, _ in empty_model(backbone, labels).named_modules()}
    wrapping = re.compile(r"\.(lora_|base_layer|modules_to_save|original_module).*|\.[^.]*$")
    return all(wrapping.sub("", name.removeprefix(PREFIX), count=1) in modules for name in tensors)


def _renamed(
    config: dict[str, Any], tensors: dict[str, Any], *, named: dict[str, Any], backbone: Backbone
) -> dict[str, Any]:
    """Return the adapter configuration for renamed tensors.

    Raises:
        ModelError: a setting refers to names or shapes of the other library.
    """
    if config.get("target_parameters"):
        raise ModelError(
            "The adapter has target_parameters, which cannot be renamed. Train it again without them."
        )
    start, fused = config.get("init_lora_weights"), len(named) > len(drop_copies(tensors))
    if fused and isinstance(start, str) and start.lower() in ("pissa", "olora"):
        raise ModelError(
            f"The adapter was initialised by {start}, which changed fused layers, and these cannot be split. "
            "Save it as plain LoRA (path_initial_model_for_weight_conversion)."
        )
    plain = {**config, "rank_pattern": {}, "alpha_pattern": {}, "exclude_modules": None}
    return rename_config(plain, named) | rename_patterns(config, tensors, family=backbone.family)


def _for_hub(config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration without references to a revision or another library."""
    library = (config.get("auto_mapping") or {}).get("parent_library", "")
    known = isinstance(library, str) and library.startswith("transformers.models.")
    return {
        **config,
        "revision": None,
        "auto_mapping": config.get("auto_mapping") if known else None,
    }


def _preprocessing(folder: Path, backbone: Backbone) -> Preprocessing:
    """Return the preprocessing that the adapter states, else the backbone's."""
    if (folder / PREPROCESSOR_CONFIG).is_file():
        return read_preprocessing(
            folder, backbone.family, default_size=backbone.image_size, channels=backbone.channels
        )
    return backbone.preprocessing


def _write(
    folder: Path,
    config: dict[str, Any],
    *,
    tensors: dict[str, Any],
    metadata: ModelMetadata,
    backbone: Backbone,
) -> None:
    from safetensors.torch import save_file

    write_json(folder / ADAPTER_CONFIG, config)
    save_file(tensors, folder / ADAPTER_WEIGHTS, {"format": "pt"})
    write_preprocessing(folder, metadata.preprocessing)
    write_metadata(folder, strip_paths(folder, metadata, backbone=backbone))
