"""A picture of a map: the scene, the classes on it, a legend and a scale bar."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.extras import require
from orbitune.mapping.grid import NODATA
from orbitune.mapping.legend import colours
from orbitune.mapping.radiometry import Scaling
from orbitune.mapping.raster_source import gdal, import_rasterio
from orbitune.mapping.reader import Scene
from orbitune.mapping.writer import MapRasters, staged

_INCHES = 14.0


def write_preview(layers: MapRasters, path: Path, scene: np.ndarray) -> None:
    """Write a PNG.

    Args:
        scene: the scene in little, uint8 (h, w, 3).
    """
    require("geo", "matplotlib", purpose="previews of maps")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    coloured = picture(layers.cells(), layers.classes)
    extent = (0, layers.grid.width, layers.grid.height, 0)
    ratio = layers.grid.height / layers.grid.width
    figure = Figure(figsize=(_INCHES, max(3.0, _INCHES / 2 * ratio + 1.2)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    left.imshow(scene, extent=extent, interpolation="antialiased")
    cells = layers.order.cells
    right.imshow(
        coloured,
        extent=(0, cells.columns * cells.stride, cells.rows * cells.stride, 0),
        interpolation="nearest",
    )
    for axes, title in ((left, layers.facts["scene"]), (right, "land cover")):
        axes.set(xlim=extent[:2], ylim=extent[2:], xticks=[], yticks=[])
        axes.set_title(title, fontsize=10, loc="left")
    _scale_bar(left, layers)
    _legend(figure, layers)
    with staged(layers, path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def picture(codes: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    """Codes (rows, columns) as uint8 (rows, columns, 4): nodata is clear."""
    table = np.zeros((256, 4), np.uint8)
    for code, colour in colours(classes).items():
        table[code] = (*colour, 0 if code == NODATA else 255)
    return table[codes]


def in_little(
    scene: str | Path, land_cover: Path, facts: dict[str, Any], driver: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A scene as its tiles were seen, and its finished map, pixel upon pixel.

    Args:
        facts: of the map's report.
        driver: the only format of the scene that is taken; None for any.

    Returns:
        uint8 (h, w, 3), and codes, uint8 (h, w).
    """
    with Scene(scene, tuple(facts["bands"]), facts["resolution_metres"], driver) as opened:
        sample = opened.sample()
    with gdal(), import_rasterio().open(land_cover) as file:
        codes = file.read(1, out_shape=sample.shape[1:])
    return Scaling(**facts["scaling"])(sample.data), codes


def _scale_bar(axes: "object", layers: MapRasters) -> None:
    metres = layers.grid.pixel_size[0]
    width = layers.grid.width * metres
    length = 10 ** math.floor(math.log10(width / 4))
    length *= max(step for step in (1, 2, 5) if step * length <= width / 4)
    words = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    x, y, long = 0.03 * layers.grid.width, 0.96 * layers.grid.height, length / metres
    for colour, thickness in (("white", 6), ("black", 3)):
        axes.plot([x, x + long], [y, y], color=colour, linewidth=thickness, solid_capstyle="butt")  # type: ignore[attr-defined]
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
    axes.text(x, y - 0.02 * layers.grid.height, words, fontsize=9, va="bottom", bbox=box)  # type: ignore[attr-defined]


def _legend(figure: "object", layers: MapRasters) -> None:
    from matplotlib.patches import Patch

    present = set(np.unique(layers.cells()).tolist()) - {NODATA}
    table = colours(layers.classes)
    handles = [
        Patch(facecolor="#{:02x}{:02x}{:02x}".format(*table[code]), edgecolor="#666666", label=name)
        for code, name in layers.names.items()
        if code in present
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=9, frameon=False)  # type: ignore[attr-defined]
