"""Agreement of a dense map with a tile-wise map of a real scene."""

from typing import Any

import numpy as np
import rasterio

from orbitune.bench.figures.scenes import map_scene_with, temporary_bundle
from orbitune.errors import OrbituneError

_STRIDE = 16


def measure(run: str, scene: str | None) -> dict[str, Any]:
    """Return the fraction of grid cells, 0..1, with the same value in both maps.

    `not sure` counts as a value.
    """
    if scene is None:
        raise OrbituneError("This figure is of a real scene: name its file with --scene.")
    maps = []
    with temporary_bundle(run) as folder:
        for mode in ("tiles", "dense"):
            report = map_scene_with(folder, scene, stride=_STRIDE, mode=mode, grid="cells")
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
