"""Viewer of finished maps: a page with Leaflet, and the tiles that it shows."""

import gzip
import io
import json
import math
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orbitune.data.preview import preview_bands
from orbitune.mapping.grid import NODATA, NOT_SURE
from orbitune.mapping.map_report import MapReport
from orbitune.mapping.outputs.legend import class_colours
from orbitune.mapping.scene.raster_io import gdal_environment, import_rasterio
from orbitune.mapping.scene.reader import Scene
from orbitune.serving.images import stretch_contrast
from orbitune.serving.storage import Storage

if TYPE_CHECKING:
    from fastapi import FastAPI, Response

TILE = 256  # pixels along the side of a tile
_SCENE, _CLASSES, _PROBABILITY, _FACTS = "scene.tif", "classes.tif", "probability.tif", "map.json"
_LATTICE = 17  # points along a side of the scene whose longitude and latitude the page knows
_ROWS = 512  # rows of pixels at a time
_CACHED = {"cache-control": "private, max-age=3600"}
_ASSETS = {
    "leaflet.js": ("leaflet/leaflet.js", "text/javascript"),
    "leaflet.css": ("leaflet/leaflet.css", "text/css"),
    "map.js": ("map.js", "text/javascript"),
    "map.css": ("map.css", "text/css"),
}


def write_view(
    folder: Path, scene: Path, *, outputs: dict[str, Path], report: MapReport, driver: str
) -> None:
    """Write what the viewer of a map needs to a folder.

    Args:
        folder: an existing folder of the storage, by whose name the map is found.
        scene: the raster that was mapped.
        outputs: files of the map, by name: `map` and `confidence`.
        report: of the map.
        driver: the only GDAL driver allowed for the scene.
    """
    metadata = report.metadata
    white = metadata.encoding.white if metadata.encoding else None
    with Scene(
        scene, metadata.bands, resolution=metadata.resolution_metres, driver=driver, white=white
    ) as opened:
        grid, shown = opened.native_grid, preview_bands(metadata.model_bands)
        colours = np.zeros((3, grid.height, grid.width), metadata.scaling.dtype)
        alpha = np.zeros((1, grid.height, grid.width), np.uint8)
        for top in range(0, grid.height, _ROWS):
            raw, valid = opened.read_rows(top, min(_ROWS, grid.height - top))
            colours[:, top : top + _ROWS] = metadata.scaling(raw)[..., shown].transpose(2, 0, 1)
            alpha[0, top : top + _ROWS] = 255 * valid
    _write_pyramid(folder / _SCENE, np.concatenate([stretch_contrast(colours), alpha]))
    for name, file in ((_CLASSES, outputs["map"]), (_PROBABILITY, outputs["confidence"])):
        (folder / name).write_bytes(file.read_bytes())
    facts = {
        "width": grid.width,
        "height": grid.height,
        "zoom": _max_zoom(grid.height, grid.width),
        "metres": list(grid.pixel_size),
        "codes": _legend(report),
        "lattice": _lattice(grid),
    }
    (folder / _FACTS).write_text(json.dumps(facts, allow_nan=False))


def add_map_routes(app: "FastAPI", storage: Storage) -> None:
    """Add the routes of the viewer: page, facts and tiles of each map, and Leaflet.

    Args:
        app: the app to extend.
        storage: where `write_view` wrote.
    """
    from fastapi import HTTPException, Response

    def find(token: str) -> Path:
        folder = storage.find_result_folder(token)
        if folder is None or not (folder / _FACTS).is_file():
            raise HTTPException(404, "No such map; it may have been deleted.")
        return folder

    @app.get("/map-assets/{name}", include_in_schema=False)
    def asset(name: str) -> Response:
        if name not in _ASSETS:
            raise HTTPException(404, "Not found.")
        file, kind = _ASSETS[name]
        return Response(_read_asset(file), media_type=kind, headers=_CACHED)

    @app.get("/map/{token}/", include_in_schema=False)
    def page(token: str) -> Response:
        find(token)
        return Response(_read_asset("map.html"), media_type="text/html")

    @app.get("/map/{token}/map.json", include_in_schema=False)
    def facts(token: str) -> Response:
        return Response((find(token) / _FACTS).read_bytes(), media_type="application/json")

    @app.get("/map/{token}/scene/{zoom}/{x}/{y}.webp", include_in_schema=False)
    def scene_tile(token: str, zoom: int, x: int, y: int) -> Response:
        return _webp_response(_read_tile(find(token) / _SCENE, zoom=zoom, x=x, y=y))

    @app.get("/map/{token}/labels/{zoom}/{x}/{y}.bin", include_in_schema=False)
    def label_tile(token: str, zoom: int, x: int, y: int) -> Response:
        folder = find(token)
        tiles = [
            _read_tile(folder / name, zoom=zoom, x=x, y=y)[0].tobytes() for name in (_CLASSES, _PROBABILITY)
        ]
        headers = {"content-encoding": "gzip", **_CACHED}
        content = gzip.compress(b"".join(tiles), 1)
        return Response(content, media_type="application/octet-stream", headers=headers)


