"""Agreement of dense maps with tile-wise maps of real scenes."""

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from orbitune.bench.figures.labelled_scenes import read_labelled_scenes
from orbitune.bench.figures.scenes import describe_map, map_scene_with, temporary_bundle
from orbitune.errors import OrbituneError
from orbitune.mapping.dense.fit import fit_dense_head
from orbitune.mapping.grid import NODATA, select_cells
from orbitune.mapping.map_plan import plan_map
from orbitune.mapping.options import MapOptions
from orbitune.mapping.worker import Worker

_STRIDE = 16


def measure(
    run: str,
    scene: str | None,
    *,
    labelled_scenes: str | None,
    without_most_frequent: bool = False,
    window: int | None = None,
) -> dict[str, Any]:
    """Return the mean fraction of grid cells with the same value in both maps, 0..1.

    `not sure` counts as a value. The cells that the dense head was fitted to do not count, nor do those that
    cannot have a class, as at the edge of a scene.

    Args:
        run: the run whose bundle makes the maps.
        scene: raster of a scene; None for none.
        labelled_scenes: folder of labelled scenes, whose labels are not used; None for none.
        without_most_frequent: leave out the cells with the most frequent value of the tile-wise map. Scenes
            of a single value then do not count.
        window: side in pixels of the ground that a cell is labelled from; None for the default.
    """
    scenes: dict[str, tuple[str | Path, dict[str, Any]]] = {}
    if scene is not None:
        scenes[Path(scene).stem] = scene, {"window": window}
    for each in read_labelled_scenes(labelled_scenes) if labelled_scenes else ():
        scenes[each.name] = each.raster, {"bands": each.bands, "window": window}
    fractions, details = [], []
    with temporary_bundle(run) as folder:
        for name, (raster, settings) in scenes.items():
            tiles, dense, how = _both_maps(folder, raster, settings=settings)
            options = MapOptions(stride=_STRIDE, mode="dense", **settings)
            plan = plan_map(folder / "bundle", [raster], paths={}, options=options)
            with closing(Worker(plan.spec)) as worker:
                there = _held_out(worker)
            rarer = there & (tiles != np.bincount(tiles[tiles != NODATA]).argmax())
            counted = rarer if without_most_frequent else there
            if counted.any():
                fractions.append(float((tiles == dense)[counted].mean()))
            details.append([name, f"{how}: {_describe(tiles == dense, there, rarer=rarer)}"])
    if not fractions:
        raise OrbituneError("The maps of these scenes have a single value: there is nothing to compare.")
    return {"value": float(np.mean(fractions)), "details": details}


def _both_maps(
    folder: Path, scene: str | Path, *, settings: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, str]:
    """Return both maps, uint8 (rows, columns), and how the latter was labelled."""
    maps = []
    for mode in ("tiles", "dense"):
        report = map_scene_with(folder, scene, stride=_STRIDE, mode=mode, grid="cells", **settings)
        with rasterio.open(folder / "map.tif") as file:
            maps.append(file.read(1))
    return maps[0], maps[1], describe_map(report.metadata)


def _held_out(worker: Worker) -> np.ndarray:
    """Return which cells are predicted that the dense head is not fitted to, bool (rows, columns)."""
    cells = worker.spec.cells
    window = worker.read_cells(0, 0, rows=cells.rows, columns=cells.columns)
    held_out = np.zeros((cells.rows, cells.columns), bool)
    held_out[tuple(select_cells(window, worker.not_sure).T)] = True
    held_out[tuple(fit_dense_head(worker).cells.T)] = False
    return held_out


def _describe(same: np.ndarray, there: np.ndarray, *, rarer: np.ndarray) -> str:
    """Return how often maps agree, on all cells and without the commonest value."""
    rest = f"{same[rarer].mean():.1%} of {rarer.sum():,}" if rarer.any() else "none"
    return f"{same[there].mean():.1%} of {there.sum():,} cells, without the most frequent value {rest}"
