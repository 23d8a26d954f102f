"""Preview of a map with several labels a cell: the scene, and a panel for each class."""

from pathlib import Path

import numpy as np

from orbitune.mapping.grid import NOT_SURE
from orbitune.mapping.label_sets.planes import NO_VALUE, label_planes, percent_planes
from orbitune.mapping.outputs.legend import class_colours
from orbitune.mapping.outputs.preview import draw_cells, draw_scene, png_figure
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
    names = rasters.metadata.classes
    cells = np.concatenate([strip for _, strip in rasters.strips()], axis=1)
    present = (cells[label_planes(len(names))[:-1]] == 1).mean((1, 2))
    shown = np.sort(np.argsort(-present, kind="stable")[:_MAX_PANELS]).tolist()
    rows = -(-(len(shown) + 1) // _COLUMNS)
    height = _INCHES * rasters.grid.height / rasters.grid.width + 0.4
    colours = class_colours(names)
    with png_figure(rasters, path, width=_COLUMNS * _INCHES, height=rows * height) as figure:
        panels = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
        draw_scene(panels[0], rasters)
        for axes, index in zip(panels[1:], shown, strict=False):
            percent = cells[percent_planes(len(names))[index]]
            image = _shade(percent, cells[CODES] == NOT_SURE, colour=np.array(colours[index + 1]))
            title = f"{names[index]}, on {present[index]:.0%} of the cells"
            draw_cells(axes, rasters, image=image, title=title)
        for axes in panels[1 + len(shown) :]:
            axes.set_visible(False)


def _shade(percent: np.ndarray, unsure: np.ndarray, *, colour: np.ndarray) -> np.ndarray:
    """Return percentages as an image from white to a colour, uint8 (rows, columns, 4).

    *Not sure* is grey, and no data transparent.
    """
    known = percent != NO_VALUE
    fraction = np.where(known, percent, 0)[..., None] / 100
    image = np.concatenate([255 + fraction * (colour - 255), np.where(known, 255, 0)[..., None]], axis=-1)
    image[unsure] = (*class_colours(())[NOT_SURE], 255)
    return image.round().astype(np.uint8)
