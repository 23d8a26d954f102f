"""Samples of a map to label: at random, or where the map is least sure."""

from pathlib import Path
from typing import Literal, get_args

import numpy as np

from orbitune.errors import DataError, OrbituneError
from orbitune.files import replacing
from orbitune.inference.output_places import check_name
from orbitune.mapping.areas.class_map import ClassMap, read_strips
from orbitune.mapping.areas.qgis_form import add_label_form
from orbitune.mapping.areas.reference_points import MAP_HECTARES, TRUE_CLASS
from orbitune.mapping.grid import NODATA
from orbitune.mapping.outputs.table import check_files
from orbitune.mapping.scene.raster_io import gdal_environment, open_raster
from orbitune.mapping.seeds import check_seed
from orbitune.mapping.vector_io import VectorLayer, write_vector
from orbitune.suggestions import taken, unknown

SampleBy = Literal["class", "uncertainty"]

_MIN_PER_STRATUM = 50  # Olofsson et al. 2014, sec. 5.1.1: 50 to 100 points of a rare class
_LAYER = "points"


def draw_sample(
    class_map: str | Path,
    out: str | Path,
    *,
    points: int = 300,
    by: SampleBy = "class",
    confidence: str | Path | None = None,
    seed: int = 0,
) -> dict[str, int]:
    """Draw points of a map to label, and write them to a GeoPackage.

    Examples:
        >>> from orbitune import draw_sample
        >>> draw_sample("landcover.tif", "points.gpkg", points=300)

    Label the points in QGIS, whose form offers the classes in the field `true_class`, and pass the file to
    `map_areas`.

    Args:
        class_map: a GeoTIFF that `map_scene` or `compare_maps` wrote.
        out: GeoPackage to write. Its fields are `sampling`, `map_class`, `true_class` (empty), and `weight`,
            the fraction of the map's area in the class of the map, and `map_hectares`, that area, or
            `confidence` in percent.
        points: number of points.
        by: `class` draws a stratified random sample, the classes of the map and *not sure* being the strata;
            it estimates areas and accuracies. `uncertainty` draws the places with the lowest confidence, at
            most one in the area of a tile: they teach a model most, and estimate nothing.
        confidence: GeoTIFF that `map_scene` wrote beside the map; needed by `uncertainty`.
        seed: of the random numbers.

    Returns:
        Number of points by class of the map.

    Raises:
        OrbituneError: an input cannot be used, or the file exists, as its points may have labels, or it
            cannot be written.
    """
    path = Path(out)
    if path.suffix.lower() != ".gpkg":
        raise DataError(f"{path}: the file of the points ends in .gpkg; give it such a name.")
    check_name(path)
    if path.exists():
        raise OrbituneError(taken(path))
    check_files([path], [])
    check_seed(seed)
    if points < 1:
        raise DataError(f"--points takes the number of points to draw, such as 300, not {points}.")
    if by not in get_args(SampleBy):
        raise DataError(unknown("--by", by, known=get_args(SampleBy)))
    if by == "class" and confidence is not None:
        raise DataError("--confidence is for --by uncertainty: pass both, or neither.")
    opened = ClassMap.open(class_map)
    rng = np.random.default_rng(seed)
    if by == "class":
        rows, columns, codes, fields = draw_by_class(opened, points, rng=rng)
    else:
        rows, columns, codes, fields = draw_by_uncertainty(opened, confidence, points=points, rng=rng)
    names = np.array([opened.strata[code] for code in codes.tolist()], object)
    empty = np.full(len(names), None, object)
    sampling = np.full(len(names), "stratified" if by == "class" else by, object)
    fields = {"sampling": sampling, "map_class": names, TRUE_CLASS: empty, **fields}
    _write(opened, path, rows=rows, columns=columns, fields=fields)
    return {each: int((names == each).sum()) for each in opened.strata.values() if each in names}


