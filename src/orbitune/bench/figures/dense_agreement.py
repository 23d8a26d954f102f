"""At which share of the cells of a real scene a dense map says what tile-by-tile answers say."""

from typing import Any

import numpy as np
import rasterio

from orbitune.bench.figures.scenes import mapped, workshop
from orbitune.errors import OrbituneError

_STRIDE = 16


def measure(run: str, scene: str | None) -> dict[str, Any]:
    """The share, 0..1, of all cells, classes and `not sure` alike, in two whole maps."""
    if scene is None:
        raise OrbituneError("This figure is of a real scene: name its file with --scene.")
    maps = []
    with workshop(run) as folder:
        for mode in ("tiles", "dense"):
            report = mapped(folder, scene, stride=_STRIDE, mode=mode, grid="cells")
            with rasterio.open(folder / "map.tif") as file:
                maps.append(file.read(1))
    there, same = maps[0] > 0, maps[0] == maps[1]
    others = there & (maps[0] != np.bincount(maps[0][there]).argmax())
    assert report.agreement and report.agreement.fraction is not None
    details = [
        ["cells", f"{there.sum():,}"],
        ["without the most frequent answer", f"{same[others].mean():.1%} of {others.sum():,}"],
        ["as the map itself measured", f"{report.agreement.fraction:.1%}"],
    ]
    return {"value": float(same[there].mean()), "details": details}
