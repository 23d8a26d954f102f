"""Plan of a map: all that is fixed before the first cell is labelled."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from orbitune.errors import DataError
from orbitune.inference.bundle import Bundle
from orbitune.integrity import file_hash
from orbitune.mapping.area_of_interest import AreaOfInterest
from orbitune.mapping.dense import WINDOW_TOKENS, min_rows
from orbitune.mapping.grid import CellGrid, valid_strides
from orbitune.mapping.job_spec import JobSpec
from orbitune.mapping.map_report import MapMetadata, SceneRecord
from orbitune.mapping.options import MapOptions
from orbitune.mapping.outputs.table import check_output_paths
from orbitune.mapping.plan_messages import (
    messages_about_others,
    overview_warnings,
    plan_messages,
    scene_warnings,
)
from orbitune.mapping.scene.mosaic import Mosaic, SceneSpec
from orbitune.mapping.scene.radiometry import ReflectanceScaling, choose_scaling
from orbitune.mapping.scene.raster_grid import RasterGrid
from orbitune.mapping.scene.raster_io import short_name, stat_digest
from orbitune.mapping.scene.reader import Scene
from orbitune.resources import core_count, parse_bytes

_BASE_BYTES = 900 << 20  # memory of the libraries, the model and a batch, for any scene
_SMALL_BLOCK = 16 << 20  # bytes of a block that fit into any budget
_PIXEL_BYTES = 20  # per pixel of two parts in memory: as read, scaled, and padded copies
_TOKEN_BYTES = 3 * 4096  # per cell of dense prediction: three copies of up to 1,024 float32 channels
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
        overview: the scaled scene, uint8 (h, w, 3), downsampled, and masked where it has no data.
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
    with _open_scenes(scenes, options) as opened:
        files = [file for scene in opened for file in scene.files]
        check_output_paths(paths, files)
        samples, scalings = [], []
        for scene in opened:
            check_blocks(scene, options.memory_budget)
            samples.append(scene.sample())
            tags = () if options.scale else scene.tags
            scaling = choose_scaling(
                options.scale, scene.dtype, sample=samples[-1], scale_max=bundle.scale_max, tags=tags
            )
            scalings.append(scaling)
        records = [_scene_record(scene, scaling) for scene, scaling in zip(opened, scalings, strict=True)]
        others = [(scene.name, scene.other_rasters) for scene in opened]
        digest = stat_digest(files)
        mosaic = Mosaic(opened, resolution=options.resolution)
        overview = mosaic.overview(scalings)
        specs = tuple(
            SceneSpec(scene.name, scene.bands, scaling)
            for scene, scaling in zip(opened, scalings, strict=True)
        )
    aoi = None if options.aoi is None else AreaOfInterest.load(options.aoi, mosaic.grid)
    cells, dense = _cell_grid(options, bundle, mosaic.grid, aoi)
    spec = JobSpec(
        source=str(source),
        backbone=backbone,
        attention=None,
        threads=core_count(),
        scenes=specs,
        resolution=options.resolution,
        cells=cells,
        rows=_rows_per_part(options.memory_budget, cells, dense),
        not_sure=options.not_sure,
        driver=options.driver,
        aoi=aoi,
    )
    metadata = _metadata(spec, bundle, records, mosaic.grid, dense)
    return MapPlan(
        spec=spec,
        bundle=bundle,
        grid=mosaic.grid,
        native_grid=mosaic.native_grid,
        pixel_grid=options.grid,
        dense=dense,
        overview=overview,
        metadata=metadata,
        messages=(*messages_about_others(others), *plan_messages(metadata, records)),
        warnings=(*scene_warnings(spec, bundle, grid=mosaic.grid), *overview_warnings(bundle, overview)),
        key=_key(spec, bundle, dense=dense, files=digest, samples=samples),
    )


@contextmanager
def _open_scenes(names: Sequence[str | Path], options: MapOptions) -> Iterator[list[Scene]]:
    """Open scenes by the options, and close them after the block."""
    if not names:
        raise DataError("Name at least one scene.")
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                Scene(name, options.bands, resolution=options.resolution, driver=options.driver)
            )
            for name in names
        ]


def check_blocks(scene: Scene, memory_budget: str) -> None:
    """Check that a block of the file fits into the memory budget.

    GDAL reads whole blocks.

    Args:
        scene: the open scene.
        memory_budget: bytes.

    Raises:
        DataError: a block is larger.
    """
    budget = parse_bytes(memory_budget)
    needed = _BASE_BYTES + 4 * scene.block_bytes
    if needed > budget and scene.block_bytes > _SMALL_BLOCK:
        raise DataError(
            f"{scene.name} is stored in blocks of {scene.block_bytes / 1e9:.1f} GB: write it in tiles, such "
            f"as with gdal_translate -co TILED=YES IN OUT, or give a --memory-budget of {needed / 1e9:.1f}GB."
        )


def _cell_grid(
    options: MapOptions, bundle: Bundle, grid: RasterGrid, aoi: AreaOfInterest | None
) -> tuple[CellGrid, bool]:
    """Return the grid of cells, and whether they are predicted densely."""
    tile = bundle.tile_size[0]
    if bundle.tile_size[1] != tile:
        raise DataError(
            f"Maps need square tiles, but this model was trained on {tile}x{bundle.tile_size[1]}."
        )
    stride = tile if options.stride is None else options.stride
    if stride not in valid_strides(tile):
        choices = ", ".join(map(str, valid_strides(tile)))
        raise DataError(f"--stride must be one of {choices} pixels for tiles of {tile} pixels, not {stride}.")
    if min(grid.height, grid.width) < tile:
        raise DataError(
            f"The scene is {grid.width}x{grid.height} pixels of {options.resolution:g} m, "
            f"smaller than one tile of {tile}."
        )
    dense = options.mode == "dense" or (options.mode == "auto" and 4 * stride <= tile)
    if aoi is None:
        return CellGrid(grid.height, grid.width, stride, tile), dense
    top, left, bottom, right = aoi.bounds
    top, left = top - top % stride, left - left % stride  # on the cells of the whole scene
    bottom, right = (
        min(-(-bottom // stride) * stride, grid.height),
        min(-(-right // stride) * stride, grid.width),
    )
    return CellGrid(bottom - top, right - left, stride, tile, top=top, left=left), dense


def _rows_per_part(memory_budget: str, cells: CellGrid, dense: bool) -> int:
    """Return the rows of cells per part that fit the budget, in whole windows."""
    budget = parse_bytes(memory_budget)
    row = 2 * cells.stride * cells.width * _PIXEL_BYTES + (cells.columns * _TOKEN_BYTES if dense else 0)
    fewest, step = (min_rows(cells), WINDOW_TOKENS) if dense else (1, 1)
    most = (budget - _BASE_BYTES) // row
    if most < fewest:
        needed = (_BASE_BYTES + fewest * row) / 1e9
        raise DataError(f"This scene needs a --memory-budget of {needed:.1f}GB at least.")
    # Parts overlap by the margin of their tiles, so those of a single row of windows waste most work.
    usual = max(fewest + step, -(-cells.rows // _MIN_PARTS))
    return int(fewest + (min(most, usual) - fewest) // step * step)


def _scene_record(scene: Scene, scaling: ReflectanceScaling) -> SceneRecord:
    """Return how a scene is read."""
    return SceneRecord(
        scene=short_name(scene.name),
        bands=scene.bands,
        bands_source=scene.bands_source,
        scaling=scaling,
        resampled_from_metres=scene.grid.resampled_from,
    )


def _metadata(
    spec: JobSpec, bundle: Bundle, scenes: Sequence[SceneRecord], grid: RasterGrid, dense: bool
) -> MapMetadata:
    """Return the metadata of a map that is yet to be computed."""
    return MapMetadata(
        **dict(scenes[0]),
        made_by=f"orbitune {version('orbitune')}",
        model=bundle.folder.name,
        classes=bundle.classes,
        pixels=(grid.height, grid.width),
        resolution_metres=spec.resolution,
        stride=spec.cells.stride,
        tile=spec.cells.tile,
        mode="dense" if dense else "tiles",
        not_sure=spec.not_sure and bundle.ood_detector is not None,
        parts=spec.parts,
        other_scenes=tuple(scenes[1:]),
        aoi=None if spec.aoi is None else spec.aoi.name,
        confusion=bundle.metadata.confusion,
    )


def _key(
    spec: JobSpec, bundle: Bundle, *, dense: bool, files: str, samples: Sequence[np.ma.MaskedArray]
) -> str:
    """Return a digest of all inputs and options that determine the parts.

    Args:
        files: see `raster_io.stat_digest`; a scene on a server is known by the pixels of its overview alone.
        samples: overview of each scene.
    """
    spelling = {"source", "backbone", "scenes", "driver"}
    determines = {
        **{name: value for name, value in asdict(spec).items() if name not in spelling},
        "scenes": [(each.bands, each.scaling.to_json()) for each in spec.scenes],
        "files": files,
        "samples": [
            hashlib.sha256(each.data.tobytes() + np.ma.getmaskarray(each).tobytes()).hexdigest()
            for each in samples
        ],
        "weights": {file.name: file_hash(file) for file in sorted(bundle.folder.glob("*.safetensors"))},
        "metadata": bundle.metadata.to_json(),
        "dense": dense,
        "version": version("orbitune"),
    }
    return hashlib.sha256(json.dumps(determines, sort_keys=True).encode()).hexdigest()
