"""Change between two maps: areas from class to class, and a map of the change."""

import json
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.errors import DataError, OrbituneError, first_line
from orbitune.files import replacing
from orbitune.mapping.areas.area_records import ChangeReport
from orbitune.mapping.areas.calibrated import calibrated_fractions
from orbitune.mapping.areas.class_map import ClassMap, read_codes
from orbitune.mapping.grid import NODATA, NOT_SURE
from orbitune.mapping.outputs.legend import class_colours, distinct_colours
from orbitune.mapping.outputs.styles import write_attribute_table, write_qgis_style
from orbitune.mapping.outputs.table import OUTPUTS, check_files
from orbitune.mapping.scene.raster_io import gdal_environment, import_rasterio

_ROWS = 256  # rows of pixels compared at a time
_UNCHANGED, _OTHER_CHANGE = 1, 254  # codes of a map of change; the largest transitions have 2 and up
_NAMED = 12  # transitions with a code of their own: more could be neither told apart nor sampled
_UNCHANGED_COLOUR, _OTHER_COLOUR = (235, 235, 235), (60, 60, 60)


def compare_maps(before: str | Path, after: str | Path, *, out: str | Path | None = None) -> ChangeReport:
    """Compare two maps of one place, on the grid of the later one.

    Classes are compared by name. Maps of other grids or projections are resampled to the nearest pixel.

    Examples:
        >>> from orbitune import compare_maps
        >>> compare_maps("before.tif", "landcover.tif", out="change.tif").changed_hectares

    Args:
        before: GeoTIFF that `map_scene` wrote.
        after: a later one, whose grid is used.
        out: GeoTIFF of the change to write: unchanged, each of the twelve largest transitions, other change,
            and not sure; None for none. `draw_sample` and `map_areas` take it as they take a map.

    Returns:
        The hectares from each class to each, and those that errors of the maps alone would show.

    Raises:
        OrbituneError: a map cannot be read, they do not overlap, or the file cannot be written.
    """
    if out:
        OUTPUTS["map"].check_suffix(Path(out))
    return compare_class_maps(open_classes(before), open_classes(after), out=Path(out) if out else None)


def open_classes(path: str | Path) -> ClassMap:
    """Open a map of classes.

    Raises:
        OrbituneError: it cannot be opened, or is itself a map of change.
    """
    opened = ClassMap.open(path)
    if opened.metadata is None:
        raise DataError(f"{path} is a map of change: name a map that orbitune map wrote.")
    return opened


def compare_class_maps(before: ClassMap, after: ClassMap, *, out: Path | None) -> ChangeReport:
    """Compare two open maps, see `compare_maps`.

    Raises:
        OrbituneError: as `compare_maps`.
    """
    if out:
        check_files([out], [before.path, after.path])
    pairs = np.zeros(1 << 16)
    for top, old, new in _strips(before, after):
        areas = after.pixel_areas.window(top, len(new))
        both = (old != NODATA) & (new != NODATA)
        pairs += np.bincount(old[both] * 256 + new[both], areas[both], 1 << 16)
    hectares = pairs.reshape(256, 256) / 1e4
    if not hectares.any():
        raise DataError(f"{before.path} and {after.path} do not overlap where they have data.")
    if out:
        _write_change(before, after, hectares=hectares, out=out)
    same = _same_class(before, after)
    classes = hectares.copy()
    classes[NOT_SURE] = classes[:, NOT_SURE] = 0
    return ChangeReport(
        before=tuple(before.strata.values()),
        after=tuple(after.strata.values()),
        hectares=tuple(map(tuple, hectares[np.ix_(list(before.strata), list(after.strata))].tolist())),
        changed_hectares=float(classes[~same].sum()),
        unchanged_hectares=float(classes[same].sum()),
        expected_false_hectares=_expected_false(before, after, hectares=classes),
    )


def _same_class(before: ClassMap, after: ClassMap) -> np.ndarray:
    """Return which pairs of codes have the same class name, bool (256, 256)."""
    same = np.zeros((256, 256), bool)
    codes = {name: code for code, name in after.classes.items()}
    for code, name in before.classes.items():
        if name in codes:
            same[code, codes[name]] = True
    return same


