"""Search of weight files for numbers that are not finite, without torch."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.models.files.checkpoint_files import not_finite, weight_files

_EXPONENT = {"BF16": 0x7F80}  # bits that are all set in infinity and NaN, of a type that numpy lacks
_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def check_stored_finite(folder: Path, *, name: str, needed: Callable[[str], bool]) -> None:
    """Check the floating-point numbers of a checkpoint whose headers are whole.

    Reading them takes as long as it does later, when they come from the page cache.

    Args:
        folder: of the checkpoint.
        name: of the checkpoint, for messages.
        needed: whether a tensor of this name is loaded.

    Raises:
        ModelError: a number of a tensor that is loaded is NaN or infinite.
    """
    for file in weight_files(folder):
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header: dict[str, Any] = json.loads(opened.read(length))
        for tensor, stated in header.items():
            if tensor == "__metadata__" or stated["dtype"] not in _TYPES or not needed(tensor):
                continue
            place, count = 8 + length + stated["data_offsets"][0], math.prod(stated["shape"])
            if not count:
                continue
            values: np.ndarray = np.memmap(file, _TYPES[stated["dtype"]], "r", place, (count,))
            bits = _EXPONENT.get(stated["dtype"])
            if not (np.isfinite(values) if bits is None else (values & bits) != bits).all():
                raise not_finite(f"The checkpoint {name}", tensor)
