"""How long a whole Sentinel-2 tile takes, one label per tile, read and write included."""

import time
from typing import Any

from orbitune.bench.figures.scenes import SIDE, lay_out, mapped, workshop


def measure(run: str) -> dict[str, Any]:
    """Seconds from the closed file to the finished map and its confidence."""
    with workshop(run) as folder:
        lay_out(run, folder / "scene.tif")
        start = time.perf_counter()
        report = mapped(folder, folder / "scene.tif")
        seconds = time.perf_counter() - start
        size = (folder / "scene.tif").stat().st_size
    labels = (-(-SIDE // report.metadata.stride)) ** 2
    details = [["labels", f"{labels:,}"], ["scene", f"{SIDE:,} x {SIDE:,}, uint16, {size / 1e6:.0f} MB"]]
    return {"value": seconds, "details": details}
