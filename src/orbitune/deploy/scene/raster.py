"""A scene on disk, read in windows of rows as uint8 tiles want them."""

import math
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.deploy.scene.scaling import SAMPLE_SIDE, Scaling
from orbitune.errors import DataError, first_line

RESOLUTION = 10.0  # metres: Sentinel-2's, and EuroSAT's
_ALIKE = 0.02  # by which share a resolution may differ and still be the training tiles'
CACHE_BYTES = 64 << 20  # GDAL would take a twentieth of the machine's memory


@dataclass(frozen=True)
class Grid:
    """The pixels that are classified: those of the file, or of the file resampled.

    Attributes:
        height, width: pixels.
        transform: rasterio's affine transform of these pixels.
        crs: as WKT.
        pixel_area: square metres.
        resampled: the file's own metres per pixel, where it is not the training tiles' resolution.
    """

    height: int
    width: int
    transform: Any
    crs: str
    pixel_area: float
    resampled: tuple[float, float] | None


class Scene:
    """An open raster. One thread at a time may read.

    Args:
        bands: numbers from 1, in the order red, green, blue.
        resolution: metres per pixel that the model was trained on.

    Raises:
        DataError: the file cannot be opened, or lacks a band or a coordinate reference system.
    """

    def __init__(
        self, path: str | Path, bands: tuple[int, ...] = (1, 2, 3), resolution: float = RESOLUTION
    ) -> None:
        rasterio = import_rasterio()
        self.path, self.bands = Path(path), bands
        self._environment = rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES, GDAL_NUM_THREADS="2")
        self._environment.__enter__()
        try:
            self._file = self._data = rasterio.open(path)
        except rasterio.errors.RasterioError as error:
            self._environment.__exit__()
            raise DataError(f"Cannot open {path}: {first_line(error)}.") from None
        try:
            self._check()
            self.grid = self._grid(resolution)
        except DataError:
            self.close()
            raise
        except (rasterio.errors.RasterioError, OverflowError) as error:
            self.close()
            raise DataError(f"Cannot tell where {path} lies: {first_line(error)}.") from None

    def __enter__(self) -> "Scene":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._data is not self._file:
            self._data.close()
        self._file.close()
        self._environment.__exit__()

    @property
    def dtype(self) -> str:
        """Of the bands that are read."""
        return str(self._file.dtypes[self.bands[0] - 1])

    def sample(self) -> np.ma.MaskedArray:
        """The whole scene in little (bands, H, W), masked where there is nothing."""
        share = min(1.0, SAMPLE_SIDE / max(self.grid.height, self.grid.width))
        shape = tuple(max(1, round(side * share)) for side in (self.grid.height, self.grid.width))
        pixels = self._read(None, shape)
        return np.ma.masked_array(pixels, np.broadcast_to(~self._valid(pixels, None, shape), pixels.shape))

    def window(
        self, top: int, left: int, height: int, width: int, scaling: Scaling
    ) -> tuple[np.ndarray, np.ndarray]:
        """Part of the grid; beyond its edges the scene is mirrored.

        Returns:
            uint8 (height, width, bands), and bool (height, width), where there is something.

        Raises:
            DataError: a block of the file is damaged.
        """
        from rasterio.windows import Window

        across = np.clip((left, left + width), 0, self.grid.width)
        down = np.clip((top, top + height), 0, self.grid.height)
        window = Window(int(across[0]), int(down[0]), int(np.ptp(across)), int(np.ptp(down)))
        pixels = self._read(window, None)
        valid = self._valid(pixels, window, None)
        beyond = (
            (int(down[0]) - top, top + height - int(down[1])),
            (int(across[0]) - left, left + width - int(across[1])),
        )
        return (
            np.pad(scaling(pixels), (*beyond, (0, 0)), mode="symmetric"),
            np.pad(valid, beyond, mode="symmetric"),
        )

    def _read(self, window: Any, shape: tuple[int, ...] | None) -> np.ndarray:
        from rasterio.errors import RasterioError

        out = None if shape is None else (len(self.bands), *shape)
        try:
            return self._data.read(list(self.bands), window=window, out_shape=out)
        except RasterioError as error:
            where = "" if window is None else f" near row {int(window.row_off)}"
            cause = error.__cause__ or error
            raise DataError(f"{self.path} is damaged{where}: {first_line(cause)}.") from None

    def _valid(self, pixels: np.ndarray, window: Any, shape: tuple[int, ...] | None) -> np.ndarray:
        """Where no band says nodata, and not all are saturated: that is no measurement either."""
        valid = np.ones(pixels.shape[1:], bool)
        if any(flags != [_all_valid()] for flags in self._mask_flags()):
            out = None if shape is None else (len(self.bands), *shape)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a file that states nodata and has an alpha band besides
                masks = self._data.read_masks(list(self.bands), window=window, out_shape=out)
            # A pixel may well be 0 in one band, and 0 is often said to be nodata.
            valid &= (masks > 0).any(0)
        if pixels.dtype.kind == "f":
            return valid & np.isfinite(pixels).all(0)
        return valid & (pixels < np.iinfo(pixels.dtype).max).any(0)

    def _mask_flags(self) -> list[list[Any]]:
        return [self._data.mask_flag_enums[band - 1] for band in self.bands]

    def _check(self) -> None:
        if missing := [band for band in self.bands if not 1 <= band <= self._file.count]:
            raise DataError(
                f"{self.path} has {self._file.count} bands and lacks band {missing[0]}: choose with --bands."
            )
        if len(self.bands) != 3:
            raise DataError("Give three bands, red, green and blue, such as --bands 3,2,1.")
        place, crs = self._file.transform, self._file.crs
        known = crs is not None and (crs.is_projected or crs.is_geographic)
        if not known or not np.isfinite(place).all() or place.is_degenerate or place.is_identity:
            raise DataError(
                f"{self.path} does not say where on Earth it lies: set its CRS and transform first, such as "
                "with gdal_edit.py -a_srs EPSG:32632 -a_ullr ULX ULY LRX LRY."
            )
        if len(kinds := {self._file.dtypes[band - 1] for band in self.bands}) > 1:
            raise DataError(f"The bands of {self.path} have different types: {', '.join(sorted(kinds))}.")
        if "complex" in self.dtype:
            raise DataError(f"The bands of {self.path} are complex numbers: write their amplitudes first.")

    def _grid(self, resolution: float) -> Grid:
        """The file's own grid, or where its pixels have another size, one of the training resolution."""
        from rasterio.enums import Resampling
        from rasterio.vrt import WarpedVRT

        file, metres = self._file, _metres_per_pixel(self._file)
        own = all(abs(side / resolution - 1) <= _ALIKE for side in metres)
        if not own:
            factors = [side / resolution for side in metres]
            width, height = (
                max(1, round(n * f)) for n, f in zip((file.width, file.height), factors, strict=True)
            )
            scale = type(file.transform).scale(file.width / width, file.height / height)
            self._data = WarpedVRT(
                file,
                crs=file.crs,
                transform=file.transform * scale,
                width=width,
                height=height,
                resampling=Resampling.average if min(factors) < 1 else Resampling.bilinear,
            )
        data = self._data
        area = math.prod(_metres_per_pixel(data))
        return Grid(data.height, data.width, data.transform, file.crs.to_wkt(), area, None if own else metres)


def import_rasterio() -> Any:
    """rasterio, or a DataError that says how to install it."""
    try:
        import rasterio
        import rasterio.errors
    except ImportError:
        raise DataError("Maps need rasterio: pip install 'orbitune[geo]'.") from None
    return rasterio


def _all_valid() -> Any:
    from rasterio.enums import MaskFlags

    return MaskFlags.all_valid


def _metres_per_pixel(file: Any) -> tuple[float, float]:
    """Along a row and down a column, in the middle of the raster."""
    from rasterio.warp import transform

    across = math.hypot(file.transform.a, file.transform.d)
    down = math.hypot(file.transform.b, file.transform.e)
    if file.crs.is_projected:
        factor = 1.0
        with suppress(Exception):  # a projection whose unit has no name is in metres
            factor = file.crs.linear_units_factor[1]
        return across * factor, down * factor
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, latitude = transform(
            file.crs, "EPSG:4326", *([v] for v in file.transform * (file.width / 2, file.height / 2))
        )
    degree = 111_320.0
    return across * degree * math.cos(math.radians(latitude[0])), down * degree
