"""Targets for `mutations`: GeoTIFFs of every layout, read in windows as by `map`."""

import tempfile
from pathlib import Path

import numpy as np
from mutations import Target

from orbitune.mapping.scene.geodesy import PixelAreas, size_range
from orbitune.mapping.scene.radiometry import choose_scaling
from orbitune.mapping.scene.reader import Scene
from orbitune.mapping.scene_inputs import check_blocks

_SIDE = 64
_BUDGET = "2GB"  # default memory limit of `orbitune map`
_WINDOWS = 4  # read of each mutant
_UTM: dict[str, object] = {"crs": "EPSG:32632"}
_KINDS: dict[str, tuple[str, int, dict[str, object]]] = {
    "striped-uint8": ("uint8", 3, _UTM),
    "tiled-deflate-uint16": ("uint16", 4, {**_UTM, "tiled": True, "compress": "deflate", "predictor": 2}),
    "lzw-float32": ("float32", 3, {**_UTM, "compress": "lzw", "nodata": -9999}),
    "tiled-jpeg": ("uint8", 3, {**_UTM, "tiled": True, "compress": "jpeg", "photometric": "ycbcr"}),
    "planar-int16": ("int16", 3, {**_UTM, "interleave": "band", "nodata": -1}),
    "degrees": ("uint8", 3, {"crs": "EPSG:4326"}),
    "alpha": ("uint8", 4, {**_UTM, "photometric": "rgb", "alpha": "yes"}),
    "palette": ("uint8", 1, _UTM),
    "big": ("uint8", 3, {**_UTM, "bigtiff": "yes", "tiled": True, "compress": "zstd"}),
    "cog": ("uint8", 3, {**_UTM, "driver": "COG", "compress": "deflate"}),
}


def scene_samples() -> dict[str, bytes]:
    """Return GeoTIFFs of `_SIDE` pixels of every layout, compression, dtype and mask."""
    return {name: _write(dtype, bands, profile=more) for name, (dtype, bands, more) in _KINDS.items()}


def read_scene(name: str, data: bytes) -> None:
    """Open a scene, choose bands and scaling, and read windows from top to bottom."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scene.tif"
        path.write_bytes(data)
        with Scene(path) as scene:
            check_blocks(scene, _BUDGET)
            sample = scene.sample()
            scaling = choose_scaling(scene.recognise_encoding(sample), scale_max=None)
            grid = scene.grid
            size_range(grid.crs, grid.transform, height=grid.height, width=grid.width)
            height, width = (min(side, 4096) for side in (grid.height, grid.width))
            PixelAreas.measure(grid.crs, grid.transform, height=height, width=width)
            for part in range(_WINDOWS):
                top = grid.height * part // _WINDOWS
                width = min(grid.width + 16, 4096)
                scene.read_window(top - 8, -8, height=32, width=width, scaling=scaling)


def _write(dtype: str, bands: int, *, profile: dict[str, object]) -> bytes:
    from rasterio.io import MemoryFile
    from rasterio.transform import from_origin

    pixels = np.random.default_rng(0).integers(1, 250, (bands, _SIDE, _SIDE)).astype(dtype)
    side = 1e-4 if profile.get("crs") == "EPSG:4326" else 10
    left, top = (11, 50) if side < 1 else (600_000, 5_500_000)
    stated = {"driver": "GTiff", "count": bands, "height": _SIDE, "width": _SIDE, "dtype": dtype}
    if profile.get("tiled"):
        stated |= {"blockxsize": 32, "blockysize": 32}
    with MemoryFile() as file:
        with file.open(transform=from_origin(left, top, side, side), **{**stated, **profile}) as raster:
            raster.write(pixels)
            if bands == 1:
                raster.write_colormap(1, {number: (number, 255 - number, 7, 255) for number in range(256)})
            else:
                raster.scales, raster.offsets = (1e-4,) * bands, (-0.1,) * bands
                raster.update_tags(BOA_ADD_OFFSET="-1000")
        return file.read()


TARGETS = [Target("scenes", scene_samples, read_scene)]
