"""Options of a map."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from orbitune.data.georeference import RESOLUTION
from orbitune.errors import DataError
from orbitune.mapping.areas.reference_points import TRUE_CLASS, check_field
from orbitune.mapping.scene.radiometry import MATCH, NONE, ScaleRange
from orbitune.sources.band_names import BandChoice
from orbitune.suggestions import unknown

Mode = Literal["auto", "tiles", "dense"]
PixelGrid = Literal["scene", "cells"]
ExecutorName = Literal["local", "ray"]


@dataclass(frozen=True, kw_only=True)
class MapOptions:
    """How a scene is read, labelled and written.

    Attributes:
        bands: names or 1-based numbers of the bands that the model reads, in its order, such as ("B04",
            "B03", "B02") for red, green and blue; None to find them by the file's metadata.
        stride: side of a grid cell in pixels of the training resolution; None for that of a window.
        window: side in pixels of the ground that a cell is labelled from; None for the smallest that the
            model was trained on.
        mode: `tiles` labels each cell from its own window; `dense` shares tokens between windows, and labels
            doubtful cells from their own; `auto` is dense for strides up to a quarter of the tile, but not
            where the bundle's patch head labels windows that do not overlap, nor for 500 cells or fewer:
            that is about as fast.
        scale: `match` scales reflectance by the encoding of the scene and adds the atmosphere that it
            lacks beside the training tiles, see `atmosphere_match`; `none` scales by the encoding alone.
            `LOW:HIGH` are the values that become 0 and 255 in the units of the file, or 0 and 10,000 for a
            model of 16-bit tiles, `2%:98%` percentiles of each band.
        resolution: metres per pixel of the training tiles.
        grid: `scene` writes pixels on the grid of the scene; `cells` writes one pixel per cell.
        memory_budget: memory of this process, such as 2GB.
        executor: `local` or `ray`.
        not_sure: whether out-of-distribution cells are coded as not sure; if not, they get a class.
        driver: the only GDAL driver allowed for the scene; None for any.
        aoi: vector file whose polygons confine the map; None for the whole scene.
        min_area: hectares below which a patch of a class takes the class around it; None to keep all.
        reference: vector file of labelled points to estimate areas and accuracies from, see `map_areas`.
        field: its field with the true class of a point.
        compare: an earlier map to compare with, see `compare_maps`; the change goes to `NAME-change.tif`.
        zones: vector file of polygons, see `measure_zones`; the hectares go to `NAME-zones.csv`.

    Raises:
        DataError: an option has an unknown value.
    """

    bands: Sequence[BandChoice] | None = None
    stride: int | None = None
    window: int | None = None
    mode: Mode = "auto"
    scale: str = MATCH
    resolution: float = RESOLUTION
    grid: PixelGrid = "scene"
    memory_budget: str = "2GB"
    executor: ExecutorName = "local"
    not_sure: bool = True
    driver: str | None = None
    aoi: str | Path | None = None
    min_area: float | None = None
    reference: str | Path | None = None
    field: str = TRUE_CLASS
    compare: str | Path | None = None
    zones: str | Path | None = None

    def __post_init__(self) -> None:
        for name, choices in (("mode", Mode), ("grid", PixelGrid), ("executor", ExecutorName)):
            if getattr(self, name) not in get_args(choices):
                raise DataError(unknown(f"--{name}", getattr(self, name), known=get_args(choices)))
        if isinstance(self.bands, str) or not all(isinstance(band, (int, str)) for band in self.bands or ()):
            raise DataError(f'bands are names or numbers, such as ["B04", "B03", "B02"], not {self.bands!r}.')
        check_field(self.field, self.reference)
        if not isinstance(self.not_sure, bool):  # "off" would count as true
            raise DataError(f"not_sure is True or False, not {self.not_sure!r}.")
        if self.scale not in (MATCH, NONE):
            ScaleRange.parse(str(self.scale))
        if self.min_area is not None and not 0 < self.min_area < math.inf:
            raise DataError(f"--min-area takes hectares, such as 0.5, not {self.min_area:g}.")
        if not 0 < self.resolution < math.inf:
            raise DataError(f"--resolution takes metres per pixel, such as 10, not {self.resolution:g}.")
