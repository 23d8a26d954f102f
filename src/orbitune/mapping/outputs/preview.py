"""Preview of a map: scene and classes side by side, with legend and scale bar."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.extras import require
from orbitune.mapping.grid import NODATA
from orbitune.mapping.outputs.legend import class_colours
from orbitune.mapping.outputs.rasters import MapRasters

_INCHES = 14.0  # width of the figure


def write_preview(rasters: MapRasters, path: Path) -> None:
    """Write a PNG with the scene on the left and the map on the right.

    Args:
        rasters: the finished map and its scene.
        path: PNG file to write.

    Raises:
        OrbituneError: matplotlib is not installed, or the file cannot be written.
    """
    require("geo", "matplotlib", purpose="previews of maps")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    coloured = colourise(rasters.codes(), rasters.metadata.classes)
    extent = (0, rasters.grid.width, rasters.grid.height, 0)
    ratio = rasters.grid.height / rasters.grid.width
    figure = Figure(figsize=(_INCHES, max(3.0, _INCHES / 2 * ratio + 1.2)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    left.imshow(rasters.overview, extent=extent, interpolation="antialiased")
    right.imshow(coloured, extent=cell_extent(rasters), interpolation="nearest")
    for axes, title in ((left, rasters.metadata.scene), (right, "land cover")):
        axes.set(xlim=extent[:2], ylim=extent[2:], xticks=[], yticks=[])
        axes.set_title(title, fontsize=10, loc="left")
    draw_scale_bar(left, rasters)
    _draw_legend(figure, rasters)
    with rasters.staged(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def colourise(codes: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    """Return codes (rows, columns) as an RGBA image, uint8 (rows, columns, 4).

    Nodata is transparent.

    Args:
        codes: uint8 (rows, columns): 0 nodata, 1.. classes, 255 not sure.
        classes: class names, which determine the colours.

    Returns:
        uint8 (rows, columns, 4).
    """
    table = np.zeros((256, 4), np.uint8)
    for code, colour in class_colours(classes).items():
        table[code] = (*colour, 0 if code == NODATA else 255)
    return table[codes]


def cell_extent(rasters: MapRasters) -> tuple[int, int, int, int]:
    """Return left, right, bottom and top of the grid of cells in pixels of the scene."""
    cells = rasters.spec.cells
    right, bottom = cells.left + cells.columns * cells.stride, cells.top + cells.rows * cells.stride
    return cells.left, right, bottom, cells.top


def draw_scale_bar(axes: Any, rasters: MapRasters) -> None:
    """Draw a bar of 1, 2 or 5 x 10^n metres, at most a quarter of the scene's width."""
    grid = rasters.grid
    metres = grid.pixel_size[0]
    width = grid.width * metres
    length = 10 ** math.floor(math.log10(width / 4))
    length *= max(step for step in (1, 2, 5) if step * length <= width / 4)
    label = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    x, y, pixels = 0.03 * grid.width, 0.96 * grid.height, length / metres
    for colour, thickness in (("white", 6), ("black", 3)):
        axes.plot([x, x + pixels], [y, y], color=colour, linewidth=thickness, solid_capstyle="butt")
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
    axes.text(x, y - 0.02 * grid.height, label, fontsize=9, va="bottom", bbox=box)


def _draw_legend(figure: Any, rasters: MapRasters) -> None:
    """Draw a legend of the classes that occur on the map."""
    from matplotlib.patches import Patch

    present = set(np.unique(rasters.codes()).tolist()) - {NODATA}
    table = class_colours(rasters.metadata.classes)
    handles = [
        Patch(facecolor="#{:02x}{:02x}{:02x}".format(*table[code]), edgecolor="#666666", label=name)
        for code, name in rasters.names.items()
        if code in present
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=9, frameon=False)
