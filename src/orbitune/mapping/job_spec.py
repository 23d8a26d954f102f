"""The job spec of a map: what a worker process needs to label part of a scene."""

from dataclasses import dataclass

from orbitune.mapping.grid import CellGrid
from orbitune.mapping.scene.radiometry import ReflectanceScaling


@dataclass(frozen=True)
class JobSpec:
    """A picklable description of the work on one map.

    A part is a block of whole rows of cells. It is the unit of work, and a killed process loses one part at
    most.

    Attributes:
        source, backbone: the model, as in `Classifier`.
        attention: name of the attention kernel; None to choose one.
        threads: number of threads that torch computes with.
        scene: name of the raster, see `raster_io.open_raster`.
        bands, resolution, scaling: how the scene is read, see `reader.Scene`.
        cells: the grid of cells.
        rows: rows of cells in a part.
        not_sure: whether out-of-distribution cells have no class.
        driver: the only GDAL driver allowed; None for any.
    """

    source: str
    backbone: str | None
    attention: str | None
    threads: int
    scene: str
    bands: tuple[int, ...]
    resolution: float
    scaling: ReflectanceScaling
    cells: CellGrid
    rows: int
    not_sure: bool
    driver: str | None = None

    @property
    def parts(self) -> int:
        """Number of parts."""
        return -(-self.cells.rows // self.rows)
