"""How much faster dense answers are than a tile for each label."""

import statistics
import time
from pathlib import Path
from typing import Any

from orbitune.bench.figures.scenes import lay_out, mapped, workshop

_SIDE, _STRIDE = 2_000, 16


def measure(run: str) -> dict[str, Any]:
    """The median ratio of seconds, there and back; all that a map takes is in both."""
    seconds: dict[str, list[float]] = {"dense": [], "tiles": []}
    with workshop(run) as folder:
        scene = folder / "scene.tif"
        lay_out(run, scene, _SIDE)
        mapped(folder, scene, stride=_STRIDE)  # what is loaded once for a process
        for mode in ("dense", "tiles", "tiles", "dense"):
            seconds[mode].append(_seconds(folder, scene, mode))
    ratios = [slow / fast for slow, fast in zip(seconds["tiles"], seconds["dense"], strict=True)]
    words = [[name, f"{statistics.median(each):.1f} s"] for name, each in seconds.items()]
    return {
        "value": statistics.median(ratios),
        "details": [*words, ["labels", f"{(_SIDE // _STRIDE) ** 2:,}"]],
    }


def _seconds(folder: Path, scene: Path, mode: str) -> float:
    start = time.perf_counter()
    mapped(folder, scene, stride=_STRIDE, mode=mode)
    return time.perf_counter() - start
