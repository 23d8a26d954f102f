"""Records of a finished map: its metadata, areas and report."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, computed_field

from orbitune.mapping.scene.encoding import Encoding
from orbitune.mapping.scene.radiometry import ReflectanceScaling


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
        bands: numbers of the bands that were read: red, green and blue.
        band_names: their names; empty strings for bands without one.
        bands_source: how the bands were chosen.
        encoding: how numbers of the scene become reflectance; None if the user gave the scaling.
        scaling: values of each band that became 0 and 255.
        resampled_from_metres: metres per pixel of a scene that was resampled; else None.
        resolution_metres: metres per pixel that tiles were read at.
        stride, tile: side of a cell and of a tile in pixels.
        mode: how cells were labelled.
        not_sure: whether out-of-distribution cells are coded as not sure.
        parts: number of parts the map was made of.
        agreement: of a dense map with tile-wise predictions; None for other maps.
    """

    version: Literal[1] = 1
    made_by: str
    model: str
    classes: tuple[str, ...]
    scene: str
    pixels: tuple[int, int]
    bands: tuple[int, ...]
    band_names: tuple[str, ...] = ()
    bands_source: str
    encoding: Encoding | None = None
    scaling: ReflectanceScaling
    resampled_from_metres: tuple[float, float] | None = None
    resolution_metres: float
    stride: int
    tile: int
    mode: Literal["tiles", "dense"]
    not_sure: bool
    parts: int
    agreement: Agreement | None = None


class ClassArea(_Record):
    """The area of one class, see `area_estimation`.

    Attributes:
        name: of the class, or `not sure`.
        hectares: on the map.
        fraction: of all pixels with data, 0..1.
        estimated_hectares: stratified estimate; None if the confusion of the test tiles is not known.
        low_hectares, high_hectares: its 95 % interval.
    """

    name: str
    hectares: float
    fraction: float
    estimated_hectares: float | None = None
    low_hectares: float | None = None
    high_hectares: float | None = None


class MapReport(_Record):
    """The report of a finished map.

    Attributes:
        metadata: how the map was made.
        areas: one record per class, and one for `not sure`.
        warnings: what may make the map wrong.
    """

    metadata: MapMetadata
    areas: tuple[ClassArea, ...]
    warnings: tuple[str, ...] = ()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def agreement(self) -> Agreement | None:
        """Agreement of a dense map with tile-wise predictions; None for other maps."""
        return self.metadata.agreement

    def to_json(self) -> dict[str, Any]:
        """Return the report for JSON; areas without estimates have no entries for them."""
        areas = [area.model_dump(exclude_none=True) for area in self.areas]
        return {**self.model_dump(mode="json"), "areas": areas}

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return header and rows of the table of areas."""
        header = ["class", "hectares", "percentage", "estimated hectares (95 % interval)"]
        rows = []
        for area in self.areas:
            values = (area.estimated_hectares, area.low_hectares, area.high_hectares)
            estimate = "" if None in values else "{:,.0f} ({:,.0f} to {:,.0f})".format(*values)
            rows.append([area.name, f"{area.hectares:,.0f}", f"{area.fraction:.1%}", estimate])
        return header, rows
