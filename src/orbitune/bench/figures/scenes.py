"""Shared inputs of the map figures: a bundle of the run, a scene of its tiles."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.files import scratch
from orbitune.inference.bundle_builder import build_bundle
from orbitune.mapping.map_report import MapMetadata, MapReport
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


def describe_map(metadata: MapMetadata) -> str:
    """Return how the cells of a map were labelled."""
    mode = {"tiles": "tile by tile", "dense": "dense"}[metadata.mode]
    what = "the patches of a window" if metadata.patch_head else "a window"
    return f"{mode}, a label per {metadata.stride} pixels from {what} of {metadata.tile}"


def write_scene(run: str, path: Path, *, pixels: int = SIDE, bands: int = 3) -> Path:
    """Write a square 16-bit scene of the run's test tiles, and return its path.

    Args:
        run: the finished run.
        path: the GeoTIFF to write.
        pixels: its side.
        bands: number of its bands. Those beyond the bands of the tiles repeat the first.
    """
    import rasterio
    from rasterio.transform import from_origin

    _, setup = reopen(Path(run), progress=False)
    random = np.random.default_rng(0)
    indices = np.sort(random.permutation(setup.splits["test"])[:1000])
    tiles = setup.tiles.read(indices)
    side, own = tiles.shape[1], tiles.shape[3]
    order = [*range(own), *[0] * (bands - own)]
    count = -(-pixels // side)
    profile = {
        "driver": "GTiff",
        "height": pixels,
        "width": pixels,
        "count": len(order),
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
        for number, name in enumerate(setup.tiles.bands, 1):
            file.set_band_description(number, name)
        for row in range(0, pixels, side):
            strip = np.concatenate(list(tiles[random.integers(len(tiles), size=count)]), 1)
            strip = strip[: pixels - row, :pixels].transpose(2, 0, 1)[order]
            if tiles.dtype == np.uint8:
                strip = strip.astype(np.uint32) * _SCALE_MAX // 255
            file.write(strip.astype(np.uint16), window=((row, row + strip.shape[1]), (0, pixels)))
    return path


def describe_scene(path: Path) -> str:
    """Return size, bands and content of a scene that `write_scene` wrote."""
    import rasterio

    with rasterio.open(path) as file:
        size = f"{file.width:,} x {file.height:,} pixels"
        named = sum(name is not None for name in file.descriptions)
        words = f"{size}, {file.count} bands, uint16, {path.stat().st_size / 1e6:.0f} MB"
        again = "; the further bands repeat the first" if named < file.count else ""
    return f"{words}: the run's test tiles side by side{again}"
