"""Preview of a map: scene and classes side by side, with legend and scale bar."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orbitune.extras import require
from orbitune.mapping.grid import NODATA
from orbitune.mapping.outputs.legend import class_colours
from orbitune.mapping.outputs.rasters import MapRasters

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INCHES = 14.0  # width of the figure


def write_preview(rasters: MapRasters, path: Path) -> None:
    """Write a PNG with the scene on the left and the map on the right.

    Args:
        rasters: the finished map and its scene.
        path: PNG file to write.

    Raises:
        OrbituneError: matplotlib is not installed, or the file cannot be written.
    """
    ratio = rasters.grid.height / rasters.grid.width
    with png_figure(rasters, path, width=_INCHES, height=max(3.0, _INCHES / 2 * ratio + 1.2)) as figure:
        left, right = figure.subplots(1, 2)
        draw_scene(left, rasters)
        coloured = colourise(rasters.codes(), rasters.metadata.classes)
        draw_cells(right, rasters, image=coloured, title="land cover")
        _draw_legend(figure, rasters)


@contextmanager
def png_figure(rasters: MapRasters, path: Path, *, width: float, height: float) -> "Iterator[Figure]":
    """Yield a figure, which is written as a PNG at the end of the block.

    Args:
        rasters: the map that it is of.
        path: file to write.
        width, height: of the figure in inches.

    Raises:
        OrbituneError: matplotlib is not installed, or the file cannot be written.
    """
    require("geo", "matplotlib", purpose="previews of maps")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    yield figure
    with rasters.staged(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def draw_scene(axes: Any, rasters: MapRasters) -> None:
    """Draw the scene with its name and a scale bar."""
    extent = (0, rasters.grid.width, rasters.grid.height, 0)
    axes.imshow(rasters.overview, extent=extent, interpolation="antialiased")
    _frame(axes, rasters, title=rasters.metadata.scene)
    _draw_scale_bar(axes, rasters)


def draw_cells(axes: Any, rasters: MapRasters, *, image: np.ndarray, title: str) -> None:
    """Draw an image of the grid of cells, uint8 (rows, columns, 4), where it lies in the scene."""
    cells = rasters.spec.cells
    right, bottom = cells.left + cells.columns * cells.stride, cells.top + cells.rows * cells.stride
    axes.imshow(image, extent=(cells.left, right, bottom, cells.top), interpolation="nearest")
    _frame(axes, rasters, title=title)


def _frame(axes: Any, rasters: MapRasters, *, title: str) -> None:
    """Show the whole scene under a title, without ticks."""
    axes.set(xlim=(0, rasters.grid.width), ylim=(rasters.grid.height, 0), xticks=[], yticks=[])
    axes.set_title(title, fontsize=10, loc="left")


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


def _draw_scale_bar(axes: Any, rasters: MapRasters) -> None:
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
