"""Checkpoints that timm computes, in the layout of transformers' wrapper around timm's models.

The folder lies in the cache; its weights are links to the checkpoint's own.
"""

import hashlib
import shutil
from pathlib import Path
from typing import Any

from orbitune.cache import cache_folder
from orbitune.errors import ModelError
from orbitune.files import replacing, write_json
from orbitune.integrity import file_hash
from orbitune.models.families.timm.config import FILTERS, MODEL_TYPE, TimmConfig
from orbitune.models.files.checkpoint_files import CONFIG, WEIGHTS, weight_files
from orbitune.models.files.licence import CARD

_VERSION = 2  # of the layout
PREPROCESSOR = "preprocessor_config.json"


def in_wrapper_layout(folder: Path, config: TimmConfig) -> Path:
    """Return the folder of a checkpoint of timm in the layout of transformers' wrapper.

    Args:
        folder: of the checkpoint, in timm's own layout or the wrapper's.
        config: its config.json.

    Raises:
        ModelError: its images are resized in a way that is not supported, or its weights are no safetensors.
    """
    stated = config.pretrained_cfg
    if stated.interpolation not in FILTERS:
        raise ModelError(
            f"The images of {folder} are resized by {stated.interpolation}, which is not supported."
        )
    weights = weight_files(folder)
    place = cache_folder("backbones") / f"timm-wrapper-{_key(folder, weights)}"
    if (place / CONFIG).is_file() and all((place / file.name).is_file() for file in weights):
        return place
    settings: dict[str, Any] = config.model_dump(mode="json", exclude_unset=True)
    with replacing(place) as temporary:
        temporary.mkdir()
        for file in (*weights, *folder.glob(f"{WEIGHTS}.index.json")):
            (temporary / file.name).symlink_to(file.resolve())
        if (folder / CARD).is_file():
            shutil.copyfile(folder / CARD, temporary / CARD)  # it states the licence
        write_json(temporary / PREPROCESSOR, stated.preprocessor)
        write_json(temporary / CONFIG, {"architectures": [], **settings, "model_type": MODEL_TYPE})
    return place


def _key(folder: Path, weights: list[Path]) -> str:
    """Return the key of a checkpoint, by its small files and the places of its weights."""
    small = [folder / name for name in (CONFIG, CARD) if (folder / name).is_file()]
    places = "\0".join(str(file.resolve()) for file in weights)
    return hashlib.sha256(f"{_VERSION} {file_hash(*small)} {places}".encode()).hexdigest()[:16]
