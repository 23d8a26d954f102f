"""Scenes whose bands lie in files of their own."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import cast

from orbitune.errors import DataError
from orbitune.mapping.scene.bands import BandTags, Level
from orbitune.sources.band_names import SENTINEL2, band_in_text, canonical_name

_SIZE = re.compile(r"[_-](\d+)m$", re.IGNORECASE)  # metres per pixel in a file name, such as B02_10m
_LEVEL = re.compile(r"(?:MSI|Level-)L?(1C|2A)", re.IGNORECASE)


@dataclass(frozen=True)
class BandFile:
    """One band of a scene in a file of its own.

    Attributes:
        name: canonical, such as B04, or as its metadata names it.
        path: see `raster_io.open_raster`.
        number: of the band in the file, from 1 on; None for the only one beside transparency.
        tags: scale and offset that metadata of the scene state; None to read those of the file.
        nodata: value of pixels without data, as metadata of the scene state; None to use that of the file.
    """

    name: str
    path: str
    number: int | None = None
    tags: BandTags | None = None
    nodata: float | None = None


@dataclass(frozen=True)
class Product:
    """A scene whose bands lie in files of their own.

    Attributes:
        bands: in the order of Sentinel-2's bands.
        kind: for messages.
        level: processing level, L1C or L2A; None if it is not stated.
    """

    bands: tuple[BandFile, ...]
    kind: str
    level: Level | None = None

    @property
    def names(self) -> list[str]:
        """Return the names of the bands."""
        return [band.name for band in self.bands]


def stated_level(text: str) -> Level | None:
    """Return the processing level in a name or tag, such as S2B_MSIL2A_20220301."""
    found = _LEVEL.search(text)
    return cast(Level, f"L{found[1].upper()}") if found else None


def sort_bands(bands: Sequence[BandFile]) -> tuple[BandFile, ...]:
    """Return bands in the order of Sentinel-2's, others by their names behind them."""
    order = list(SENTINEL2)

    def place(band: BandFile) -> tuple[int, str]:
        name = canonical_name(band.name)
        return order.index(name) if name else len(order), band.name

    return tuple(sorted(bands, key=place))


def finest_files(paths: Sequence[str], *, whose: str) -> list[BandFile]:
    """Return the file of the smallest pixels for each band that names mention.

    Args:
        paths: file names such as T32TQM_20220301T102019_B04_10m.jp2; those without a band are left out.
        whose: the scene, for messages.

    Raises:
        DataError: several files have the same band and resolution.
    """
    found: dict[str, dict[int, str]] = {}
    for path in paths:
        stem = PurePosixPath(path).stem
        size = _SIZE.search(stem)
        band = band_in_text(stem[: size.start()] if size else stem)
        if band not in SENTINEL2:
            continue
        sizes = found.setdefault(band, {})
        metres = int(size[1]) if size else 0
        if metres in sizes:
            several = f"{PurePosixPath(sizes[metres]).name} and {PurePosixPath(path).name}"
            raise DataError(f"{whose} has several files of band {band}, {several}: keep one scene in it.")
        sizes[metres] = path
    return [BandFile(band, sizes[min(sizes)]) for band, sizes in found.items()]


def name_bands(paths: Sequence[str], *, whose: str) -> Product | None:
    """Return rasters as bands, if the names of two or more are bands; else None.

    Args:
        paths: the rasters of a folder or an archive.
        whose: the scene, for messages.

    Raises:
        DataError: see `finest_files`.
    """
    bands = finest_files(paths, whose=whose)
    if len(bands) < 2:
        return None
    levels = {level for band in bands if (level := stated_level(band.path))}
    return Product(sort_bands(bands), "by their file names", levels.pop() if len(levels) == 1 else None)
