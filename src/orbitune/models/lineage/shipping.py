"""Saved models without the paths of the machine that made them.

Bundles, exports and imported or merged adapters go to other people and machines. They name a backbone by its
hub id, else by the name of its folder and the hash of its weights, and data and ancestors by their names.
"""

from pathlib import Path

from orbitune.files import write_json
from orbitune.integrity import read_json
from orbitune.models.backbones import Backbone
from orbitune.models.files.checkpoint_files import ADAPTER_CONFIG
from orbitune.models.lineage.ancestors import Ancestor
from orbitune.models.lineage.places import remember
from orbitune.models.metadata import HASHED, BackboneRecord, ModelMetadata
from orbitune.recipe_paths import is_local


def strip_paths(folder: Path, metadata: ModelMetadata, *, backbone: Backbone) -> ModelMetadata:
    """Remove paths from a folder that is shipped, before its metadata is written.

    The place of the backbone is kept on this machine, see `orbitune.models.lineage.places`.

    Args:
        folder: holds the other files of the model; its adapter_config.json is changed.
        metadata: of the model.
        backbone: what it was trained on.

    Returns:
        The metadata without paths.
    """
    remember(backbone)
    metadata = without_paths(metadata)
    if (config := folder / ADAPTER_CONFIG).is_file():
        stated = metadata.backbone
        name = stated.name if stated.is_hashed else stated.reference
        write_json(config, {**read_json(config), "base_model_name_or_path": name})
    return metadata


def without_paths(metadata: ModelMetadata) -> ModelMetadata:
    """Return metadata that names no path."""
    data, link = metadata.data, metadata.merged_link
    files = data.split_files and ",".join(plain_name(part) for part in data.split_files.split(","))
    changed = {
        "backbone": _plain_backbone(metadata.backbone),
        "data": data.model_copy(update={"name": data.name and plain_name(data.name), "split_files": files}),
        "merged_link": link and _plain_link(link),
        "imported": metadata.imported
        and {name: text and plain_name(text) for name, text in metadata.imported.items()},
    }
    return metadata.model_copy(update=changed)


def plain_name(text: str) -> str:
    """Return the last part of a path; a hub id or another name as it is."""
    parts = text.replace("\\", "/").rstrip("/").split("/")
    return parts[-1] if is_local(text) or "\\" in text or len(parts) > 2 else text


def _plain_backbone(stated: BackboneRecord) -> BackboneRecord:
    demo = stated.name == "demo"
    reference = HASHED + stated.weights_sha256 if is_local(stated.reference) else stated.reference
    changed = {
        "name": plain_name(stated.name),
        "reference": "demo" if demo and not stated.ancestors else reference,
        "ancestors": tuple(map(_plain_link, stated.ancestors)),
    }
    return stated.model_copy(update=changed)


def _plain_link(link: Ancestor) -> Ancestor:
    data = link.data and plain_name(link.data)
    return link.model_copy(update={"folder": None, "base": plain_name(link.base), "data": data})
