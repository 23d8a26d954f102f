"""Opening of a scene as one raster, with its bands chosen and checked."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.errors import DataError
from orbitune.mapping.scene.bands import (
    BandSelection,
    BandTags,
    Level,
    check_band_tags,
    needs_palette_expansion,
    palette_vrt,
    read_band_tags,
    select_bands,
)
from orbitune.mapping.scene.products.band_files import Product, stated_level
from orbitune.mapping.scene.products.band_vrt import stack_bands
from orbitune.mapping.scene.products.product import find_product
from orbitune.mapping.scene.raster_io import block_bytes, local_files, open_raster
from orbitune.sources.band_names import RGB, BandChoice, find_bands
from orbitune.sources.codecs.jpeg2000 import find_unread_space

_MAX_PIXELS_PER_BYTE = 10**6  # of an intact file, most of whose blocks may be empty


@dataclass(frozen=True)
class SceneSource:
    """An open raster with the bands of a scene.

    Attributes:
        name: of the scene.
        file: rasterio dataset.
        selection: the bands that were chosen, as the user counts them.
        indexes: their numbers in `file`.
        files: local files that it is read from; empty for a scene on a server.
        block_bytes: size of the largest block, all of which must be in memory to read a pixel of it.
        band_count: number of bands that the scene has.
        stated: scale and offset in the metadata of a product; None for a band whose file states them.
        level: processing level in metadata or names; None if there is none.
    """

    name: str
    file: Any
    selection: BandSelection
    indexes: tuple[int, ...]
    files: list[Path]
    block_bytes: int
    band_count: int
    stated: tuple[BandTags | None, ...]
    level: Level | None

    @property
    def tags(self) -> list[BandTags]:
        """Return what metadata states of scale and offset of each band.

        Raises:
            DataError: they are not valid, see `check_band_tags`, or several offsets could belong to a band.
        """
        tags = [
            stated or read_band_tags(self.file, index, whose=self.name)
            for stated, index in zip(self.stated, self.indexes, strict=True)
        ]
        check_band_tags(tags, self.selection, whose=self.name)
        return tags


def open_source(name: str, bands: Sequence[BandChoice] | None, *, driver: str | None) -> SceneSource:
    """Open a scene.

    Args:
        name: see `raster_io.open_raster` and `product.find_product`.
        bands: names or 1-based numbers; None for red, green and blue.
        driver: the only GDAL driver allowed, which rules out products; None for any.

    Raises:
        DataError: it cannot be opened, lacks a band, or has no usable coordinate reference system.
    """
    product = find_product(name) if driver is None else None
    source = (
        _open_product(name, product, bands=bands) if product else _open_raster(name, bands, driver=driver)
    )
    try:
        _check_types(source)
    except DataError:
        source.file.close()
        raise
    return source


def _open_product(name: str, product: Product, *, bands: Sequence[BandChoice] | None) -> SceneSource:
    """Open the chosen bands of a product as one raster."""
    numbers = find_bands(bands or RGB, product.names, whose=name)
    chosen = [product.bands[number - 1] for number in numbers]
    stacked = stack_bands(chosen, whose=name)
    file = open_raster(stacked.xml)
    try:
        _check_georeference(file, name)
    except DataError:
        file.close()
        raise
    return SceneSource(
        name=name,
        file=file,
        selection=BandSelection(
            numbers, tuple(band.name for band in chosen), "given" if bands else product.kind
        ),
        indexes=tuple(range(1, len(chosen) + 1)),
        files=list(stacked.files),
        block_bytes=stacked.block_bytes,
        band_count=len(product.bands),
        stated=tuple(band.tags for band in chosen),
        level=product.level,
    )


def _open_raster(name: str, bands: Sequence[BandChoice] | None, *, driver: str | None) -> SceneSource:
    """Open a raster of all bands, and expand a palette."""
    file = open_raster(name, driver)
    try:
        files = local_files(file, name)
        _check_georeference(file, name)
        _check_size(file, name, files=files)
        if bands is None:
            _check_colour_space(file, name, files=files)
        size, level = block_bytes(file), stated_level(f"{name} {file.tags().get('PROCESSING_LEVEL', '')}")
        expanded = needs_palette_expansion(file, bands)
        if expanded:
            colours = open_raster(palette_vrt(file))
            file.close()
            file = colours
        selection = select_bands(file, bands, whose=name)
    except BaseException:
        file.close()
        raise
    if expanded:
        selection = replace(selection, source="the colours of its palette")
    return SceneSource(
        name=name,
        file=file,
        selection=selection,
        indexes=selection.numbers,
        files=files,
        block_bytes=size,
        band_count=file.count,
        stated=(None,) * len(selection.numbers),
        level=level,
    )


def _check_georeference(file: Any, name: str) -> None:
    """Raise a DataError unless the file has a usable CRS and transform."""
    place, crs = file.transform, file.crs
    if file.gcps[0] and place.is_identity:
        raise DataError(
            f"{name} has ground control points and no transform: warp it first, such as "
            "with gdalwarp -tps -t_srs EPSG:4326 IN OUT."
        )
    if file.rpcs is not None and place.is_identity:
        raise DataError(
            f"{name} has rational polynomials (RPCs) and no transform: warp it first, such "
            "as with gdalwarp -rpc -t_srs EPSG:4326 IN OUT."
        )
    known = crs is not None and (crs.is_projected or crs.is_geographic)
    if not known or not np.isfinite(place).all() or place.is_degenerate or place.is_identity:
        raise DataError(
            f"{name} has no georeference: set its CRS and transform first, such as "
            "with gdal_edit.py -a_srs EPSG:32632 -a_ullr ULX ULY LRX LRY."
        )


def _check_size(file: Any, name: str, *, files: Sequence[Path]) -> None:
    """Raise a DataError if a GeoTIFF states more pixels than its bytes can hold."""
    claimed = file.height * file.width * file.count
    size = sum(each.stat().st_size for each in files)
    if file.driver == "GTiff" and size and claimed > _MAX_PIXELS_PER_BYTE * size:
        raise DataError(
            f"{name} is damaged: its header states {file.width} x {file.height} pixels in {size:,} "
            "bytes. Get the file again."
        )


def _check_colour_space(file: Any, name: str, *, files: Sequence[Path]) -> None:
    """Raise a DataError for bands in a colour space that would be taken for red, green and blue."""
    space = "CMYK" if file.colorinterp[0].name == "cyan" else None
    if file.driver == "JP2OpenJPEG":
        for path in files:
            with (
                suppress(ValueError),  # other files, and what GDAL reads all the same
                path.open("rb") as opened,
                mmap(opened.fileno(), 0, access=ACCESS_READ) as data,
            ):
                space = space or find_unread_space(data)
    if space:
        raise DataError(f"{name} has colours in {space}: save it as RGB, or choose --bands by number.")


def _check_types(source: SceneSource) -> None:
    """Raise a DataError if the bands differ in dtype or are complex."""
    kinds = {source.file.dtypes[index - 1] for index in source.indexes}
    if len(kinds) > 1:
        raise DataError(
            f"The bands of {source.name} have different types, {', '.join(sorted(kinds))}: write one "
            "type, such as with gdal_translate -ot UInt16 IN OUT."
        )
    if "complex" in min(kinds):
        raise DataError(f"The bands of {source.name} are complex numbers: write their amplitudes first.")
