"""The rasters of a finished map, strip by strip, on the grid of its files."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.files import replacing
from orbitune.mapping.grid import NODATA, code_names
from orbitune.mapping.job_spec import JobSpec
from orbitune.mapping.map_report import MapMetadata
from orbitune.mapping.part_store import PartStore
from orbitune.mapping.scene.geodesy import PixelAreas
from orbitune.mapping.scene.mosaic import Mosaic
from orbitune.mapping.scene.raster_grid import RasterGrid

CODES, CONFIDENCE, COMPLETE = range(3)  # planes of `Worker.label`
_ROWS = 512  # rows of pixels at a time, those of a block of the files
Window = tuple[tuple[int, int], tuple[int, int]]  # rows and columns, as rasterio takes them


@dataclass(frozen=True, kw_only=True)
class MapRasters:
    """The finished parts of a map, with the grid and metadata of its files.

    Attributes:
        store: of the parts.
        spec: the work that made them.
        grid: pixel grid of the scene at the training resolution.
        native_grid: pixel grid of the scene's file.
        pixel_grid: `scene` or `cells`, see `MapOptions.grid`.
        metadata: for the tags of the map.
        map_file: path of the map's GeoTIFF.
        overview: the scaled scene, uint8 (h, w, 3), downsampled.
        sieved: codes of all cells that replace those of the parts, uint8 (rows, columns); None to keep them.
    """

    store: PartStore
    spec: JobSpec
    grid: RasterGrid
    native_grid: RasterGrid
    pixel_grid: str
    metadata: MapMetadata
    map_file: Path
    overview: np.ndarray
    sieved: np.ndarray | None = None

    @property
    def names(self) -> dict[int, str]:
        """Name of each code."""
        return code_names(self.metadata.classes)

    @property
    def label_sets(self) -> bool:
        """Return whether a cell has several labels."""
        return self.metadata.thresholds is not None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the files in pixels."""
        grid, stride = self.grid, self.spec.cells.stride
        if self.pixel_grid == "cells":
            return -(-grid.height // stride), -(-grid.width // stride)
        return self.native_grid.height, self.native_grid.width

    @property
    def transform(self) -> Any:
        """Affine transform of the files."""
        own = self.grid.transform
        if self.pixel_grid == "cells":
            return own * type(own).scale(self.spec.cells.stride)
        return self.native_grid.transform

    @cached_property
    def pixel_areas(self) -> PixelAreas:
        """Area on the ground of each pixel of the files."""
        height, width = self.size
        return PixelAreas.measure(self.grid.crs, self.transform, height=height, width=width)

    def cell_hectares(self) -> np.ndarray:
        """Return the area of each cell in hectares, float (rows, columns).

        Of cells at the edge of the scene or of the area of interest, only the part inside counts. With one
        pixel per cell the files have whole cells at the edge of that area, and they count whole.
        """
        cells, step = self.spec.cells, type(self.grid.transform)
        place = self.grid.transform * step.translation(cells.left, cells.top) * step.scale(cells.stride)
        areas = PixelAreas.measure(self.grid.crs, place, height=cells.rows, width=cells.columns)
        hectares = areas.window(0, cells.rows) / 1e4
        if self.spec.aoi and self.pixel_grid == "scene":
            for row in range(0, cells.rows, self.spec.rows):  # the pixels of a part fit into memory
                strip = hectares[row : row + self.spec.rows]
                strip *= self._fraction_inside(row, len(strip))
            return hectares
        # The last cells may reach beyond the scene.
        hectares[-1] *= ((cells.height - 1) % cells.stride + 1) / cells.stride
        hectares[:, -1] *= ((cells.width - 1) % cells.stride + 1) / cells.stride
        return hectares

    def _fraction_inside(self, row: int, rows: int) -> np.ndarray:
        """Return the fraction of each cell that lies in the area of interest, 0..1."""
        assert self.spec.aoi is not None  # asked for with an area of interest alone
        cells, step = self.spec.cells, type(self.grid.transform)
        corner = step.translation(cells.left, cells.top + row * cells.stride)
        inside = self.spec.aoi.mask((rows * cells.stride, cells.columns * cells.stride), corner)
        return inside.reshape(rows, cells.stride, cells.columns, cells.stride).mean((1, 3))

    def strips(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the first row of cells of each part, and its labels, see `Worker.label`.

        The probability of a label that the sieve changed is not known, and 0.
        """
        for number in range(self.spec.parts):
            row, strip = number * self.spec.rows, self.store.read(number)
            if self.sieved is not None:
                codes = self.sieved[row : row + strip.shape[1]]
                strip[CONFIDENCE] *= strip[CODES] == codes
                strip[CODES] = codes
            yield row, strip

    def codes(self) -> np.ndarray:
        """Return the codes of all cells, uint8 (rows, columns)."""
        return np.concatenate([strip[CODES] for _, strip in self.strips()])

    def windows(self, planes: Sequence[int], *, nodata: int = NODATA) -> Iterator[tuple[Window, np.ndarray]]:
        """Yield windows of the files from top to bottom, and their pixels.

        A pixel has the label of the cell that its centre lies in. Pixels without data in the scene, or
        outside the area of interest, have no data. Rows that hold no cell are left out.

        Args:
            planes: `CODES`, `CONFIDENCE`, or those of `label_sets.planes`.
            nodata: value of pixels without data.

        Yields:
            Window, and uint8 (planes, height, W).
        """
        rows, columns = self._cells_of_pixels()
        left, right = np.searchsorted(columns, (0, self.spec.cells.columns)).tolist()
        with ExitStack() as stack:
            scene: Mosaic | None = None
            for first, strip in self.strips():
                top, bottom = np.searchsorted(rows, (first, first + strip.shape[1])).tolist()
                for start in range(top, bottom, _ROWS):
                    stop = min(start + _ROWS, bottom)
                    wanted = rows[start:stop] - first
                    pixels = np.full((len(planes), stop - start, self.size[1]), nodata, np.uint8)
                    pixels[..., left:right] = strip[planes].take(wanted, 1).take(columns[left:right], 2)
                    if self._has_gaps(strip[:, wanted[0] : wanted[-1] + 1]):
                        scene = scene or stack.enter_context(self._open_scene())
                        pixels[:, ~scene.read_valid(start, stop - start)] = nodata
                    if self.spec.aoi and self.pixel_grid == "scene":
                        pixels[:, ~self._area_of_interest(start, stop - start)] = nodata
                    yield ((start, stop), (0, self.size[1])), pixels

    def _cells_of_pixels(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the row of cells of each row of pixels, and the column of each column.

        Those outside the mapped part of the scene are negative, or beyond the last.
        """
        cells, found = self.spec.cells, []
        for count, side, start in zip(
            self.size, (self.grid.height, self.grid.width), (cells.top, cells.left), strict=True
        ):
            if self.pixel_grid == "cells":
                found.append(np.arange(count) - start // cells.stride)
            else:
                centres = ((np.arange(count) + 0.5) * (side / count)).astype(int)
                found.append((centres - start) // cells.stride)
        return found[0], found[1]

    def _has_gaps(self, labels: np.ndarray) -> bool:
        """Return whether labelled pixels of the scene's grid may lack data."""
        if self.pixel_grid == "cells" or not labels[CODES].any():
            return False
        # A resampled pixel can have data where one of the file has none.
        return self.grid is not self.native_grid or not labels[COMPLETE].all()

    def _area_of_interest(self, top: int, height: int) -> np.ndarray:
        """Return which pixels of some rows lie in the area of interest, bool (height, W)."""
        assert self.spec.aoi is not None  # asked for by `windows` alone
        native, step = self.native_grid, type(self.grid.transform)
        scale = step.scale(self.grid.width / native.width, self.grid.height / native.height)
        return self.spec.aoi.mask((height, native.width), scale * step.translation(0, top))

    def _open_scene(self) -> Mosaic:
        spec = self.spec
        return Mosaic.open(spec.scenes, resolution=spec.resolution, driver=spec.driver)

    @contextmanager
    def staged(self, path: Path) -> Iterator[Path]:
        """Yield a temporary path in the folder of parts.

        After the block, move the file to `path`. If the process is killed, the file is removed with the
        parts, and so are temporary files that GDAL puts beside it.
        """
        folder = self.store.folder / "drafts"
        with replacing(path) as complete:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            try:
                yield folder / path.name
                shutil.move(folder / path.name, complete)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
