"""The job spec of a map: what a worker process needs to label part of a scene."""

from dataclasses import dataclass

from orbitune.mapping.area_of_interest import AreaOfInterest
from orbitune.mapping.grid import CellGrid
from orbitune.mapping.scene.mosaic import SceneSpec
from orbitune.mapping.spatial_context import SpatialContext


@dataclass(frozen=True)
class JobSpec:
    """A picklable description of the work on one map.

    A part is a block of whole rows of cells. It is the unit of work, and a killed process loses one part at
    most.

    Attributes:
        source, backbone: the model, as in `Classifier`.
        attention: name of the attention kernel; None to choose one.
        threads: number of threads that torch computes with.
        scenes: what is mapped; where scenes overlap, the first with data counts.
        resolution: metres per pixel of the training tiles.
        cells: the grid of cells.
        rows: rows of cells in a part.
        context: cells around a cell that count for its class.
        not_sure: whether out-of-distribution cells have no class.
        driver: the only GDAL driver allowed; None for any.
        aoi: the area outside of which cells have no data; None for the whole scene.
    """

    source: str
    backbone: str | None
    attention: str | None
    threads: int
    scenes: tuple[SceneSpec, ...]
    resolution: float
    cells: CellGrid
    rows: int
    context: SpatialContext
    not_sure: bool
    driver: str | None = None
    aoi: AreaOfInterest | None = None

    @property
    def parts(self) -> int:
        """Number of parts."""
        return -(-self.cells.rows // self.rows)

    def block(self, number: int) -> tuple[int, int, int, int]:
        """Return the block of cells of a part: first row and column, rows and columns."""
        first = number * self.rows
        return first, 0, min(self.rows, self.cells.rows - first), self.cells.columns

    def block_with_context(self, number: int) -> tuple[int, int, int, int]:
        """Return the block of cells that a part depends on: first row and column, rows and columns.

        Around an area of interest it reaches beyond the grid, so that cells of the area have the labels of a
        map of the whole scene.
        """
        reach, (row, column, rows, columns) = self.context.reach, self.block(number)
        beyond = 0 if self.aoi is None else reach
        top, left = max(row - reach, -beyond), max(column - reach, -beyond)
        bottom = min(row + rows + reach, self.cells.rows + beyond)
        right = min(column + columns + reach, self.cells.columns + beyond)
        return top, left, bottom - top, right - left
