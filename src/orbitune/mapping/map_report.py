"""Records of a finished map: its metadata, areas and report."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, computed_field

from orbitune.mapping.areas.area_records import AreaReport, ChangeReport
from orbitune.mapping.scene.radiometry import ReflectanceScaling
from orbitune.records import JsonTuple


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Agreement(_Record):
    """How often a dense map and tile-wise predictions give a cell the same code.

    Attributes:
        cells: number of cells compared.
        fraction: of cells with the same code, 0..1; None if no cell was compared.
        mean_by_code: mean over the codes of the fraction of their cells with the same code, 0..1, so that
            rare classes count as much as frequent ones.
    """

    cells: int
    fraction: float | None = None
    mean_by_code: float | None = None


class MapMetadata(_Record):
    """How a map was made: the JSON of the tag ORBITUNE in its GeoTIFFs.

    Attributes:
        version: of this layout.
        made_by: program and version.
        model: name of the bundle or run.
        classes: class names, of the codes from 1 on.
        scene: file name of the scene.
        pixels: height and width of the grid that was classified.
        bands: numbers of the red, green and blue band.
        bands_source: how the bands were chosen.
        scaling: values of each band that became 0 and 255.
        resampled_from_metres: metres per pixel of a scene that was resampled; else None.
        resolution_metres: metres per pixel that tiles were read at.
        stride, tile: side of a cell and of a tile in pixels.
        mode: how cells were labelled.
        not_sure: whether out-of-distribution cells are coded as not sure.
        parts: number of parts the map was made of.
        agreement: of a dense map with tile-wise predictions; None for other maps.
        confusion: test tiles of the model by true class (rows) and prediction; None if it is not known.
    """

    version: Literal[1] = 1
    made_by: str
    model: str
    classes: tuple[str, ...]
    scene: str
    pixels: tuple[int, int]
    bands: tuple[int, ...]
    bands_source: str
    scaling: ReflectanceScaling
    resampled_from_metres: tuple[float, float] | None = None
    resolution_metres: float
    stride: int
    tile: int
    mode: Literal["tiles", "dense"]
    not_sure: bool
    parts: int
    agreement: Agreement | None = None
    confusion: tuple[tuple[int, ...], ...] | None = None


class MapReport(AreaReport):
    """The report of a finished map: how it was made, and its areas.

    Attributes:
        metadata: how the map was made.
        warnings: what may make the map wrong.
        change: since an earlier map, if one was given.
    """

    metadata: MapMetadata
    warnings: JsonTuple[str] = ()
    change: ChangeReport | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def agreement(self) -> Agreement | None:
        """Agreement of a dense map with tile-wise predictions; None for other maps."""
        return self.metadata.agreement
