"""Memory that further adapters add to an adapter bank."""

import ctypes
import gc
from pathlib import Path
from typing import Any

from orbitune.adapters.adapter_bank import AdapterBank
from orbitune.evaluation.run_result import RunResult
from orbitune.training.meter import rss_bytes


def measure(run: str, adapters: int) -> dict[str, Any]:
    """Return the resident bytes that the further adapters of a bank take.

    All are copies of the run's adapter. The bytes with the first one are subtracted.
    """
    result = RunResult.load(Path(run))
    recipe = result.recipe
    bank = AdapterBank(recipe.backbone, result.preprocessing.image_size, precision=recipe.precision)
    folder = Path(run) / "adapter"
    bank.add("0", folder)
    before = _resident()
    for number in range(1, adapters):
        bank.add(str(number), folder)
    return {
        "value": _resident() - before,
        "details": [["counted by the bank itself", f"{bank.bytes / 1e6:.0f} MB of {adapters:,} adapters"]],
    }


def _resident() -> int:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # do not count freed memory
    return rss_bytes()
