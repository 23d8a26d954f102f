"""Shared inputs of the map figures: a bundle of the run, a scene of its tiles."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.files import scratch
from orbitune.inference.bundle_builder import build_bundle
from orbitune.mapping.map_report import MapReport
from orbitune.mapping.pipeline import map_scene
from orbitune.training.evaluate import reopen

SIDE = 10_980  # pixels of a Sentinel-2 tile at 10 m
_SCALE_MAX = 2750  # digital numbers that EuroSAT's 255 stands for


@contextmanager
def temporary_bundle(run: str) -> Iterator[Path]:
    """Yield a temporary folder with a bundle of the run in `bundle`."""
    with scratch() as folder:
        build_bundle(run, folder / "bundle", progress=False)
        yield folder


def map_scene_with(folder: Path, scene: str | Path, **settings: Any) -> MapReport:
    """Map a scene with the bundle in the folder."""
    outputs = {"map": folder / "map.tif", "confidence": folder / "confidence.tif"}
    return map_scene(folder / "bundle", scene, outputs=outputs, progress=False, **settings)


def write_scene(run: str, path: Path, *, pixels: int = SIDE) -> None:
    """Write a square 16-bit scene of three bands, made of the run's test tiles."""
    import rasterio
    from rasterio.transform import from_origin

    _, setup = reopen(Path(run), progress=False)
    random = np.random.default_rng(0)
    indices = np.sort(random.permutation(setup.splits["test"])[:1000])
    tiles = setup.tiles.read(indices)
    side = tiles.shape[1]
    count = -(-pixels // side)
    profile = {
        "driver": "GTiff",
        "height": pixels,
        "width": pixels,
        "count": 3,
        "dtype": "uint16",
        "crs": "EPSG:32632",
        "transform": from_origin(600_000, 5_300_000, 10, 10),
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "deflate",
        "predictor": 2,
    }
    with rasterio.open(path, "w", **profile) as file:
        for row in range(0, pixels, side):
            strip = np.concatenate(list(tiles[random.integers(len(tiles), size=count)]), 1)
            strip = strip[: pixels - row, :pixels].transpose(2, 0, 1).astype(np.uint32) * _SCALE_MAX // 255
            file.write(strip.astype(np.uint16), window=((row, row + strip.shape[1]), (0, pixels)))
