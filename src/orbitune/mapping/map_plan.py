"""Plan of a map: all that is fixed before the first cell is labelled."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from orbitune.data.preview import rgb_preview
from orbitune.errors import DataError
from orbitune.inference.bundle import Bundle
from orbitune.integrity import file_hash
from orbitune.mapping.area_of_interest import AreaOfInterest
from orbitune.mapping.areas.analysis import derived_files
from orbitune.mapping.dense.predictor import MIN_FIT, WINDOW_TOKENS, min_rows
from orbitune.mapping.grid import CellGrid, valid_strides
from orbitune.mapping.job_spec import JobSpec
from orbitune.mapping.label_sets.planes import thresholds_of
from orbitune.mapping.label_sets.requests import check_request
from orbitune.mapping.map_report import MapMetadata
from orbitune.mapping.nearby import from_degrees
from orbitune.mapping.options import MapOptions
from orbitune.mapping.outputs.table import check_output_paths
from orbitune.mapping.plan_messages import (
    band_warnings,
    encoding_warnings,
    messages_about_others,
    overview_warnings,
    plan_messages,
    scene_warnings,
    size_warnings,
)
from orbitune.mapping.scene.raster_grid import RasterGrid
from orbitune.mapping.scene_inputs import BASE_BYTES, SceneInputs, enough
from orbitune.mapping.smoothing import Smoothing
from orbitune.models.preprocessing import Preprocessing
from orbitune.resources import core_count, parse_bytes
from orbitune.sources.band_names import COLOURS

_PIXEL_BYTES = 20  # per pixel of two parts in memory, 8-bit RGB: as read, scaled, and padded copies
_TOKEN_BYTES = 3 * 4096  # per cell of dense prediction: three copies of up to 1,024 float32 channels
_PLANE_BYTES = 20  # per cell and class of a smoothed map: probabilities, and float32 means in the making
_MIN_PARTS = 16  # so that a killed map has something to resume


@dataclass(frozen=True)
class MapPlan:
    """Decisions about a map that are made before it is computed.

    Attributes:
        spec: the work of its workers.
        bundle: the model.
        grid: pixel grid of the scene at the training resolution.
        native_grid: pixel grid of the scene's file.
        pixel_grid: `scene` or `cells`, see `MapOptions.grid`.
        dense: whether cells are predicted densely.
        overview: the scaled scene in colours, uint8 (h, w, 3), downsampled, and masked where it has no data.
        metadata: for the tags of the map.
        messages: lines about the choices that were made.
        warnings: what may make the map wrong.
        key: digest of all inputs and options that determine the parts.
    """

    spec: JobSpec
    bundle: Bundle
    grid: RasterGrid
    native_grid: RasterGrid
    pixel_grid: str
    dense: bool
    overview: np.ma.MaskedArray
    metadata: MapMetadata
    messages: tuple[str, ...]
    warnings: tuple[str, ...]
    key: str


def plan_map(
    source: str | Path,
    scenes: Sequence[str | Path],
    *,
    paths: Mapping[str, Path],
    options: MapOptions,
    backbone: str | None = None,
) -> MapPlan:
    """Open model and scene, and choose scaling, grid of cells and size of the parts.

    Args:
        source, backbone: the model, as in `Classifier`.
        scenes: see `raster_io.open_raster`; the first with data counts where they overlap.
        paths: files to write, by name of the output.

    Raises:
        OrbituneError: the model or the scene cannot be used with these options.
    """
    bundle = Bundle.open(source)
    check_request(bundle, options, outputs=paths)
    inputs = SceneInputs.read(scenes, options, model=bundle.metadata)
    aoi = None if options.aoi is None else AreaOfInterest.load(options.aoi, inputs.grid)
    named = (options.aoi, options.reference, options.zones, options.compare)
    files = [*inputs.files, *(Path(path) for path in named if path is not None)]
    check_output_paths(paths, files, derived=derived_files(options, paths))
    cells = _cell_grid(options, bundle, grid=inputs.grid, aoi=aoi)
    dense = _is_dense(options, bundle, cells=cells)
    if dense and np.ma.getmaskarray(inputs.overview).all():
        raise DataError("The scene holds no data to map: all pixels of its overview are nodata.")
    used = bundle.metadata.preprocessing
    spec = JobSpec(
        source=str(source),
        backbone=backbone,
        attention=None,
        threads=core_count(),
        scenes=inputs.specs,
        resolution=options.resolution,
        cells=cells,
        rows=_rows_per_part(
            options.memory_budget,
            cells,
            cell_bytes=_cell_bytes(bundle, cells, dense=dense),
            dense=dense,
            used=used,
        ),
        not_sure=options.not_sure,
        driver=options.driver,
        aoi=aoi,
        adapted=inputs.adapted,
        smoothing=_smoothing(bundle, cells.tile, not_sure=options.not_sure),
    )
    metadata = _metadata(spec, bundle, inputs=inputs, dense=dense, scale=options.scale)
    return MapPlan(
        spec=spec,
        bundle=bundle,
        grid=inputs.grid,
        native_grid=inputs.native_grid,
        pixel_grid=options.grid,
        dense=dense,
        overview=np.ma.asarray(rgb_preview(inputs.overview, bundle.metadata.preprocessing.bands)),
        metadata=metadata,
        messages=(*messages_about_others(inputs.others), *plan_messages(metadata, inputs.records)),
        warnings=(
            *scene_warnings(spec, bundle, grid=inputs.grid),
            *size_warnings(inputs.records, resolution=options.resolution),
            *band_warnings(inputs.records),
            *encoding_warnings(inputs.records),
            *overview_warnings(bundle, inputs.overview),
        ),
        key=_key(spec, bundle, dense=dense, scenes=inputs.digest),
    )


def _cell_grid(
    options: MapOptions, bundle: Bundle, *, grid: RasterGrid, aoi: AreaOfInterest | None
) -> CellGrid:
    """Return the grid of cells."""
    tile = bundle.tile_size[0]
    if bundle.tile_size[1] != tile:
        raise DataError(
            f"Maps need square tiles, but this model was trained on {tile}x{bundle.tile_size[1]}."
        )
    window = _window(options, bundle, tile=tile)
    what = "tile" if window == tile else "window"
    stride = window if options.stride is None else options.stride
    if stride not in valid_strides(window):
        choices = ", ".join(map(str, valid_strides(window)))
        # A larger stride has a window as large, see `_window`.
        larger = f", or {window + 1} to {tile}" if options.window is None and window < tile else ""
        raise DataError(
            f"--stride must be one of {choices} pixels for {what}s of {window} pixels{larger}, not {stride}."
        )
    if min(grid.height, grid.width) < window:
        raise DataError(
            f"The scene is {grid.width}x{grid.height} pixels of {options.resolution:g} m, "
            f"smaller than one {what} of {window}."
        )
    if aoi is None:
        return CellGrid(grid.height, grid.width, stride, window)
    top, left, bottom, right = aoi.bounds
    top, left = top - top % stride, left - left % stride  # on the cells of the whole scene
    bottom, right = (
        min(-(-bottom // stride) * stride, grid.height),
        min(-(-right // stride) * stride, grid.width),
    )
    return CellGrid(bottom - top, right - left, stride, window, top=top, left=left)


def _is_dense(options: MapOptions, bundle: Bundle, *, cells: CellGrid) -> bool:
    """Return whether cells are predicted densely: by default where that is faster."""
    if options.mode != "auto":
        return options.mode == "dense"
    if bundle.task.name != "single-label" or cells.rows * cells.columns <= MIN_FIT:
        return False
    by_patches = cells.stride == cells.tile and bundle.patch_head(cells.tile) is not None
    return 4 * cells.stride <= bundle.tile_size[0] and not by_patches


def _window(options: MapOptions, bundle: Bundle, *, tile: int) -> int:
    """Return the side of the ground that a cell is labelled from, in pixels."""
    smallest = bundle.metadata.data.window or tile
    if options.window is None:
        # A larger stride needs a window that covers it.
        return max(smallest, min(options.stride or 0, tile))
    if not smallest <= options.window <= tile:
        known = f"{smallest} to {tile}" if smallest < tile else f"{tile}"
        raise DataError(f"--window must be {known} pixels, as this model was trained, not {options.window}.")
    return options.window


def _smoothing(bundle: Bundle, window: int, *, not_sure: bool) -> Smoothing | None:
    """Return how a map is smoothed; None for one that is not."""
    if (head := bundle.patch_head(window)) is None:
        return None
    return Smoothing(head.min_confidence if not_sure and bundle.ood_detector else 0.0, head.confidence)


def _cell_bytes(bundle: Bundle, cells: CellGrid, *, dense: bool) -> int:
    """Return the memory of the labels of a cell, beside that of its pixels."""
    planes = len(bundle.classes) + 1 if bundle.patch_head(cells.tile) else 0
    return planes * _PLANE_BYTES + (_TOKEN_BYTES if dense else 0)


def _rows_per_part(
    memory_budget: str, cells: CellGrid, *, cell_bytes: int, dense: bool, used: Preprocessing
) -> int:
    """Return the rows of cells per part that fit the budget, in whole windows.

    Args:
        cell_bytes: of `_cell_bytes`.
    """
    budget = parse_bytes(memory_budget)
    values = len(used.bands) * np.dtype(used.dtype).itemsize
    pixel = -(-_PIXEL_BYTES * values // len(COLOURS))
    row = 2 * cells.stride * cells.width * pixel + cells.columns * cell_bytes
    fewest, step = (min_rows(cells), WINDOW_TOKENS) if dense else (1, 1)
    most = (budget - BASE_BYTES) // row
    if most < fewest:
        needed = enough(BASE_BYTES + fewest * row)
        raise DataError(f"This scene needs a --memory-budget of {needed} at least.")
    # Parts overlap by the margin of their tiles, so those of a single row of windows waste most work.
    usual = max(fewest + step, -(-cells.rows // _MIN_PARTS))
    return int(fewest + (min(most, usual) - fewest) // step * step)


def _metadata(spec: JobSpec, bundle: Bundle, *, inputs: SceneInputs, dense: bool, scale: str) -> MapMetadata:
    """Return the metadata of a map that is yet to be computed."""
    return MapMetadata(
        **dict(inputs.records[0]),
        adapted_at=_adapted_at(bundle, inputs.grid),
        model_bands=bundle.metadata.preprocessing.bands,
        made_by=f"orbitune {version('orbitune')}",
        model=bundle.name,
        classes=bundle.classes,
        thresholds=thresholds_of(bundle),
        pixels=(inputs.grid.height, inputs.grid.width),
        resolution_metres=spec.resolution,
        stride=spec.cells.stride,
        tile=spec.cells.tile,
        mode="dense" if dense else "tiles",
        patch_head=spec.smoothing is not None,
        scale=scale,
        not_sure=spec.not_sure and bundle.ood_detector is not None,
        parts=spec.parts,
        other_scenes=inputs.records[1:],
        aoi=None if spec.aoi is None else spec.aoi.name,
        confusion=bundle.metadata.confusion,
        confusion_tile=bundle.tile_size[0],
    )


def _adapted_at(bundle: Bundle, grid: RasterGrid) -> tuple[tuple[float, float], ...]:
    """Return longitude and latitude of the labelled points in a grid that a model was adapted to."""
    if (adaptation := bundle.metadata.adaptation) is None:
        return ()
    places = [place.degrees for place in (*adaptation.earlier, *adaptation.places)]
    _, inside = grid.locate(*from_degrees(places, grid.crs))
    return tuple(
        (round(longitude, 6), round(latitude, 6))
        for (longitude, latitude), within in zip(places, inside, strict=True)
        if within
    )


def _key(spec: JobSpec, bundle: Bundle, *, dense: bool, scenes: str) -> str:
    """Return a digest of all inputs and options that determine the parts.

    Args:
        scenes: digest of the scenes, see `SceneInputs`.
    """
    spelling = {"source", "backbone", "scenes", "driver"}
    determines = {
        **{name: value for name, value in asdict(spec).items() if name not in spelling},
        "scenes": scenes,
        "weights": {file.name: file_hash(file) for file in sorted(bundle.folder.glob("*.safetensors"))},
        "metadata": bundle.metadata.to_json(),
        "dense": dense,
        "version": version("orbitune"),
    }
    return hashlib.sha256(json.dumps(determines, sort_keys=True).encode()).hexdigest()
