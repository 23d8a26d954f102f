"""The rasters of a finished map, strip by strip, on the grid of its files."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.files import replacing
from orbitune.mapping.grid import NODATA, NOT_SURE
from orbitune.mapping.job_spec import JobSpec
from orbitune.mapping.map_report import MapMetadata
from orbitune.mapping.part_store import PartStore
from orbitune.mapping.scene.geodesy import PixelAreas
from orbitune.mapping.scene.reader import RasterGrid


@dataclass(frozen=True, kw_only=True)
class MapRasters:
    """The finished parts of a map, with the grid and metadata of its files.

    Attributes:
        store: of the parts.
        spec: the work that made them.
        grid: pixel grid of the scene.
        pixel_grid: `scene` or `cells`, see `MapOptions.grid`.
        metadata: for the tags of the map.
        map_file: path of the map's GeoTIFF.
        overview: the scaled scene, uint8 (h, w, 3), downsampled.
    """

    store: PartStore
    spec: JobSpec
    grid: RasterGrid
    pixel_grid: str
    metadata: MapMetadata
    map_file: Path
    overview: np.ndarray

    @property
    def names(self) -> dict[int, str]:
        """Name of each code."""
        return {NODATA: "no data", **dict(enumerate(self.metadata.classes, 1)), NOT_SURE: "not sure"}

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the files in pixels."""
        cells = self.spec.cells
        return (cells.rows, cells.columns) if self.pixel_grid == "cells" else (cells.height, cells.width)

    @property
    def transform(self) -> Any:
        """Affine transform of the files."""
        own = self.grid.transform
        return own * type(own).scale(self.spec.cells.stride) if self.pixel_grid == "cells" else own

    @cached_property
    def pixel_areas(self) -> PixelAreas:
        """Area on the ground of each pixel of the files."""
        height, width = self.size
        return PixelAreas.measure(self.grid.crs, self.transform, height=height, width=width)

    def strips(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the first row of cells of each part, and its labels, see `Worker.label`."""
        for number in range(self.spec.parts):
            yield number * self.spec.rows, self.store.read(number)

    def codes(self) -> np.ndarray:
        """Return the codes of all cells, uint8 (rows, columns)."""
        return np.concatenate([strip[0] for _, strip in self.strips()])

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
