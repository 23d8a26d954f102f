"""Lines about a map before it is computed: settings and warnings."""

from collections.abc import Sequence

import numpy as np

from orbitune.inference.bundle import Bundle
from orbitune.mapping.job_spec import JobSpec
from orbitune.mapping.map_report import MapMetadata, SceneRecord
from orbitune.mapping.scene.bands import UNSTATED
from orbitune.mapping.scene.encoding import NO_DATA
from orbitune.mapping.scene.geodesy import size_range
from orbitune.mapping.scene.raster_grid import RasterGrid
from orbitune.mapping.scene.raster_io import short_name
from orbitune.sources.band_names import COLOURS

_MAX_BRIGHTNESS_DEVIATION = 2.5  # standard deviations of the training tiles' brightness
_MAX_SIZE_RATIO = 1.25  # of pixel sizes on the ground within a scene
_COARSE = 4  # times the side of a pixel of the training tiles; Landsat, 3 times, is not warned of
_EXAMPLES = {"uint8": ("0:2750", "1000:3750"), "uint16": ("0:10000", "1000:11000")}  # of --scale


def messages_about_others(scenes: Sequence[tuple[str, list[str]]]) -> list[str]:
    """Return a line for each file that holds more rasters than the mapped one."""
    return [
        f"{short_name(name)} holds several rasters, and this is the first; another is {others[0]}"
        for name, others in scenes
        if others
    ]


def plan_messages(metadata: MapMetadata, scenes: Sequence[SceneRecord]) -> list[str]:
    """Return lines about scaling, resampling, bands and labels."""
    lines = []
    for scene in scenes:
        prefix = f"{scene.scene}: " if len(scenes) > 1 else ""
        lines += [f"{prefix}{line}" for line in _messages_about_scene(scene, metadata)]
    how = "tile by tile" if metadata.mode == "tiles" else "dense (tiles share tokens)"
    if metadata.patch_head:
        how += f", from the patches of windows of {metadata.tile} pixels, smoothed"
    return [*lines, f"labels: every {metadata.stride} pixels, {how}"]


def _messages_about_scene(scene: SceneRecord, metadata: MapMetadata) -> list[str]:
    """Return lines about scaling, resampling, bands and encoding of a scene."""
    scaling = scene.scaling
    ends = [f"{low:g} to {high:g}" for low, high in zip(scaling.low, scaling.high, strict=True)]
    if len(ends) > len(COLOURS) and len(set(ends)) == 1:
        ends = [f"{ends[0]} in each band"]
    lines = [f"scaling: {', '.join(ends)} become 0 to {scaling.top} ({scaling.source})"]
    if scene.resampled_from_metres:
        across, down = (
            f"{side:.3g}" if side < 1 else f"{round(side, 1):g}" for side in scene.resampled_from_metres
        )
        lines.append(
            f"resampled from {across} x {down} m per pixel to the {metadata.resolution_metres:g} m of the "
            "training tiles"
        )
    if scene.bands_source != "given":
        pairs = zip(metadata.model_bands, scene.bands, strict=True)
        named = ", ".join(f"{name} {band}" for name, band in pairs)
        lines.append(f"bands: {named} ({scene.bands_source})")
    if scene.encoding is not None:
        lines.append(f"encoding: {scene.encoding.describe()}")
    return lines


def scene_warnings(spec: JobSpec, bundle: Bundle, *, grid: RasterGrid) -> list[str]:
    """Return warnings about the model and the projection."""
    found = []
    if spec.not_sure and bundle.ood_detector is None:
        found.append(
            "this model has no out-of-distribution detector, so every cell gets a class: make a bundle of "
            "the run with orbitune bundle (of 20 validation tiles or more), or use --no-not-sure"
        )
    smallest, largest = size_range(grid.crs, grid.transform, height=grid.height, width=grid.width)
    if largest > _MAX_SIZE_RATIO * smallest:
        sizes = f"{smallest * spec.resolution:.3g} to {largest * spec.resolution:.3g} m"
        found.append(
            f"pixels of this scene are {sizes} on the ground, and those of the training tiles are all alike: "
            "cut it, or warp it to UTM"
        )
    return found


def size_warnings(scenes: Sequence[SceneRecord], *, resolution: float) -> list[str]:
    """Return a warning for each scene whose pixels are much larger than those of the training tiles.

    Args:
        resolution: metres per pixel of the tiles.
    """
    return [
        f"pixels of {scene.scene} are {max(scene.resampled_from_metres):.3g} m, and those of the training "
        f"tiles {resolution:g} m: the map shows what the model makes of blurred ground"
        for scene in scenes
        if scene.resampled_from_metres and max(scene.resampled_from_metres) > _COARSE * resolution
    ]


def band_warnings(scenes: Sequence[SceneRecord]) -> list[str]:
    """Return a warning for each scene that does not state which bands are red, green and blue."""
    return [
        f"nothing in {scene.scene} states which bands are red, green and blue, so the first three are taken: "
        "check the colours, or give --bands, such as 3,2,1 where blue comes first"
        for scene in scenes
        if scene.bands_source == UNSTATED
    ]


def encoding_warnings(scenes: Sequence[SceneRecord]) -> list[str]:
    """Return a warning for each scene with data whose encoding cannot be told."""
    lines = []
    for scene in scenes:
        if (found := scene.encoding) and not found.certain and NO_DATA not in found.evidence:
            without, with_offset = _EXAMPLES[scene.scaling.dtype]
            lines.append(
                f"cannot tell how {scene.scene} is encoded, taken as {found.describe()}: give the range of "
                f"values with --scale, such as {without} for digital numbers, or {with_offset} for those "
                "with an offset"
            )
    return lines


def overview_warnings(bundle: Bundle, overview: np.ma.MaskedArray) -> list[str]:
    """Return warnings about an empty scene, or brightness unlike the training tiles'.

    Args:
        bundle: the model.
        overview: the scaled scene (h, w, bands), masked where it has no data.
    """
    valid = ~np.ma.getmaskarray(overview)[..., 0]
    if not valid.any():
        return ["there is nothing but nodata in this scene"]
    stated = bundle.metadata.data.brightness
    if stated is None:
        return []
    means = overview.data[valid].mean(0)
    names = bundle.metadata.preprocessing.bands
    bands = zip(names, means, stated.mean, stated.deviation, strict=True)
    return [
        f"{band} is {mean:.0f} on average here, and {usual:.0f} (tiles differ by {deviation:.0f}) in "
        "training: check --bands and --scale"
        for band, mean, usual, deviation in bands
        if abs(mean - usual) > _MAX_BRIGHTNESS_DEVIATION * deviation
    ]
