"""Landsat Collection 2 products: a folder or an archive of one GeoTIFF per band.

File names and the encoding are those of the USGS (Landsat 8-9 Collection 2 Level 2 Science Product Guide,
LSDS-1619; Landsat 4-7, LSDS-1618).
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from orbitune.errors import DataError
from orbitune.mapping.scene.bands import BandTags
from orbitune.mapping.scene.products.band_files import Product, finest_files, sort_bands
from orbitune.sources.band_names import SENTINEL2

_REFLECTANCE = re.compile(r"L[COET]0[45789]_.*_SR_B\d\.tiff?", re.IGNORECASE)
_LEVEL_1 = re.compile(r"L[COET]0[45789]_L1.*_B\d+\.tiff?", re.IGNORECASE)
_TAGS = BandTags(2.75e-5, -0.2, "Landsat Collection 2 Level-2")


def read_landsat(paths: Sequence[str], *, whose: str) -> Product | None:
    """Return the surface reflectance bands of a Level-2 product, or None.

    Bands are named by colour (red, nir08, swir16), because the numbers of Landsat's bands are others than
    those of Sentinel-2.

    Args:
        paths: the rasters of a folder or an archive.
        whose: the scene, for messages.

    Raises:
        DataError: it is a Level-1 product, whose numbers are no reflectance, or holds several scenes.
    """
    files = [path for path in paths if _REFLECTANCE.fullmatch(PurePosixPath(path).name)]
    if not files:
        if any(_LEVEL_1.fullmatch(PurePosixPath(path).name) for path in paths):
            raise DataError(
                f"{whose} is a Landsat Level-1 product, whose numbers are not reflectance: get the Level-2 "
                "product of the scene (L2SP), with files such as ..._SR_B4.TIF."
            )
        return None
    bands = [
        replace(band, name=SENTINEL2[band.name].aliases[0], tags=_TAGS, nodata=0.0)
        for band in finest_files(files, whose=whose)
    ]
    return Product(sort_bands(bands), "of the Landsat product", "L2A")