def _expected_false(before: ClassMap, after: ClassMap, *, hectares: np.ndarray) -> float | None:
    """Return hectares that would differ by error alone, by the models' test tiles."""
    confusions = [each.metadata and each.metadata.confusion for each in (before, after)]
    if not all(confusions) or list(before.classes.values()) != list(after.classes.values()):
        return None
    mapped = hectares.sum(0)[list(after.classes)]
    if not mapped.sum():
        return None
    counts = [np.array(each, float) for each in confusions]
    if any((each.sum(1) == 0).any() for each in counts):
        return None
    old, new = (each / each.sum(1, keepdims=True) for each in counts)
    true = calibrated_fractions(mapped / mapped.sum(), counts[1].astype(int), tiles=1)[0]
    return float(mapped.sum() * (true * (1 - (old * new).sum(1))).sum())


def _strips(before: ClassMap, after: ClassMap) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield the first row of each strip, and the codes of both maps, int (h, W)."""
    rasterio = import_rasterio()
    from rasterio.enums import Resampling
    from rasterio.vrt import WarpedVRT

    with ExitStack() as stack:
        with gdal_environment():
            source = stack.enter_context(rasterio.open(before.path))
            grid = {name: getattr(after, name) for name in ("crs", "transform", "height", "width")}
            warped = stack.enter_context(
                WarpedVRT(source, nodata=NODATA, resampling=Resampling.nearest, **grid)
            )
        for top, new in after.strips(_ROWS):
            old = read_codes(warped, ((top, top + len(new)), (0, after.width)), whose=before.path)
            yield top, old.astype(int), new.astype(int)


def _write_change(before: ClassMap, after: ClassMap, *, hectares: np.ndarray, out: Path) -> None:
    """Write the map of change as a tiled GeoTIFF.

    Raises:
        OrbituneError: it cannot be written.
    """
    table, names, colours = _change_codes(before, after, hectares=hectares)
    rasterio = import_rasterio()
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "count": 1,
        "dtype": "uint8",
        "nodata": NODATA,
        "tiled": True,
        "compress": "deflate",
        "bigtiff": "if_safer",
        **{name: getattr(after, name) for name in ("crs", "transform", "height", "width")},
    }
    counts = np.zeros(256, int)
    try:
        with replacing(out) as temporary, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with gdal_environment():
                file = rasterio.open(temporary, "w", **profile)
            with file:
                file.update_tags(CLASSES=json.dumps({str(code): name for code, name in names.items()}))
                file.write_colormap(1, {**colours, NODATA: (0, 0, 0, 0)})
                for top, old, new in _strips(before, after):
                    codes = table[old, new]
                    counts += np.bincount(codes.ravel(), minlength=256)
                    file.write(codes, 1, window=((top, top + len(codes)), (0, after.width)))
    except (rasterio.errors.RasterioError, OSError) as error:
        raise OrbituneError(f"Cannot write {out}; is the disk full? {first_line(error)}.") from None
    colours[NODATA] = class_colours(())[NODATA]
    write_attribute_table(out, names, colours=colours, counts=counts)
    write_qgis_style(out, names, colours=colours)


def _change_codes(
    before: ClassMap, after: ClassMap, *, hectares: np.ndarray
) -> tuple[np.ndarray, dict[int, str], dict[int, tuple[int, int, int]]]:
    """Return the code of each pair, uint8 (256, 256), with names and colours."""
    changed = hectares.copy()
    changed[_same_class(before, after)] = changed[NOT_SURE] = changed[:, NOT_SURE] = 0
    changed[NODATA] = changed[:, NODATA] = 0
    table = np.full((256, 256), _OTHER_CHANGE, np.uint8)
    table[_same_class(before, after)] = _UNCHANGED
    names = {NODATA: "no data", _UNCHANGED: "unchanged"}
    colours = {_UNCHANGED: _UNCHANGED_COLOUR}
    largest = np.argsort(-changed, axis=None, kind="stable")[:_NAMED]
    pairs = [divmod(int(each), 256) for each in largest if changed.flat[each]]
    palette = distinct_colours()
    for code, (old, new) in enumerate(pairs, _UNCHANGED + 1):
        table[old, new] = code
        names[code] = f"{before.names[old]} to {after.names[new]}"
        colours[code] = palette[code - _UNCHANGED - 1]
    table[NOT_SURE] = table[:, NOT_SURE] = NOT_SURE
    table[NODATA] = table[:, NODATA] = NODATA
    names |= {_OTHER_CHANGE: "other change", NOT_SURE: "not sure"}
    colours |= {_OTHER_CHANGE: _OTHER_COLOUR, NOT_SURE: class_colours(())[NOT_SURE]}
    return table, names, colours
