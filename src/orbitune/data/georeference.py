"""Locations of tiles on the ground, read from their GeoTIFF files.

They are read when a split or a baseline first needs them, and stored beside the decoded tiles.
"""

import warnings
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np

from orbitune.cache import cache_folder
from orbitune.data.tileset import TileSet
from orbitune.errors import DataError, counted
from orbitune.files import replacing, scratch
from orbitune.integrity import with_checksum, without_checksum
from orbitune.sources.decode import BadImageError, read_georeference, strict_decoding
from orbitune.sources.registry import Source

Georeference = tuple[str, list[tuple[float, float]]]  # see `orbitune.sources.decode.read_georeference`

RESOLUTION = 10.0  # metres per pixel of Sentinel-2 and EuroSAT
EARTH_RADIUS = 6_371_008.8  # metres, mean (IUGG)


def read_locations(tiles: TileSet) -> np.ndarray | None:
    """Return the location of each tile.

    Returns:
        float64 (N, 3): longitude and latitude of the tile's centre in degrees (WGS 84), and its longer side
        in metres. None if no tile is georeferenced.

    Raises:
        DataError: some tiles are georeferenced and others are not, or rasterio is not installed.
    """
    if tiles.origin is None:
        return None
    locations = _cached_locations(tiles, tiles.origin)
    without = np.isnan(locations).any(1)
    if without.all():
        return None
    if without.any():
        have = "has" if without.sum() == 1 else "have"
        raise DataError(
            f"{without.sum():,} of {counted(len(without), 'tile')} {have} no coordinates, such as "
            f"{tiles.names[int(without.argmax())]}: georeference all tiles, or none."
        )
    return locations


def unit_vectors(locations: np.ndarray) -> np.ndarray:
    """Return locations as points on the unit sphere.

    Their distances are right at any latitude.

    Args:
        locations: float (N, 2 or more), longitude and latitude in degrees first.

    Returns:
        float64 (N, 3).
    """
    longitude, latitude = np.radians(locations[:, 0]), np.radians(locations[:, 1])
    radius = np.cos(latitude)
    return np.stack([radius * np.cos(longitude), radius * np.sin(longitude), np.sin(latitude)], axis=1)


def _cached_locations(tiles: TileSet, origin: Source) -> np.ndarray:
    """Return the stored locations; read and store them if there are none."""
    file = cache_folder("tiles", tiles.fingerprint) / "locations.npy"
    try:
        locations = np.load(BytesIO(without_checksum(file.read_bytes())))
        if locations.shape == (len(tiles.names), 3):
            return locations
    except (OSError, ValueError, EOFError):
        pass
    locations = _read_locations(tiles, origin)
    content = BytesIO()
    np.save(content, locations)
    with replacing(file) as temporary:
        temporary.write_bytes(with_checksum(content.getvalue()))
    return locations


def _read_locations(tiles: TileSet, origin: Source) -> np.ndarray:
    """Return locations as `read_locations` does, NaN for files without georeference."""
    with (
        scratch(cache_folder()) as copies,
        origin.open(copies) as manifest,
        strict_decoding(),
        ThreadPoolExecutor() as pool,
    ):
        rows = {name: row for row, name in enumerate(manifest.names)}
        if len(rows) < len(manifest.names):
            raise DataError("Several tiles have the same name, so their coordinates cannot be told apart.")

        def read(name: str) -> Georeference | None:
            try:
                return read_georeference(manifest.read(rows[name]))
            except BadImageError:
                return None

        return _to_degrees(list(pool.map(read, tiles.names)), tiles.names)


def _to_degrees(found: list[Georeference | None], names: Sequence[str]) -> np.ndarray:
    """Return locations in degrees from georeferences in any reference system."""
    locations = np.full((len(found), 3), np.nan)
    systems = defaultdict(list)
    for row, georeference in enumerate(found):
        if georeference:
            systems[georeference[0]].append(row)
    for system, rows in systems.items():
        x, y = np.array([found[row][1] for row in rows]).reshape(-1, 2).T  # type: ignore[index]
        degrees = _transform(system, x=x, y=y)
        outside = ~np.isfinite(degrees).all(1).reshape(len(rows), 4).all(1)
        if outside.any():
            raise DataError(
                f"{names[rows[int(outside.argmax())]]} has coordinates outside its coordinate "
                "reference system: correct its georeference, or remove the coordinates of all tiles."
            )
        points = unit_vectors(degrees).reshape(len(rows), 4, 3)
        sides = np.linalg.norm(points[:, 2:] - points[:, 1:2], axis=2) * EARTH_RADIUS
        locations[rows] = np.column_stack([degrees[::4], sides.max(1)])
    return locations


def _transform(system: str, *, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return longitudes and latitudes of points, float64 (4 N, 2); inf if invalid."""
    from rasterio.warp import transform

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.stack(transform(system, "EPSG:4326", x, y), axis=1)
    except Exception:  # of GDAL: the system is not of the Earth, or a point lies outside its area
        files = range(0, len(x), 4)
        if len(files) == 1:
            return np.full((4, 2), np.inf)
        return np.concatenate([_transform(system, x=x[i : i + 4], y=y[i : i + 4]) for i in files])
