"""Map writer: Cloud Optimized GeoTIFFs with colours and class names for QGIS."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from orbitune.errors import OrbituneError, first_line
from orbitune.files import write_text
from orbitune.mapping.grid import NODATA
from orbitune.mapping.outputs.legend import class_colours
from orbitune.mapping.outputs.rasters import MapRasters
from orbitune.mapping.scene.raster_io import gdal_environment, import_rasterio
from orbitune.mapping.scene.reader import Scene

_BLOCK = 512  # pixels
_CODES, _CONFIDENCE, _COMPLETE = range(3)  # planes of `Worker.label`


def write_map(rasters: MapRasters, path: Path) -> None:
    """Write the codes as a GeoTIFF with a colour table.

    Category names go to a .aux.xml beside it.

    Args:
        rasters: codes, grid and metadata of the map.
        path: GeoTIFF to write.

    Raises:
        OrbituneError: the file cannot be written.
    """
    tags = {
        "ORBITUNE": _json_tag(rasters),
        "CLASSES": json.dumps({str(code): name for code, name in rasters.names.items()}),
    }
    colours = class_colours(rasters.metadata.classes)
    colormap = {code: (*colour, 255) for code, colour in colours.items()}
    colormap[NODATA] = (0, 0, 0, 0)
    _write_cog(rasters, path, plane=_CODES, tags=tags, colormap=colormap)
    names = "".join(f"<Category>{escape(rasters.names.get(code, ''))}</Category>" for code in range(256))
    band = f'<PAMRasterBand band="1"><CategoryNames>{names}</CategoryNames></PAMRasterBand>'
    write_text(path.with_name(f"{path.name}.aux.xml"), f"<PAMDataset>{band}</PAMDataset>\n")


def write_confidence(rasters: MapRasters, path: Path) -> None:
    """Write the probability of each cell's class as a GeoTIFF, in percent.

    Cells without a class are 0.

    Args:
        rasters: codes, probabilities and grid of the map.
        path: GeoTIFF to write.

    Raises:
        OrbituneError: the file cannot be written.
    """
    tags = {"UNIT": "percent", "ORBITUNE": _json_tag(rasters)}
    _write_cog(rasters, path, plane=_CONFIDENCE, tags=tags, colormap=None)


def _json_tag(rasters: MapRasters) -> str:
    return json.dumps(rasters.metadata.model_dump(mode="json"), sort_keys=True)


def _write_cog(
    rasters: MapRasters, path: Path, *, plane: int, tags: dict[str, str], colormap: dict[int, Any] | None
) -> None:
    """Write a tiled GeoTIFF in strips, and copy it to COG layout with overviews."""
    rasterio = import_rasterio()
    from rasterio.shutil import copy

    with _gdal_errors(path), rasters.staged(path) as cog, gdal_environment():
        tiled = cog.with_name(f"{cog.name}.tiled")
        with rasterio.open(tiled, "w", **_profile(rasters)) as file:
            file.update_tags(**tags)
            if colormap:
                file.write_colormap(1, colormap)
            for window, pixels in _windows(rasters, plane):
                file.write(pixels, 1, window=window)
        copy(
            tiled,
            cog,
            driver="COG",
            compress="deflate",
            blocksize=_BLOCK,
            overview_resampling="nearest" if colormap else "average",
            overview_compress="deflate",
            bigtiff="if_safer",
        )
        _verify(rasters, plane, cog)


def _profile(rasters: MapRasters) -> dict[str, Any]:
    """Return the rasterio profile of the tiled GeoTIFF."""
    height, width = rasters.size
    return {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": 1,
        "dtype": "uint8",
        "nodata": NODATA,
        "crs": rasters.grid.crs,
        "transform": rasters.transform,
        "tiled": True,
        "blockxsize": _BLOCK,
        "blockysize": _BLOCK,
        "compress": "deflate",
        "bigtiff": "if_safer",
    }


def _windows(rasters: MapRasters, plane: int) -> Iterator[tuple[Any, np.ndarray]]:
    """Yield windows of the file from top to bottom, and their pixels."""
    side = 1 if rasters.pixel_grid == "cells" else rasters.spec.cells.stride
    height, width = rasters.size
    for row, strip in rasters.strips():
        top = row * side
        pixels = strip[plane].repeat(side, 0).repeat(side, 1)[: height - top, :width]
        if rasters.pixel_grid == "scene" and not strip[_COMPLETE].all():
            pixels = np.where(_valid_pixels(rasters, top, len(pixels)), pixels, NODATA)
        yield ((top, top + len(pixels)), (0, width)), pixels


def _valid_pixels(rasters: MapRasters, top: int, height: int) -> np.ndarray:
    """Return which pixels of some rows hold data; gaps in labelled cells do not."""
    spec = rasters.spec
    with Scene(spec.scene, spec.bands, resolution=spec.resolution, driver=spec.driver) as scene:
        width = rasters.grid.width
        return scene.read_window(top, 0, height=height, width=width, scaling=spec.scaling)[1]


def _verify(rasters: MapRasters, plane: int, file: Path) -> None:
    """Read the file again and compare: GDAL hides write errors on close."""
    with import_rasterio().open(file) as written:
        for window, pixels in _windows(rasters, plane):
            if not np.array_equal(written.read(1, window=window), pixels):
                raise OSError("the file read back differs from what was written")


@contextmanager
def _gdal_errors(path: Path) -> Iterator[None]:
    """Raise errors of GDAL and the disk as an OrbituneError."""
    from rasterio._err import CPLE_BaseError  # raised by rasterio.shutil, and not public
    from rasterio.errors import RasterioError

    try:
        yield
    except (CPLE_BaseError, RasterioError, OSError) as error:
        cause = first_line(error.__cause__ or error)
        raise OrbituneError(f"Cannot write {path}; is the disk full? {cause}.") from None
