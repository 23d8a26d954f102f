"""Map writer: Cloud Optimized GeoTIFFs with colours and class names for QGIS."""

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
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
        "ORBITUNE": json_tag(rasters),
        "CLASSES": json.dumps({str(code): name for code, name in rasters.names.items()}),
    }
    colours = class_colours(rasters.metadata.classes)
    colormap = {code: (*colour, 255) for code, colour in colours.items()}
    colormap[NODATA] = (0, 0, 0, 0)
    counts = write_cog(rasters, path, planes=[CODES], tags=tags, colormap=colormap, resampling="nearest")
    write_attribute_table(path, rasters.names, colours=colours, counts=counts[0])
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
    tags = {"UNIT": "percent", "ORBITUNE": json_tag(rasters)}
    write_cog(rasters, path, planes=[CONFIDENCE], tags=tags, resampling="average")


def json_tag(rasters: MapRasters) -> str:
    """Return the metadata of a map as the text of its tag ORBITUNE."""
    return json.dumps(rasters.metadata.model_dump(mode="json"), sort_keys=True)


def write_cog(
    rasters: MapRasters,
    path: Path,
    *,
    planes: Sequence[int],
    tags: Mapping[str, str],
    resampling: str,
    nodata: int = NODATA,
    names: Sequence[str] = (),
    colormap: Mapping[int, tuple[int, int, int, int]] | None = None,
) -> np.ndarray:
    """Write a tiled GeoTIFF in strips, and copy it to COG layout with overviews.

    Args:
        rasters: the map.
        path: GeoTIFF to write.
        planes: of the bands, see `MapRasters.windows`.
        tags: of the file.
        resampling: of the overviews, as GDAL names it.
        nodata: value of pixels without data.
        names: descriptions of the bands.
        colormap: of the only band.

    Returns:
        Number of pixels of each value in each band, int (bands, 256).

    Raises:
        OrbituneError: the file cannot be written.
    """
    rasterio = import_rasterio()
    from rasterio.shutil import copy

    with _gdal_errors(path), rasters.staged(path) as cog, gdal_environment():
        tiled = cog.with_name(f"{cog.name}.tiled")
        with rasterio.open(tiled, "w", **_profile(rasters, bands=len(planes), nodata=nodata)) as file:
            file.update_tags(**tags)
            for band, name in enumerate(names, 1):
                file.set_band_description(band, name)
            if colormap:
                file.write_colormap(1, colormap)
            written: list[tuple[Window, int]] = []
            counts = np.zeros((len(planes), 256), np.int64)
            for window, pixels in rasters.windows(planes, nodata=nodata):
                file.write(pixels, window=window)
                written.append((window, zlib.crc32(pixels.data)))
                counts += [np.bincount(band.ravel(), minlength=256) for band in pixels]
        copy(
            tiled,
            cog,
            driver="COG",
            compress="deflate",
            blocksize=_BLOCK,
            overview_resampling=resampling,
            overview_compress="deflate",
            bigtiff="if_safer",
        )
        _verify(cog, written)
    counts[:, nodata] += np.prod(rasters.size) - counts.sum(1)  # rows without cells are not written
    return counts


def _profile(rasters: MapRasters, *, bands: int, nodata: int) -> dict[str, Any]:
    """Return the rasterio profile of the tiled GeoTIFF."""
    height, width = rasters.size
    return {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": bands,
        "dtype": "uint8",
        "nodata": nodata,
        "crs": rasters.grid.crs,
        "transform": rasters.transform,
        "tiled": True,
        "blockxsize": _BLOCK,
        "blockysize": _BLOCK,
        "compress": "deflate",
        "bigtiff": "if_safer",
        **({"photometric": "minisblack"} if bands > 1 else {}),  # three bands are not red, green and blue
    }


def _verify(file: Path, written: Sequence[tuple[Window, int]]) -> None:
    """Read the file again and compare checksums: GDAL hides write errors on close."""
    with import_rasterio().open(file) as opened:
        for window, checksum in written:
            if zlib.crc32(opened.read(window=window).data) != checksum:
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
