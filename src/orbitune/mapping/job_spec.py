"""The job spec of a map: what a worker process needs to label part of a scene."""

from dataclasses import dataclass

from orbitune.mapping.area_of_interest import AreaOfInterest
from orbitune.mapping.grid import CellGrid
from orbitune.mapping.scene.mosaic import SceneSpec
from orbitune.mapping.smoothing import Smoothing


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
        not_sure: whether out-of-distribution cells have no class.
        driver: the only GDAL driver allowed; None for any.
        aoi: the area outside of which cells have no data; None for the whole scene.
        adapted: indices of the scenes that the model was adapted to.
        smoothing: of the probabilities of the patch head; None where the classification head labels cells.
    """

    source: str
    backbone: str | None
    attention: str | None
    threads: int
    scenes: tuple[SceneSpec, ...]
    resolution: float
    cells: CellGrid
    rows: int
    not_sure: bool
    driver: str | None = None
    aoi: AreaOfInterest | None = None
    adapted: tuple[int, ...] = ()
    smoothing: Smoothing | None = None

    @property
    def parts(self) -> int:
        """Number of parts."""
        return -(-self.cells.rows // self.rows)
