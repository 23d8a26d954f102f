"""Plan of a map: all that is fixed before the first cell is labelled."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from orbitune.errors import DataError
from orbitune.inference.bundle import Bundle
from orbitune.integrity import file_hash
from orbitune.mapping.dense import WINDOW_TOKENS, min_rows
from orbitune.mapping.grid import CellGrid, valid_strides
from orbitune.mapping.job_spec import JobSpec
from orbitune.mapping.map_report import MapMetadata
from orbitune.mapping.options import MapOptions
from orbitune.mapping.outputs.table import check_output_paths
from orbitune.mapping.scene.encoding import Encoding
from orbitune.mapping.scene.geodesy import size_range
from orbitune.mapping.scene.radiometry import ReflectanceScaling, choose_scaling, parse_scale
from orbitune.mapping.scene.raster_io import short_name, stat_digest
from orbitune.mapping.scene.reader import RasterGrid, Scene
from orbitune.resources import core_count, parse_bytes

_BASE_BYTES = 900 << 20  # memory of the libraries, the model and a batch, for any scene
_SMALL_BLOCK = 16 << 20  # bytes of a block that fit into any budget
_PIXEL_BYTES = 20  # per pixel of two parts in memory: as read, scaled, and padded copies
_TOKEN_BYTES = 3 * 4096  # per cell of dense prediction: three copies of up to 1,024 float32 channels
_MIN_PARTS = 16  # so that a killed map has something to resume
_MAX_BRIGHTNESS_DEVIATION = 2.5  # standard deviations of the training tiles' brightness
_MAX_SIZE_RATIO = 1.25  # of pixel sizes on the ground within a scene
_COLOURS = ("red", "green", "blue")


@dataclass(frozen=True)
class MapPlan:
    """Decisions about a map that are made before it is computed.

    Attributes:
        spec: the work of its workers.
        bundle: the model.
        grid: pixel grid of the scene.
        pixel_grid: `scene` or `cells`, see `MapOptions.grid`.
        dense: whether cells are predicted densely.
        sample: overview of the scene (bands, h, w), masked where it has no data.
        metadata: for the tags of the map.
        messages: lines about the choices that were made.
        warnings: what may make the map wrong.
        key: digest of all inputs and options that determine the parts.
    """

    spec: JobSpec
    bundle: Bundle
    grid: RasterGrid
    pixel_grid: str
    dense: bool
    sample: np.ma.MaskedArray
    metadata: MapMetadata
    messages: tuple[str, ...]
    warnings: tuple[str, ...]
    key: str


def plan_map(
    source: str | Path,
    scene: str | Path,
    *,
    paths: Mapping[str, Path],
    options: MapOptions,
    backbone: str | None = None,
) -> MapPlan:
    """Open model and scene, and choose scaling, grid of cells and size of the parts.

    Args:
        source, backbone: the model, as in `Classifier`.
        scene: see `raster_io.open_raster`.
        paths: files to write, by name of the output.

    Raises:
        OrbituneError: the model or the scene cannot be used with these options.
    """
    bundle = Bundle.open(source)
    with Scene(scene, options.bands, resolution=options.resolution, driver=options.driver) as opened:
        check_output_paths(paths, opened.files)
        check_blocks(opened, options.memory_budget)
        if len(opened.bands) != len(_COLOURS):
            raise DataError("Give three bands, red, green and blue, such as --bands B04,B03,B02.")
        sample = opened.sample()
        scaling, encoding = _radiometry(options, bundle, scene=opened, sample=sample)
        digest, others = stat_digest(opened.files), opened.other_rasters
    cells, dense = _cell_grid(options, bundle, opened.grid)
    spec = JobSpec(
        source=str(source),
        backbone=backbone,
        attention=None,
        threads=core_count(),
        scene=opened.name,
        bands=opened.bands,
        resolution=options.resolution,
        scaling=scaling,
        cells=cells,
        rows=_rows_per_part(options.memory_budget, cells, dense),
        not_sure=options.not_sure,
        driver=options.driver,
    )
    metadata = _metadata(spec, bundle, scene=opened, encoding=encoding, dense=dense)
    return MapPlan(
        spec=spec,
        bundle=bundle,
        grid=opened.grid,
        pixel_grid=options.grid,
        dense=dense,
        sample=sample,
        metadata=metadata,
        messages=(*_messages_about_others(metadata.scene, others), *_messages(metadata)),
        warnings=(
            *_warnings(spec, bundle, opened.grid),
            *_encoding_warnings(encoding),
            *_sample_warnings(spec, bundle, sample),
        ),
        key=_key(spec, bundle, dense=dense, files=digest, sample=sample),
    )


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


def _cell_grid(options: MapOptions, bundle: Bundle, grid: RasterGrid) -> tuple[CellGrid, bool]:
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
    return CellGrid(grid.height, grid.width, stride, tile), dense


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


def _radiometry(
    options: MapOptions, bundle: Bundle, *, scene: Scene, sample: np.ma.MaskedArray
) -> tuple[ReflectanceScaling, Encoding | None]:
    """Return the scaling of a scene, and its encoding unless the user gave the scaling."""
    if options.scale:
        return parse_scale(options.scale, sample), None
    encoding = scene.recognise_encoding(sample)
    return choose_scaling(encoding, sample=sample, scale_max=bundle.scale_max), encoding


def _metadata(
    spec: JobSpec, bundle: Bundle, *, scene: Scene, encoding: Encoding | None, dense: bool
) -> MapMetadata:
    """Return the metadata of a map that is yet to be computed."""
    return MapMetadata(
        made_by=f"orbitune {version('orbitune')}",
        model=bundle.folder.name,
        classes=bundle.classes,
        scene=short_name(spec.scene),
        pixels=(scene.grid.height, scene.grid.width),
        bands=spec.bands,
        band_names=scene.selection.names,
        bands_source=scene.selection.source,
        encoding=encoding,
        scaling=spec.scaling,
        resampled_from_metres=scene.grid.resampled_from,
        resolution_metres=spec.resolution,
        stride=spec.cells.stride,
        tile=spec.cells.tile,
        mode="dense" if dense else "tiles",
        not_sure=spec.not_sure and bundle.ood_detector is not None,
        parts=spec.parts,
    )


def _key(spec: JobSpec, bundle: Bundle, *, dense: bool, files: str, sample: np.ma.MaskedArray) -> str:
    """Return a digest of all inputs and options that determine the parts.

    Args:
        files: see `raster_io.stat_digest`; a scene on a server is known by the pixels of its overview alone.
    """
    spelling = {"source", "backbone", "scene", "driver"}
    determines = {
        **{name: value for name, value in asdict(spec).items() if name not in spelling},
        "files": files,
        "sample": hashlib.sha256(sample.data.tobytes() + np.ma.getmaskarray(sample).tobytes()).hexdigest(),
        "weights": {file.name: file_hash(file) for file in sorted(bundle.folder.glob("*.safetensors"))},
        "metadata": bundle.metadata.to_json(),
        "dense": dense,
        "version": version("orbitune"),
    }
    return hashlib.sha256(json.dumps(determines, sort_keys=True).encode()).hexdigest()


def _messages(metadata: MapMetadata) -> list[str]:
    """Return lines about scaling, resampling, bands and labels."""
    scaling = metadata.scaling
    ends = zip(scaling.low, scaling.high, strict=True)
    ranges = ", ".join(f"{low:g} to {high:g}" for low, high in ends)
    lines = [f"scaling: {ranges} become 0 to 255 ({scaling.source})"]
    if metadata.resampled_from_metres:
        across, down = (
            f"{side:.3g}" if side < 1 else f"{round(side, 1):g}" for side in metadata.resampled_from_metres
        )
        lines.append(
            f"resampled from {across} x {down} m per pixel to the {metadata.resolution_metres:g} m "
            "of the training tiles"
        )
    if metadata.bands_source != "given":
        pairs = zip(_COLOURS, metadata.bands, strict=True)
        named = ", ".join(f"{colour} {band}" for colour, band in pairs)
        lines.append(f"bands: {named} ({metadata.bands_source})")
    if metadata.encoding is not None:
        lines.append(f"encoding: {metadata.encoding.describe()}")
    how = "tile by tile" if metadata.mode == "tiles" else "dense (tiles share tokens)"
    return [*lines, f"labels: every {metadata.stride} pixels, {how}"]


def _messages_about_others(scene: str, others: list[str]) -> list[str]:
    """Return a line if the file holds more rasters than the one that is mapped."""
    if not others:
        return []
    return [f"{scene} holds several rasters, and this is the first; another is {others[0]}"]


def _warnings(spec: JobSpec, bundle: Bundle, grid: RasterGrid) -> list[str]:
    """Return warnings about the model and the projection."""
    found = []
    if spec.not_sure and bundle.ood_detector is None:
        found.append(
            "this model has no out-of-distribution detector, so every cell gets a class: make a bundle of "
            "the run with orbitune bundle, or use --no-not-sure"
        )
    smallest, largest = size_range(grid.crs, grid.transform, height=grid.height, width=grid.width)
    if largest > _MAX_SIZE_RATIO * smallest:
        sizes = f"{smallest * spec.resolution:.3g} to {largest * spec.resolution:.3g} m"
        found.append(
            f"pixels of this scene are {sizes} on the ground, and those of the training tiles are all alike: "
            "cut it, or warp it to UTM"
        )
    return found


def _encoding_warnings(encoding: Encoding | None) -> list[str]:
    """Return a warning if it cannot be told how the scene is encoded."""
    if encoding is None or encoding.certain:
        return []
    return [
        f"cannot tell how this scene is encoded, taken as {encoding.describe()}: give the range of "
        "values with --scale, such as 0:2750 for digital numbers, or 1000:3750 for those with an offset"
    ]


def _sample_warnings(spec: JobSpec, bundle: Bundle, sample: np.ma.MaskedArray) -> list[str]:
    """Return warnings about an empty scene, or brightness unlike the training tiles'."""
    valid = ~np.ma.getmaskarray(sample)[0]
    if not valid.any():
        return ["there is nothing but nodata in this scene"]
    stated = bundle.metadata.data.brightness
    if stated is None:
        return []
    means = spec.scaling(sample.data)[valid].mean(0)
    bands = zip(_COLOURS, means, stated.mean, stated.deviation, strict=True)
    return [
        f"{band} is {mean:.0f} on average here, and {usual:.0f} (tiles differ by {deviation:.0f}) in "
        "training: check --bands and --scale"
        for band, mean, usual, deviation in bands
        if abs(mean - usual) > _MAX_BRIGHTNESS_DEVIATION * deviation
    ]
