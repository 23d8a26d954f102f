"""Map writer: Cloud Optimized GeoTIFFs with colours and class names for QGIS."""

import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.errors import OrbituneError, first_line
from orbitune.mapping.grid import NODATA
from orbitune.mapping.outputs.legend import class_colours
from orbitune.mapping.outputs.rasters import CODES, CONFIDENCE, MapRasters, Window
from orbitune.mapping.outputs.styles import write_attribute_table, write_qgis_style
from orbitune.mapping.scene.raster_io import gdal_environment, import_rasterio

_BLOCK = 512  # pixels


def write_map(rasters: MapRasters, path: Path) -> None:
    """Write the codes as a GeoTIFF with a colour table.

    Names and colours also go to files beside it, see `styles`.

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
    counts = _write_cog(rasters, path, plane=CODES, tags=tags, colormap=colormap)
    write_attribute_table(path, rasters.names, colours=colours, counts=counts)
    write_qgis_style(path, rasters.names, colours=colours)


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
    _write_cog(rasters, path, plane=CONFIDENCE, tags=tags, colormap=None)


def _json_tag(rasters: MapRasters) -> str:
    return json.dumps(rasters.metadata.model_dump(mode="json"), sort_keys=True)


def _write_cog(
    rasters: MapRasters, path: Path, *, plane: int, tags: dict[str, str], colormap: dict[int, Any] | None
) -> np.ndarray:
    """Write a tiled GeoTIFF in strips, and copy it to COG layout with overviews.

    Returns:
        Number of pixels of each value, int (256,).
    """
    rasterio = import_rasterio()
    from rasterio.shutil import copy

    with _gdal_errors(path), rasters.staged(path) as cog, gdal_environment():
        tiled = cog.with_name(f"{cog.name}.tiled")
        with rasterio.open(tiled, "w", **_profile(rasters)) as file:
            file.update_tags(**tags)
            if colormap:
                file.write_colormap(1, colormap)
            written: list[tuple[Window, int]] = []
            counts = np.zeros(256, np.int64)
            for window, pixels in rasters.windows(plane):
                file.write(pixels, 1, window=window)
                written.append((window, zlib.crc32(pixels.data)))
                counts += np.bincount(pixels.ravel(), minlength=256)
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
        _verify(cog, written)
    counts[NODATA] += np.prod(rasters.size) - counts.sum()  # rows without cells are not written
    return counts


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


def _verify(file: Path, written: Sequence[tuple[Window, int]]) -> None:
    """Read the file again and compare checksums: GDAL hides write errors on close."""
    with import_rasterio().open(file) as opened:
        for window, checksum in written:
            if zlib.crc32(opened.read(1, window=window).data) != checksum:
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
