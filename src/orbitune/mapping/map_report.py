"""Records of a finished map: its metadata, areas and report."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    ConfigDict,
    NonNegativeInt,
    SerializerFunctionWrapHandler,
    Strict,
    computed_field,
    model_serializer,
)

from orbitune.mapping.areas.area_records import AreaReport, ChangeReport
from orbitune.mapping.map_quality import MapQuality
from orbitune.mapping.scene.encoding import Encoding
from orbitune.mapping.scene.radiometry import ReflectanceScaling
from orbitune.records import JsonTuple, Record, StoredRecord
from orbitune.sources.band_names import COLOURS


class Agreement(Record):
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


class SceneRecord(Record):
    """How one scene of a mosaic was read.

    Attributes:
        scene: its file name.
        bands: numbers of the bands that were read, in the order of the model's.
        band_names: their names; empty strings for bands without one.
        bands_source: how the bands were chosen.
        encoding: how numbers of the scene become reflectance; None if the user gave the scaling.
        scaling: of each band to the numbers of the training tiles.
        resampled_from_metres: metres per pixel of a scene that was resampled; else None.
    """

    scene: str
    bands: JsonTuple[int]
    band_names: JsonTuple[str] = ()
    bands_source: str
    encoding: Encoding | None = None
    scaling: ReflectanceScaling
    resampled_from_metres: Annotated[tuple[float, float], Strict(False)] | None = None


class SieveRecord(Record):
    """What the sieve of small patches changed, see `outputs.sieve`.

    Attributes:
        min_hectares: the minimum area of a patch.
        patches: number of patches that took the class around them.
        hectares: their area.
        remaining: number of smaller patches, with no class around them.
    """

    min_hectares: float
    patches: int
    hectares: float
    remaining: int


class MapMetadata(SceneRecord, StoredRecord):
    """How a map was made: the JSON of the tag ORBITUNE in its GeoTIFFs.

    The fields of `SceneRecord` are those of the only scene, or of the first of a mosaic. Fields that are not
    known are ignored, as other programs may add some.

    Attributes:
        made_by: program and version.
        model: name of the bundle or run.
        model_bands: names of the bands that it reads.
        classes: class names, of the codes from 1 on.
        thresholds: probability from which a cell has each class; None with one label a cell.
        pixels: height and width of the grid that was classified.
        resolution_metres: metres per pixel that tiles were read at.
        stride, tile: side of a cell and of a tile in pixels.
        mode: how cells were labelled.
        patch_head: whether by the bundle's patch head, which labels windows smaller than a tile; their
            probabilities are mixed with those of neighbouring cells.
        scale: the option that the scaling of each scene follows, see `MapOptions`; None in older maps.
        not_sure: whether out-of-distribution cells are coded as not sure.
        parts: number of parts the map was made of.
        other_scenes: the further scenes of a mosaic; where scenes overlap, the first with data counts.
        aoi: file name of the area of interest; None for the whole scene.
        sieve: what the sieve of small patches changed; None if there was none.
        quality: how much has a class, and how often the model expects to be right; None in older maps.
        labelled_points: number of labelled points of the model's adaptation that a dense map was fitted to.
        adapted_at: longitude and latitude of the labelled points in the mapped area that the model was
            adapted to, on this scene or another; none in older maps.
        agreement: of a dense map with tile-wise predictions; None for other maps.
        confusion: test tiles of the model by true class (rows) and prediction; None if it is not known.
        confusion_tile: side of these tiles in pixels; None in older maps, where it is that of `tile`.
    """

    model_config = ConfigDict(extra="ignore")

    UNVERSIONED: ClassVar[int | None] = 1

    made_by: str
    model: str
    model_bands: JsonTuple[str] = COLOURS
    classes: JsonTuple[str]
    thresholds: JsonTuple[float] | None = None
    pixels: Annotated[tuple[int, int], Strict(False)]
    resolution_metres: float
    stride: int
    tile: int
    mode: Literal["tiles", "dense"]
    patch_head: bool = False
    scale: str | None = None
    not_sure: bool
    parts: int
    other_scenes: JsonTuple[SceneRecord] = ()
    aoi: str | None = None
    sieve: SieveRecord | None = None
    quality: MapQuality | None = None
    labelled_points: NonNegativeInt = 0
    adapted_at: JsonTuple[Annotated[tuple[float, float], Strict(False)]] = ()
    agreement: Agreement | None = None
    confusion: JsonTuple[JsonTuple[int]] | None = None
    confusion_tile: int | None = None

    @model_serializer(mode="wrap")
    def _without_default(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the bands of RGB models, as maps without them mean the same."""
        values: dict[str, Any] = serialise(self)
        if self.model_bands == COLOURS:
            values.pop("model_bands", None)
        return values


class MapReport(AreaReport):
    """The report of a finished map: how it was made, and its areas.

    Attributes:
        metadata: how the map was made.
        change: since an earlier map, if one was given.
    """

    metadata: MapMetadata
    change: ChangeReport | None = None

    def remarks(self) -> list[str]:
        """Return lines about the quality of the map, then those about its areas."""
        quality = self.metadata.quality
        return [*([quality.describe()] if quality else ()), *super().remarks()]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def agreement(self) -> Agreement | None:
        """Agreement of a dense map with tile-wise predictions; None for other maps."""
        return self.metadata.agreement
