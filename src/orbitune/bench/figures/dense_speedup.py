"""How much faster dense answers are than a tile for each label, on a part of a real scene."""

import statistics
import time
from pathlib import Path
from typing import Any

from orbitune.bench.figures.scenes import mapped, middle, workshop

_STRIDE = 16


def measure(run: str, scene: str | None) -> dict[str, Any]:
    """The median ratio of seconds, there and back; all that a map takes is in both."""
    seconds: dict[str, list[float]] = {"dense": [], "tiles": []}
    with workshop(run) as folder:
        part = folder / "part.tif"
        middle(scene, part)
        mapped(folder, part)  # what is loaded once for a process
        for mode in ("dense", "tiles", "tiles", "dense"):
            seconds[mode].append(_seconds(folder, part, mode))
    ratios = [slow / fast for slow, fast in zip(seconds["tiles"], seconds["dense"], strict=True)]
    words = [[name, f"{statistics.median(each):.1f} s"] for name, each in seconds.items()]
    return {"value": statistics.median(ratios), "details": [*words, ["stride", f"{_STRIDE} pixels"]]}


def _seconds(folder: Path, part: Path, mode: str) -> float:
    start = time.perf_counter()
    mapped(folder, part, stride=_STRIDE, mode=mode)
    return time.perf_counter() - start
