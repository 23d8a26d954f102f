"""Tiles with one file per band, as in BigEarthNet, stacked in memory."""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from orbitune.sources.band_names import SENTINEL2, band_in_text
from orbitune.sources.decode import BadImageError, open_raster, to_integers
from orbitune.sources.image_folder import read_file

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

_JPEG2000 = (".jp2", ".j2k")
_SUFFIXES = (".tif", ".tiff", *_JPEG2000)


def is_raster_name(name: str) -> bool:
    """Return whether a file is a TIFF or JPEG 2000, by its name."""
    return name.lower().endswith(_SUFFIXES)


def is_jpeg2000_name(name: str) -> bool:
    """Return whether a file is a JPEG 2000, by its name."""
    return name.lower().endswith(_JPEG2000)


def files_by_band(names: Iterable[str]) -> dict[str, str] | None:
    """Return the rasters of one folder by band, in the order of the sensor's bands.

    Args:
        names: files of the folder. Its TIFFs count; where there is none, its files of JPEG 2000.

    Returns:
        None unless two or more files count, and each is named after a band of its own, such as x_B04.tif.
    """
    rasters = [name for name in names if is_raster_name(name)]
    files = [name for name in rasters if not is_jpeg2000_name(name)] or rasters
    found = {band_in_text(PurePosixPath(name).stem): name for name in files}
    if len(files) < 2 or len(found) < len(files) or not found.keys() <= SENTINEL2.keys():
        return None
    return {band: found[band] for band in SENTINEL2 if band in found}


def is_band_folder(folder: Path) -> bool:
    """Return whether a path is a folder with one file per band."""
    try:
        return files_by_band(entry.name for entry in folder.iterdir()) is not None
    except OSError:  # not a folder, or its name is too long
        return False


def read_band_folder(folder: Path) -> bytes:
    """Return the bands of a folder as one GeoTIFF, see `stack_bands`.

    Raises:
        BadImageError: the folder does not hold one file per band, or as `stack_bands`.
        DataError: rasterio is not installed.
    """
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise BadImageError(f"cannot be read ({error.strerror})") from None
    files = files_by_band(names)
    if files is None:
        raise BadImageError("is a folder without one file per band, such as B04.tif")
    return stack_bands({band: read_file(folder / name) for band, name in files.items()})


def stack_bands(files: Mapping[str, bytes]) -> bytes:
    """Stack rasters of one band into a GeoTIFF, bilinearly on the finest grid.

    Args:
        files: content of the raster of each band, by the band's name.

    Returns:
        An uncompressed GeoTIFF whose band descriptions are the names.

    Raises:
        BadImageError: a raster is damaged or has several bands, or they cover different areas.
        DataError: rasterio is not installed.
    """
    from rasterio.enums import Resampling
    from rasterio.io import MemoryFile

    with ExitStack() as stack:
        rasters = {name: stack.enter_context(open_raster(data)) for name, data in files.items()}
        finest_name, finest = max(rasters.items(), key=lambda item: item[1].width * item[1].height)
        for name, raster in rasters.items():
            _check_alike(name, raster, finest_name=finest_name, finest=finest)
        shape = finest.height, finest.width
        pixels = [
            to_integers(raster.read(1, out_shape=shape, resampling=Resampling.bilinear))
            for raster in rasters.values()
        ]
        profile = {"crs": finest.crs, "transform": finest.transform, "dtype": np.result_type(*pixels)}
        profile |= {"count": len(rasters), "height": finest.height, "width": finest.width}
    with MemoryFile() as file:
        with file.open(driver="GTiff", **profile) as stacked:
            stacked.write(np.stack(pixels).astype(profile["dtype"], copy=False))
            stacked.descriptions = tuple(files)
        return file.read()


def _check_alike(name: str, raster: "DatasetReader", *, finest_name: str, finest: "DatasetReader") -> None:
    """Check that a raster has one band, and covers the area of the finest one."""
    if raster.count != 1:
        raise BadImageError(f"has a file of {raster.count} bands for {name}, not one")
    tolerance = max(abs(raster.transform.a), abs(raster.transform.e)) / 2
    if raster.crs != finest.crs or not np.allclose(raster.bounds, finest.bounds, rtol=0, atol=tolerance):
        raise BadImageError(f"has the bands {name} and {finest_name} of different areas or CRS")
