"""The hash of a checkpoint's configuration with the defaults of its architecture."""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from orbitune.cache import cache_folder
from orbitune.errors import OrbituneError
from orbitune.integrity import file_hash, read_checksummed_json, write_checksummed_json

_WITHOUT_EFFECT = ("transformers_version", "_name_or_path", "architectures", "dtype", "torch_dtype")


def config_hash(file: Path, settings: dict[str, Any], *, read: Callable[[], Any]) -> str:
    """Return the SHA-256 of a config.json with its defaults, and of other settings.

    Only transformers knows the defaults. The cache keeps the hash, so that transformers is imported once for
    each config.json.

    Args:
        file: config.json.
        settings: other settings, as JSON values.
        read: reads the file with transformers.
    """
    stated = (json.dumps(settings, sort_keys=True), version("transformers"), file_hash(file))
    key = hashlib.sha256("\0".join(stated).encode()).hexdigest()
    with suppress(OrbituneError):
        stored = read_checksummed_json(cache_folder("settings") / f"{key}.json").get("sha256")
        if isinstance(stored, str):
            return stored
    config = {name: value for name, value in read().to_dict().items() if name not in _WITHOUT_EFFECT}
    text = json.dumps({**settings, "config": config}, sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()
    with suppress(OrbituneError):  # a full or unwritable cache costs time, not the run
        write_checksummed_json(cache_folder("settings") / f"{key}.json", {"sha256": digest})
    return digest
