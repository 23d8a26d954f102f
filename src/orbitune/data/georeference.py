"""Where on the ground tiles lie: read from GeoTIFFs when a split or a baseline first asks, and kept since.

The coordinates lie in the tiles' store as a file of their own, so that stores without it stay as they are.
"""

import warnings
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np

from orbitune.data.tileset import TileSet
from orbitune.errors import DataError
from orbitune.files import cache_folder, replacing, scratch
from orbitune.integrity import sealed, unsealed
from orbitune.sources.decode import BadImageError, read_georeference, strict_decoding
from orbitune.sources.registry import Source

Place = tuple[str, list[tuple[float, float]]]  # see `orbitune.sources.decode.read_georeference`

EARTH = 6_371_008.8  # metres, the mean radius (IUGG)


def read_locations(tiles: TileSet) -> np.ndarray | None:
    """Where tiles lie, if they say so.

    Returns:
        float64 (N, 3): longitude and latitude of each tile's centre in degrees (WGS 84), and its longer side
        in metres. None where no tile is georeferenced.

    Raises:
        DataError: some tiles are georeferenced and others are not; or only rasterio can tell, and it is not
            installed.
    """
    if tiles.origin is None:
        return None
    ground = _kept(tiles, tiles.origin)
    without = np.isnan(ground).any(1)
    if without.all():
        return None
    if without.any():
        raise DataError(
            f"{tiles.names[int(without.argmax())]} has no coordinates, as {without.sum():,} of "
            f"{len(without):,} tiles have none: georeference them, or none."
        )
    return ground


def unit_vectors(ground: np.ndarray) -> np.ndarray:
    """Points on the unit sphere, float64 (N, 3): their distances are right at any latitude and longitude."""
    longitude, latitude = np.radians(ground[:, 0]), np.radians(ground[:, 1])
    flat = np.cos(latitude)
    return np.stack([flat * np.cos(longitude), flat * np.sin(longitude), np.sin(latitude)], axis=1)


def _kept(tiles: TileSet, origin: Source) -> np.ndarray:
    file = cache_folder("tiles", tiles.fingerprint) / "ground.npy"
    try:
        ground = np.load(BytesIO(unsealed(file.read_bytes())))
        if ground.shape == (len(tiles.names), 3):
            return ground
    except (OSError, ValueError, EOFError):
        pass
    ground = _read(tiles, origin)
    content = BytesIO()
    np.save(content, ground)
    with replacing(file) as temporary:
        temporary.write_bytes(sealed(content.getvalue()))
    return ground


def _read(tiles: TileSet, origin: Source) -> np.ndarray:
    """float64 (N, 3) as `read_locations` gives it; not-a-number where a file does not say where it lies."""
    with (
        scratch(cache_folder()) as copies,
        origin.open(copies) as listing,
        strict_decoding(),
        ThreadPoolExecutor() as pool,
    ):
        rows = {name: row for row, name in enumerate(listing.names)}
        if len(rows) < len(listing.names):
            raise DataError("Several tiles have one name, so that their coordinates cannot be told apart.")

        def read(name: str) -> Place | None:
            try:
                return read_georeference(listing.read(rows[name]))
            except BadImageError:
                return None

        return _to_degrees(list(pool.map(read, tiles.names)), tiles.names)


def _to_degrees(places: list[Place | None], names: Sequence[str]) -> np.ndarray:
    """As `_read`, from what each file says in its own coordinate system."""
    ground = np.full((len(places), 3), np.nan)
    systems = defaultdict(list)
    for row, place in enumerate(places):
        if place:
            systems[place[0]].append(row)
    for system, rows in systems.items():
        x, y = np.array([places[row][1] for row in rows]).reshape(-1, 2).T  # type: ignore[index]
        degrees = _transformed(system, x, y)
        outside = ~np.isfinite(degrees).all(1).reshape(len(rows), 4).all(1)
        if outside.any():
            raise DataError(
                f"{names[rows[int(outside.argmax())]]} has coordinates that lie nowhere on Earth in its "
                "coordinate system: correct its georeference, or remove the coordinates of all tiles."
            )
        points = unit_vectors(degrees).reshape(len(rows), 4, 3)
        sides = np.linalg.norm(points[:, 2:] - points[:, 1:2], axis=2) * EARTH
        ground[rows] = np.column_stack([degrees[::4], sides.max(1)])
    return ground


def _transformed(system: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Longitude and latitude in degrees of four points a file, float64 (4 N, 2); infinite: there are none."""
    from rasterio.warp import transform

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.stack(transform(system, "EPSG:4326", x, y), axis=1)
    except Exception:  # GDAL's, for a system that is not of the Earth, or one point outside of it
        files = range(0, len(x), 4)
        if len(files) == 1:
            return np.full((4, 2), np.inf)
        return np.concatenate([_transformed(system, x[i : i + 4], y[i : i + 4]) for i in files])