def allocate(points: int, fractions: np.ndarray) -> np.ndarray:
    """Divide a sample among strata in proportion to area, with a minimum for each.

    The minimum is 50 points (Olofsson et al. 2014, doi:10.1016/j.rse.2014.02.015, sec. 5.1), or less where
    that would take more than half of the sample.

    Args:
        points: size of the sample.
        fractions: float (H,), area of each stratum, > 0; they sum to 1.

    Returns:
        int (H,); they sum to `points`.

    Raises:
        DataError: there are fewer than two points for each stratum.
    """
    fewest = min(_MIN_PER_STRATUM, points // (2 * len(fractions)))
    fewest = max(fewest, 2)
    if points < fewest * len(fractions):
        raise DataError(f"--points must be at least {2 * len(fractions)}: two for each class of the map.")
    raised = np.zeros(len(fractions), bool)
    while True:
        left = points - fewest * int(raised.sum())
        wanted = np.where(raised, fewest, fractions / fractions[~raised].sum() * left)
        if not (below := wanted < fewest).any():
            break
        raised |= below
    whole = np.floor(wanted).astype(int)
    largest = np.argsort(whole - wanted, kind="stable")[: points - int(whole.sum())]
    whole[largest] += 1
    return whole


def draw_by_class(
    class_map: ClassMap, points: int, *, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return rows, columns, codes of random pixels of each stratum, and the weights."""
    hectares = class_map.hectares
    strata = np.array([code for code in class_map.strata if hectares[code]])
    if not len(strata):
        raise DataError(f"{class_map.path} has no data to draw points from.")
    fractions = hectares[strata] / hectares[strata].sum()
    counts = np.zeros(256, int)
    for _, codes in class_map.strips():
        counts += np.bincount(codes.ravel(), minlength=256)
    wanted = np.minimum(allocate(points, fractions), counts[strata])
    ranks = {
        code: np.sort(rng.choice(counts[code], number, replace=False))
        for code, number in zip(strata.tolist(), wanted.tolist(), strict=True)
    }
    rows, columns, drawn = _pixels_of_ranks(class_map, ranks)
    weight = dict(zip(strata.tolist(), fractions.tolist(), strict=True))
    weights = np.array([weight[code] for code in drawn.tolist()])
    total = np.full(len(drawn), hectares[strata].sum())
    return rows, columns, drawn, {"weight": weights, MAP_HECTARES: total}


def _pixels_of_ranks(
    class_map: ClassMap, ranks: dict[int, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows, columns and codes of the pixels of these ranks in their code."""
    found: list[np.ndarray] = []
    seen = dict.fromkeys(ranks, 0)
    for top, codes in class_map.strips():
        for code, own in ranks.items():
            places = np.flatnonzero(codes == code)
            inside = own[(own >= seen[code]) & (own < seen[code] + len(places))]
            row, column = np.divmod(places[inside - seen[code]], class_map.width)
            found.append(np.stack([row + top, column, np.full(len(row), code)]))
            seen[code] += len(places)
    rows, columns, drawn = np.concatenate(found, axis=1)
    return rows, columns, drawn


def draw_by_uncertainty(
    class_map: ClassMap, confidence: str | Path | None, *, points: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return rows, columns, codes, confidence of the least sure pixels."""
    if confidence is None:
        raise DataError(
            "--by uncertainty needs --confidence: the GeoTIFF that orbitune map writes with --confidence."
        )
    _check_confidence(class_map, confidence)
    block = _tile_pixels(class_map)
    best: list[np.ndarray] = []
    pairs = zip(class_map.strips(block), read_strips(Path(confidence), block), strict=True)
    for (top, codes), (_, percent) in pairs:
        # Random fractions of a percent decide between equal places.
        score = np.where(codes == NODATA, np.inf, percent + rng.random(percent.shape))
        for left in range(0, class_map.width, block):
            part = score[:, left : left + block]
            row, column = np.unravel_index(part.argmin(), part.shape)
            if np.isfinite(part[row, column]):
                code = codes[row, left + column]
                best.append(np.array([row + top, left + column, code, part[row, column]]))
    if not best:
        raise DataError(f"{class_map.path} has no data to draw points from.")
    least = np.array(sorted(best, key=lambda each: each[3])[:points])
    rows, columns, codes, score = least.T
    return rows.astype(int), columns.astype(int), codes.astype(int), {"confidence": np.floor(score)}


def _check_confidence(class_map: ClassMap, confidence: str | Path) -> None:
    """Raise a DataError unless a raster is the confidence of a map, by its tags and pixels."""
    with gdal_environment(), open_raster(str(confidence)) as file:
        tags = file.tags()
        if file.count != 1 or tags.get("UNIT") != "percent" or "THRESHOLDS" in tags:
            raise DataError(
                f"{confidence} is no confidence: name the one that orbitune map wrote with {class_map.path}."
            )
        same = (file.height, file.width) == (class_map.height, class_map.width)
        same = same and file.crs == class_map.crs
        if not same or not file.transform.almost_equals(class_map.transform):
            raise DataError(f"{confidence} does not lie on the grid of {class_map.path}: name its own.")
        if tags.get("ORBITUNE", class_map.tag) != class_map.tag:
            raise DataError(f"{confidence} is of another map than {class_map.path}: name its own.")


def _tile_pixels(class_map: ClassMap) -> int:
    """Return the side of a tile of the model in pixels of the map."""
    if class_map.metadata is None:
        raise DataError(f"{class_map.path} is a map of change: --by uncertainty needs a map of classes.")
    metres = class_map.metadata.tile * class_map.metadata.resolution_metres
    pixel = (class_map.hectares.sum() * 1e4 / (class_map.height * class_map.width)) ** 0.5
    return max(1, round(metres / pixel))


def _write(
    class_map: ClassMap, path: Path, *, rows: np.ndarray, columns: np.ndarray, fields: dict[str, np.ndarray]
) -> None:
    """Write the middles of pixels as points.

    Raises:
        OrbituneError: the file cannot be written.
    """
    import shapely

    a, b, c, d, e, f = class_map.transform[:6]
    x, y = columns + 0.5, rows + 0.5
    places = shapely.points(a * x + b * y + c, d * x + e * y + f)
    try:
        with replacing(path) as temporary:
            layer = VectorLayer(path, class_map.crs, places, fields)
            write_vector(temporary, layer, kind="Point", name=_LAYER)
            add_label_form(temporary, _LAYER, field=TRUE_CLASS, classes=list(class_map.classes.values()))
    except OSError as error:
        raise OrbituneError(f"Cannot write {path}: {error}.") from None
