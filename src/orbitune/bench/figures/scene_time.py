"""Duration of mapping a whole Sentinel-2 tile, with reading and writing."""

import time
from typing import Any

from orbitune.bench.figures.scenes import (
    SIDE,
    describe_map,
    describe_scene,
    map_scene_with,
    temporary_bundle,
    write_scene,
)


def measure(run: str, *, stride: int | None = None, bands: int = 3, pixels: int = SIDE) -> dict[str, Any]:
    """Return the seconds from the closed file to the finished map and its confidence.

    Args:
        run: the run whose bundle makes the map.
        stride: distance between labels in pixels; None for the default of `orbitune map`.
        bands: number of bands of the scene.
        pixels: side of the scene.
    """
    with temporary_bundle(run) as folder:
        scene = write_scene(run, folder / "scene.tif", pixels=pixels, bands=bands)
        start = time.perf_counter()
        report = map_scene_with(folder, scene, stride=stride)
        seconds = time.perf_counter() - start
        details = [["scene", describe_scene(scene)], ["map", describe_map(report.metadata)]]
    labels = (-(-pixels // report.metadata.stride)) ** 2
    return {"value": seconds, "details": [["labels", f"{labels:,}"], *details]}
