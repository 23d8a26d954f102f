"""Tensors kept in the cache: what an export computes, for the next export of the same model."""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from orbitune.cache import cache_folder
from orbitune.errors import OrbituneError
from orbitune.integrity import code_hash
from orbitune.models.files.checksummed_safetensors import check_checksum, save_checksummed

if TYPE_CHECKING:
    from torch import Tensor


def kept_tensors(
    name: str, key: Sequence[str], *, compute: "Callable[[], dict[str, Tensor]]"
) -> "dict[str, Tensor]":
    """Return tensors from the cache, computed and written where they are absent or damaged.

    Args:
        name: of what they are, for the file.
        key: all that they depend on, but Orbitune's own code.
        compute: returns them.
    """
    from safetensors.torch import load_file

    text = json.dumps([code_hash(), *key])
    path = cache_folder("export") / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:32]}.safetensors"
    try:
        check_checksum(path)
        return load_file(path)
    except (OSError, ValueError):
        tensors = compute()
    with suppress(OrbituneError):  # a full disk costs the next export time, not this one its result
        save_checksummed(path, tensors)
    return tensors
