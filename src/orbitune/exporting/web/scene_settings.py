"""What the page needs to map a scene as `orbitune map` does tile by tile."""

from typing import TYPE_CHECKING, Any

from orbitune.data.sensor.atmosphere import Atmosphere
from orbitune.mapping.grid import NODATA, NOT_SURE
from orbitune.mapping.outputs.legend import class_colours, distinct_colours
from orbitune.mapping.scene.encoding_statistics import EUROSAT_WHITE
from orbitune.mapping.scene.reader import RESOLUTION
from orbitune.sources.band_names import RGB_WAVELENGTHS

if TYPE_CHECKING:
    from orbitune.exporting.reference import ReferenceModel


def describe_scenes(reference: "ReferenceModel", limits: dict[str, float]) -> dict[str, Any] | None:
    """Return the settings; None for models whose maps the page cannot make.

    Args:
        reference: the model, of 8-bit red, green and blue.
        limits: for cells of a map, see `orbitune.inference.ood_fitting.map_limits`; empty for none.

    Returns:
        The reflectance that is 255 in tiles, the first percentile of each band of the training tiles, what a
        clear atmosphere does to each band, the limits of *not sure*, and colours. None with several labels a
        tile, and for tiles that are not square.
    """
    bundle = reference.bundle
    if bundle.task.name != "single-label" or len(set(bundle.tile_size)) > 1:
        return None
    data, atmosphere = bundle.metadata.data, Atmosphere.at(RGB_WAVELENGTHS)
    colours = class_colours(bundle.classes)
    own = [colours[code] for code in range(1, len(bundle.classes) + 1)]
    return {
        "resolution": RESOLUTION,
        "white": EUROSAT_WHITE,
        "scale_max": data.scale_max,
        "dark": None if data.statistics is None else list(data.statistics.low),
        "path": atmosphere.path.tolist(),
        "transmittance": atmosphere.transmittance.tolist(),
        "threshold": limits.get("view_threshold"),
        "min_confidence": limits.get("min_confidence", 0.0),
        "colours": own,
        "spare": [colour for colour in distinct_colours() if colour not in own],
        "not_sure": colours[NOT_SURE],
        "nodata": colours[NODATA],
    }