@cache
def _read_asset(name: str) -> bytes:
    """Return a file of the folder `assets`."""
    return files("orbitune.serving").joinpath("assets").joinpath(name).read_bytes()


def _max_zoom(height: int, width: int) -> int:
    """Return the zoom level at which a pixel of the scene is one of the screen."""
    return max(0, math.ceil(math.log2(max(height, width) / TILE)))


def _read_tile(file: Path, *, zoom: int, x: int, y: int) -> np.ndarray:
    """Return a tile of a raster, uint8 (bands, 256, 256); zeros beyond its edges.

    Raises:
        HTTPException: 404, there is no such tile.
    """
    from fastapi import HTTPException
    from rasterio.windows import Window

    with gdal_environment(), import_rasterio().open(file, driver="GTiff") as raster:
        last = _max_zoom(raster.height, raster.width)
        if not 0 <= zoom <= last:
            raise HTTPException(404, "There is no such tile.")
        step = 2 ** (last - zoom)
        left, top = x * TILE * step, y * TILE * step
        if not (0 <= left < raster.width and 0 <= top < raster.height):
            raise HTTPException(404, "There is no such tile.")
        width, height = min(TILE * step, raster.width - left), min(TILE * step, raster.height - top)
        shape = (raster.count, -(-height // step), -(-width // step))
        pixels = raster.read(window=Window(left, top, width, height), out_shape=shape)
    tile = np.zeros((len(pixels), TILE, TILE), np.uint8)
    tile[:, : shape[1], : shape[2]] = pixels
    return tile


def _webp_response(pixels: np.ndarray) -> "Response":
    """Return a WebP response of RGBA pixels, uint8 (4, H, W)."""
    from fastapi import Response
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(content, "webp", quality=85, method=2)
    return Response(content.getvalue(), media_type="image/webp", headers=_CACHED)


def _write_pyramid(path: Path, pixels: np.ndarray) -> None:
    """Write pixels, uint8 (bands, H, W), as a tiled GeoTIFF with overviews."""
    rasterio = import_rasterio()
    from rasterio.enums import Resampling

    count, height, width = pixels.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": "uint8"}
    layout = {"tiled": True, "blockxsize": TILE, "blockysize": TILE, "compress": "deflate", "zlevel": 1}
    with gdal_environment():
        with rasterio.open(path, "w", **profile, **layout, interleave="pixel") as file:
            file.write(pixels)
        with rasterio.open(path, "r+") as file:
            file.build_overviews([2**n for n in range(1, _max_zoom(height, width) + 1)], Resampling.average)


def _legend(report: MapReport) -> list[dict[str, Any]]:
    """Return code, name, colour and mapped hectares of each class and of *not sure*."""
    classes = report.metadata.classes
    colours = class_colours(classes)
    codes = [*range(1, len(classes) + 1), NOT_SURE]
    return [
        {"code": code, "name": area.name, "colour": colours[code], "hectares": area.hectares}
        for code, area in zip(codes, report.areas, strict=True)
        if code != NODATA
    ]


def _lattice(grid: Any) -> list[list[list[float]]]:
    """Return longitude and latitude of evenly spread points, by row and column."""
    from rasterio.warp import transform

    columns, rows = np.meshgrid(np.linspace(0, grid.width, _LATTICE), np.linspace(0, grid.height, _LATTICE))
    x, y = grid.transform * (columns.ravel(), rows.ravel())
    points = np.array(transform(grid.crs, "EPSG:4326", x, y)).T.round(7)
    return np.where(np.isfinite(points), points, 0).reshape(_LATTICE, _LATTICE, 2).tolist()
