"""Speed-up of dense prediction over one tile per label."""

import statistics
import time
from typing import Any

from orbitune.bench.figures.scenes import describe_map, map_scene_with, temporary_bundle, write_scene

_SIDE, _STRIDE = 2_000, 16


def measure(run: str, *, pixels: int = _SIDE, window: int | None = None) -> dict[str, Any]:
    """Return the median ratio of seconds of whole maps, each way run twice.

    Args:
        run: the run whose bundle makes the maps.
        pixels: side of the scene.
        window: side in pixels of the ground that a cell is labelled from; None for the default.
    """
    seconds: dict[str, list[float]] = {"dense": [], "tiles": []}
    with temporary_bundle(run) as folder:
        scene = folder / "scene.tif"
        write_scene(run, scene, pixels=pixels)
        # The first map loads what is loaded once for a process.
        report = map_scene_with(folder, scene, stride=_STRIDE, window=window, mode="dense")
        for mode in ("dense", "tiles", "tiles", "dense"):
            start = time.perf_counter()
            map_scene_with(folder, scene, stride=_STRIDE, window=window, mode=mode)
            seconds[mode].append(time.perf_counter() - start)
    ratios = [slow / fast for slow, fast in zip(seconds["tiles"], seconds["dense"], strict=True)]
    details = [[name, f"{statistics.median(each):.1f} s"] for name, each in seconds.items()]
    labels = f"{(-(-pixels // _STRIDE)) ** 2:,}"
    details += [["labels", labels], ["dense map", describe_map(report.metadata)]]
    return {"value": statistics.median(ratios), "details": details}
