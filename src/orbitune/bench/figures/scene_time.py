"""Duration of mapping a whole Sentinel-2 tile with one label per tile.

Reading and writing are included.
"""

import time
from typing import Any

from orbitune.bench.figures.scenes import SIDE, map_scene_with, temporary_bundle, write_scene


def measure(run: str) -> dict[str, Any]:
    """Return the seconds from the closed file to the finished map and its confidence."""
    with temporary_bundle(run) as folder:
        write_scene(run, folder / "scene.tif")
        start = time.perf_counter()
        report = map_scene_with(folder, folder / "scene.tif")
        seconds = time.perf_counter() - start
        size = (folder / "scene.tif").stat().st_size
    labels = (-(-SIDE // report.metadata.stride)) ** 2
    details = [["labels", f"{labels:,}"], ["scene", f"{SIDE:,} x {SIDE:,}, uint16, {size / 1e6:.0f} MB"]]
    return {"value": seconds, "details": details}
