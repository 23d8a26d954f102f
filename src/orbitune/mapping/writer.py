"""The layers of a map as files: GeoTIFFs in the layout of COG, with colours and names that QGIS reads."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from orbitune.errors import OrbituneError, first_line
from orbitune.files import replacing, write_text
from orbitune.mapping.geodesy import PixelAreas
from orbitune.mapping.grid import NODATA, UNSURE
from orbitune.mapping.legend import colours
from orbitune.mapping.raster_source import gdal, import_rasterio
from orbitune.mapping.reader import Grid, Scene
from orbitune.mapping.worker import Order, part_file

_BLOCK = 512


@dataclass(frozen=True)
class MapRasters:
    """The finished parts of a map.

    Attributes:
        folder: of the parts.
        order: what they were made by.
        grid: the scene's.
        classes: names, of the codes from 1 on.
        shape: `scene` or `cells`, see `MapOptions.grid`.
        facts: how the map was made, for its tags.
    """

    folder: Path
    order: Order
    grid: Grid
    classes: tuple[str, ...]
    shape: str
    facts: dict[str, Any]

    @property
    def names(self) -> dict[int, str]:
        """What each code is called."""
        return {NODATA: "no data", **dict(enumerate(self.classes, 1)), UNSURE: "not sure"}

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the files in pixels."""
        cells = self.order.cells
        return (cells.rows, cells.columns) if self.shape == "cells" else (cells.height, cells.width)

    @property
    def transform(self) -> Any:
        """Return rasterio's affine transform of the files."""
        own = self.grid.transform
        return own * type(own).scale(self.order.cells.stride) if self.shape == "cells" else own

    @cached_property
    def pixel_areas(self) -> PixelAreas:
        """Return the area on the ground of each pixel of the files."""
        return PixelAreas.measure(self.grid.crs, self.transform, *self.size)

    def strips(self) -> Iterator[tuple[int, np.ndarray]]:
        """The first row of each part, and its uint8 (3, rows, columns), see `Worker.label`."""
        for number in range(self.order.parts):
            yield number * self.order.rows, np.load(part_file(self.folder, number))

    def cells(self) -> np.ndarray:
        """Codes of all cells, uint8 (rows, columns)."""
        return np.concatenate([strip[0] for _, strip in self.strips()])


@contextmanager
def staged(layers: MapRasters, path: Path) -> Iterator[Path]:
    """Yield a name among the parts to write a file to; when the block ends well, it goes to `path`.

    What a killed process leaves is removed with the parts, the libraries' own temporary files with it.
    """
    folder = layers.folder / "drafts"
    with replacing(path) as whole:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield folder / path.name
            shutil.move(folder / path.name, whole)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def write_map(layers: MapRasters, path: Path) -> None:
    """Write the codes with their colours and names; GDAL reads these from a .aux.xml beside the file."""
    tags = {
        "ORBITUNE": json.dumps(layers.facts, sort_keys=True),
        "CLASSES": json.dumps({str(code): name for code, name in layers.names.items()}),
    }
    colormap = {code: (*colour, 255) for code, colour in colours(layers.classes).items()}
    colormap[NODATA] = (0, 0, 0, 0)
    _write_cog(layers, path, 0, tags, colormap)
    names = "".join(f"<Category>{escape(layers.names.get(code, ''))}</Category>" for code in range(256))
    band = f'<PAMRasterBand band="1"><CategoryNames>{names}</CategoryNames></PAMRasterBand>'
    write_text(path.with_name(f"{path.name}.aux.xml"), f"<PAMDataset>{band}</PAMDataset>\n")


def write_confidence(layers: MapRasters, path: Path) -> None:
    """Write the probability of each cell's class in percent, 0 where there is none."""
    _write_cog(
        layers, path, 1, {"UNIT": "percent", "ORBITUNE": json.dumps(layers.facts, sort_keys=True)}, None
    )


def _write_cog(
    layers: MapRasters, path: Path, layer: int, tags: dict[str, str], colormap: dict[int, Any] | None
) -> None:
    """A tiled file is written strip by strip, and copied into the layout of COG with its overviews."""
    rasterio = import_rasterio()
    from rasterio.shutil import copy

    height, width = layers.size
    profile = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": 1,
        "dtype": "uint8",
        "nodata": NODATA,
        "crs": layers.grid.crs,
        "transform": layers.transform,
        "tiled": True,
        "blockxsize": _BLOCK,
        "blockysize": _BLOCK,
        "compress": "deflate",
        "bigtiff": "if_safer",
    }
    with _gdal_errors(path), staged(layers, path) as cog, gdal():
        tiled = cog.with_name(f"{cog.name}.tiled")
        with rasterio.open(tiled, "w", **profile) as file:
            file.update_tags(**tags)
            if colormap:
                file.write_colormap(1, colormap)
            for window, pixels in _windows(layers, layer):
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
        _check(layers, layer, cog)


def _windows(layers: MapRasters, layer: int) -> Iterator[tuple[Any, np.ndarray]]:
    """Windows of the file, from top to bottom, and their pixels."""
    side = 1 if layers.shape == "cells" else layers.order.cells.stride
    height, width = layers.size
    for row, strip in layers.strips():
        top = row * side
        pixels = strip[layer].repeat(side, 0).repeat(side, 1)[: height - top, :width]
        if layers.shape == "scene" and not strip[2].all():
            pixels = np.where(_there(layers, top, len(pixels)), pixels, NODATA)
        yield ((top, top + len(pixels)), (0, width)), pixels


def _there(layers: MapRasters, top: int, height: int) -> np.ndarray:
    """Which pixels the scene has: a cell may have a class, and a gap in it has none."""
    order = layers.order
    with Scene(order.scene, order.bands, order.resolution, order.driver) as scene:
        return scene.window(top, 0, height, layers.grid.width, order.scaling)[1]


def _check(layers: MapRasters, layer: int, file: Path) -> None:
    """GDAL says nothing of what it cannot write when a file is closed: read everything again."""
    with import_rasterio().open(file) as written:
        for window, pixels in _windows(layers, layer):
            if not np.array_equal(written.read(1, window=window), pixels):
                raise OSError("What was written is not what is read")


@contextmanager
def _gdal_errors(path: Path) -> Iterator[None]:
    from rasterio._err import CPLE_BaseError  # what rasterio.shutil raises
    from rasterio.errors import RasterioError

    try:
        yield
    except (CPLE_BaseError, RasterioError, OSError) as error:
        cause = first_line(error.__cause__ or error)
        raise OrbituneError(f"Cannot write {path}; is the disk full? {cause}.") from None
