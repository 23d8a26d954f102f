"""Preview of a map with several labels a cell: the scene, and a panel for each class."""

from pathlib import Path

import numpy as np

from orbitune.extras import require
from orbitune.mapping.grid import NOT_SURE
from orbitune.mapping.label_sets.planes import NO_VALUE, label_planes, percent_planes
from orbitune.mapping.outputs.legend import class_colours
from orbitune.mapping.outputs.preview import cell_extent, draw_scale_bar
from orbitune.mapping.outputs.rasters import CODES, MapRasters

_MAX_PANELS = 11  # classes; the others cover fewer cells
_COLUMNS, _INCHES = 4, 3.5  # of panels, and width of one


def write_panels(rasters: MapRasters, path: Path) -> None:
    """Write a PNG with the scene and the probabilities of the classes that most cells have.

    Args:
        rasters: the finished map and its scene.
        path: PNG file to write.

    Raises:
        OrbituneError: matplotlib is not installed, or the file cannot be written.
    """
    require("geo", "matplotlib", purpose="previews of maps")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names, extent = rasters.metadata.classes, (0, rasters.grid.width, rasters.grid.height, 0)
    cells = np.concatenate([strip for _, strip in rasters.strips()], axis=1)
    present = (cells[label_planes(len(names))[:-1]] == 1).mean((1, 2))
    shown = np.sort(np.argsort(-present, kind="stable")[:_MAX_PANELS]).tolist()
    rows = -(-(len(shown) + 1) // _COLUMNS)
    height = _INCHES * rasters.grid.height / rasters.grid.width + 0.4
    figure = Figure(figsize=(_COLUMNS * _INCHES, rows * height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    panels[0].imshow(rasters.overview, extent=extent, interpolation="antialiased")
    panels[0].set_title(rasters.metadata.scene, fontsize=10, loc="left")
    draw_scale_bar(panels[0], rasters)
    colours = class_colours(names)
    for axes, index in zip(panels[1:], shown, strict=False):
        percent = cells[percent_planes(len(names))[index]]
        image = _shade(percent, cells[CODES] == NOT_SURE, colour=np.array(colours[index + 1]))
        axes.imshow(image, extent=cell_extent(rasters), interpolation="nearest")
        axes.set_title(f"{names[index]}, on {present[index]:.0%} of the cells", fontsize=10, loc="left")
    for number, axes in enumerate(panels):
        axes.set(xlim=extent[:2], ylim=extent[2:], xticks=[], yticks=[])
        axes.set_visible(number <= len(shown))
    with rasters.staged(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _shade(percent: np.ndarray, unsure: np.ndarray, *, colour: np.ndarray) -> np.ndarray:
    """Return percentages as an image from white to a colour, uint8 (rows, columns, 4).

    *Not sure* is grey, and no data transparent.
    """
    known = percent != NO_VALUE
    fraction = np.where(known, percent, 0)[..., None] / 100
    image = np.concatenate([255 + fraction * (colour - 255), np.where(known, 255, 0)[..., None]], axis=-1)
    image[unsure] = (*class_colours(())[NOT_SURE], 255)
    return image.round().astype(np.uint8)
