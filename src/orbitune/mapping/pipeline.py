"""From a scene to a map: parts that outlive a killed process, put together into files that are whole."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.errors import DataError
from orbitune.files import replacing
from orbitune.inference.bundle import Bundle
from orbitune.integrity import file_hash, read_kept, sealed, unsealed, write_sealed_json
from orbitune.mapping import executors
from orbitune.mapping.area_estimation import areas
from orbitune.mapping.dense import WINDOW, DenseHead, fewest_rows
from orbitune.mapping.dense_fit import agreement, fit_readout
from orbitune.mapping.geodesy import size_range
from orbitune.mapping.grid import CellGrid, strides
from orbitune.mapping.options import MapOptions, MapReport, Outputs
from orbitune.mapping.polygons import write_polygons
from orbitune.mapping.preview import write_preview
from orbitune.mapping.radiometry import Scaling, choose_scaling
from orbitune.mapping.raster_source import short_name, state
from orbitune.mapping.reader import Grid, Scene
from orbitune.mapping.worker import Order, Worker, part_is_whole, write_part
from orbitune.mapping.writer import MapRasters, write_confidence, write_map
from orbitune.models.metadata import Brightness
from orbitune.resources import core_count, parse_bytes
from orbitune.training.progress import ProgressDisplay

_BASE_BYTES = 900 << 20  # what the libraries, the model and a batch of it take, whatever the scene
_SMALL_BLOCK = 16 << 20  # bytes of a block of a file that fit whatever the budget
_FAR = 2.5  # standard deviations of the training tiles' brightness
_UNEVEN = 1.25  # times that pixels of a scene may differ in size on the ground before it is warned of


def map_scene(
    source: str | Path,
    scene: str | Path,
    outputs: Outputs,
    request: MapOptions | None = None,
    backbone: str | None = None,
    progress: bool = True,
    say: Callable[[str], None] = lambda line: None,
) -> MapReport:
    """Map a scene. The same call goes on where a killed one was, and writes the same bytes.

    Args:
        source, backbone: the model, as in `Classifier`.
        scene: whatever rasterio opens, see `opening.open_raster`.
        say: called with what was chosen, a line at a time.

    Raises:
        OrbituneError: the model or the scene cannot be used as asked, or the disk is full.
    """
    request = request or MapOptions()
    bundle = Bundle.open(source)
    with Scene(scene, request.bands, request.resolution, request.driver) as opened:
        outputs.check(opened.files)
        check_blocks(opened, request.memory_budget)
        sample = opened.sample()
        tags = () if request.scale else opened.tags
        scaling = choose_scaling(request.scale, opened.dtype, 3, sample, bundle.white, tags)
        grid, files, others = opened.grid, state(opened.files), opened.others
    cells, dense = _cut(request, bundle, grid.height, grid.width)
    order = Order(
        str(source),
        backbone,
        None,
        core_count(),
        opened.name,
        opened.bands,
        request.resolution,
        scaling,
        cells,
        _rows(request.memory_budget, cells, dense),
        request.not_sure == "on",
        request.driver,
    )
    warnings = _warnings(order, bundle, sample, grid)
    facts = _facts(order, request, bundle, grid, dense) | {"bands_source": opened.bands_source}
    if others:
        say(f"{facts['scene']} holds several rasters, and this is the first; another is {others[0]}")
    for line in _choices(facts):
        say(line)
    key = _key(order, dense, bundle, files, sample)
    work = _Work(order, dense, key, outputs.map, progress, say)
    agrees = work.finish(request.engine)
    if agrees:
        facts["agreement"] = agrees
    layers = MapRasters(work.folder, order, grid, bundle.classes, request.grid, facts)
    _write(layers, outputs, sample, scaling)
    report = MapReport(facts, areas(layers, bundle.confusion, outputs.map), warnings, agrees)
    shutil.rmtree(work.folder)
    return report


class _Work:
    """The parts of one map, in a folder beside it until it is done."""

    def __init__(
        self, order: Order, dense: bool, key: str, out: Path, progress: bool, say: Callable[[str], None]
    ) -> None:
        self.folder = out.with_name(f".{out.name}.parts")
        self._dense, self._progress, self._say = dense, progress, say
        self._plan = self.folder / "plan.json"
        known = read_kept(self._plan) or {}
        if known.get("key") != key:
            if known:
                say("what is left of another map of this name is of other inputs or options: starting anew")
            shutil.rmtree(self.folder, ignore_errors=True)
            known = {"key": key, "attention": None}
        self._known = known
        self.order = replace(order, attention=known["attention"])

    def finish(self, engine: str) -> dict[str, Any] | None:
        """Do the parts that are missing; how far a dense map agrees with tile-by-tile answers."""
        worker = Worker(self.order, None)
        try:
            self.order = worker.order = replace(self.order, attention=worker.network.attention)
            write_sealed_json(self._plan, {**self._known, "attention": self.order.attention})
            readout = self._readout(worker) if self._dense else None
            if readout:
                worker.answer_densely(readout)
            self._label(worker, readout, engine)
            return agreement(worker, self.folder) if self._dense else None
        finally:
            worker.close()

    def _readout(self, worker: Worker) -> DenseHead:
        """The linear layer, fitted once for a map."""
        from safetensors.numpy import load, save

        file = self.folder / "readout.safetensors"
        try:
            return DenseHead(**load(unsealed(file.read_bytes())))
        except (OSError, ValueError):  # absent or damaged
            fitted = fit_readout(worker)
            with replacing(file) as temporary:
                temporary.write_bytes(sealed(save({"weight": fitted.weight, "bias": fitted.bias})))
            return fitted

    def _label(self, worker: Worker, readout: DenseHead | None, engine: str) -> None:
        missing = [n for n in range(self.order.parts) if not part_is_whole(self.folder, n)]
        if done := self.order.parts - len(missing):
            self._say(f"going on after {done} of {self.order.parts} parts")
        work = (
            executors.on_ray(self.order, readout, missing)
            if engine == "ray"
            else executors.local(worker, missing)
        )
        with ProgressDisplay(self._progress) as display:
            display.evaluation("mapping", self.order.parts)
            display.evaluated(done)
            for number, labels in work if missing else ():
                write_part(self.folder, number, labels)
                display.evaluated(1)


def _cut(request: MapOptions, bundle: Bundle, height: int, width: int) -> tuple[CellGrid, bool]:
    tile = bundle.tile_size[0]
    if bundle.tile_size[1] != tile:
        raise DataError(
            f"Maps need square tiles, and this model was trained on {tile}x{bundle.tile_size[1]}."
        )
    stride = tile if request.stride is None else request.stride
    if stride not in strides(tile):
        ways = ", ".join(map(str, strides(tile)))
        raise DataError(f"--stride is one of {ways} pixels for tiles of {tile} pixels, not {stride}.")
    if min(height, width) < tile:
        raise DataError(
            f"The scene is {width}x{height} pixels of {request.resolution:g} m, "
            f"smaller than one tile of {tile}."
        )
    dense = request.mode == "dense" or (request.mode == "auto" and 4 * stride <= tile)
    return CellGrid(height, width, stride, tile), dense


def _rows(memory_budget: str, cells: CellGrid, dense: bool) -> int:
    """Rows of cells in a part: as many as the budget holds, in whole windows, and enough parts to resume."""
    budget = parse_bytes(memory_budget)
    # Two parts are in memory, as they were read, scaled, and with the copies that padding makes; tokens of
    # up to 1,024 channels are there three times.
    row = 2 * cells.stride * cells.width * 20 + (cells.columns * 4096 * 3 if dense else 0)
    fewest, step = (fewest_rows(cells), WINDOW) if dense else (1, 1)
    usual = fewest + step  # in the first row of windows most of what tiles share is computed for nothing
    most = (budget - _BASE_BYTES) // row
    if most < fewest:
        needed = (_BASE_BYTES + fewest * row) / 1e9
        raise DataError(f"This scene needs a --memory-budget of {needed:.1f}GB at least.")
    wanted = min(most, max(usual, -(-cells.rows // 16)))
    return int(fewest + (wanted - fewest) // step * step)


def _key(order: Order, dense: bool, bundle: Bundle, files: str, sample: np.ma.MaskedArray) -> str:
    """Return the inputs and options that determine the parts, independent of how paths are spelt.

    Args:
        files: see `opening.state`; of what lies on a server only the pixels in little tell.
    """
    weights = {file.name: file_hash(file) for file in sorted(bundle.folder.glob("*.safetensors"))}
    names = {"source", "backbone", "scene", "driver"}
    determines = {
        **{name: value for name, value in asdict(order).items() if name not in names},
        "files": files,
        "sample": hashlib.sha256(sample.data.tobytes() + np.ma.getmaskarray(sample).tobytes()).hexdigest(),
        "weights": weights,
        "metadata": bundle.metadata.to_json(),
        "dense": dense,
        "version": version("orbitune"),
    }
    return hashlib.sha256(json.dumps(determines, sort_keys=True).encode()).hexdigest()


def check_blocks(scene: Scene, memory_budget: str) -> None:
    """Raise a DataError if a block of the file exceeds the memory: blocks are read whole."""
    budget = parse_bytes(memory_budget)
    needed = _BASE_BYTES + 4 * scene.block_bytes
    if needed > budget and scene.block_bytes > _SMALL_BLOCK:
        raise DataError(
            f"{scene.name} is stored in blocks of {scene.block_bytes / 1e9:.1f} GB: write it in tiles, such "
            f"as with gdal_translate -co TILED=YES IN OUT, or give a --memory-budget of {needed / 1e9:.1f}GB."
        )


def _warnings(order: Order, bundle: Bundle, sample: np.ma.MaskedArray, grid: Grid) -> list[str]:
    found = []
    if order.not_sure and bundle.ood_detector is None:
        found.append(
            "this model does not know what its training tiles are like, so every cell gets a class: make a "
            "bundle of the run with orbitune bundle, or say --not-sure off"
        )
    smallest, largest = size_range(grid.crs, grid.transform, grid.height, grid.width)
    if largest > _UNEVEN * smallest:
        sizes = f"{smallest * order.resolution:.3g} to {largest * order.resolution:.3g} m"
        found.append(
            f"pixels of this scene are {sizes} on the ground, and those of the training tiles are all alike: "
            "cut it, or warp it to UTM"
        )
    valid = ~np.ma.getmaskarray(sample)[0]
    stated = bundle.metadata.data.brightness
    if not valid.any():
        found.append("there is nothing but nodata in this scene")
    elif stated is not None:
        found += _brightness(order.scaling(sample.data)[valid].mean(0), stated)
    return found


def _brightness(means: np.ndarray, stated: Brightness) -> list[str]:
    """Return warnings about bands that differ much from the training tiles."""
    return [
        f"{band} is {mean:.0f} on average here, and {usual:.0f} (tiles differ by {spread:.0f}) in training: "
        "check --bands and --scale"
        for band, mean, usual, spread in zip(
            ("red", "green", "blue"), means, stated.mean, stated.deviation, strict=True
        )
        if abs(mean - usual) > _FAR * spread
    ]


def _facts(order: Order, request: MapOptions, bundle: Bundle, grid: Grid, dense: bool) -> dict[str, Any]:
    return {
        "made_by": f"orbitune {version('orbitune')}",
        "model": bundle.folder.name,
        "classes": list(bundle.classes),
        "scene": short_name(order.scene),
        "pixels": [grid.height, grid.width],
        "bands": list(order.bands),
        "scaling": asdict(order.scaling),
        "resampled_from_metres": grid.resampled,
        "resolution_metres": request.resolution,
        "stride": order.cells.stride,
        "tile": order.cells.tile,
        "mode": "dense" if dense else "tiles",
        "not_sure": order.not_sure and bundle.ood_detector is not None,
        "parts": order.parts,
    }


def _choices(facts: dict[str, Any]) -> Sequence[str]:
    scaling = facts["scaling"]
    ends = ", ".join(
        f"{low:g} to {high:g}" for low, high in zip(scaling["low"], scaling["high"], strict=True)
    )
    lines = [f"scaling: {ends} become 0 to 255 ({scaling['source']})"]
    if facts["resampled_from_metres"]:
        across, down = (
            f"{side:.3g}" if side < 1 else f"{round(side, 1):g}" for side in facts["resampled_from_metres"]
        )
        lines.append(
            f"resampled from {across} x {down} m per pixel to the {facts['resolution_metres']:g} m "
            "of the training tiles"
        )
    if facts["bands_source"] != "given":
        named = ", ".join(
            f"{colour} {band}" for colour, band in zip(("red", "green", "blue"), facts["bands"], strict=True)
        )
        lines.append(f"bands: {named} ({facts['bands_source']})")
    how = "a tile for each" if facts["mode"] == "tiles" else "dense, from tokens that tiles share"
    return [*lines, f"labels: every {facts['stride']} pixels, {how}"]


def _write(layers: MapRasters, outputs: Outputs, sample: np.ma.MaskedArray, scaling: Scaling) -> None:
    write_map(layers, outputs.map)
    if outputs.confidence:
        write_confidence(layers, outputs.confidence)
    if outputs.polygons:
        write_polygons(layers, outputs.polygons, outputs.map)
    if outputs.preview:
        write_preview(layers, outputs.preview, scaling(sample.data))
