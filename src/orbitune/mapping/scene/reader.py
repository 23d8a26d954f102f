"""Scene reader: windows of uint8 pixels at the training resolution."""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.errors import DataError, first_line
from orbitune.mapping.scene.bands import BandSelection, BandTags
from orbitune.mapping.scene.encoding import Encoding, recognise_encoding
from orbitune.mapping.scene.geodesy import pixel_size
from orbitune.mapping.scene.radiometry import SAMPLE_SIDE, ReflectanceScaling
from orbitune.mapping.scene.raster_io import gdal_environment, import_rasterio
from orbitune.mapping.scene.source import open_source
from orbitune.sources.band_names import BandChoice

RESOLUTION = 10.0  # metres per pixel of Sentinel-2 and EuroSAT
_MAX_DEVIATION = 0.02  # relative deviation from the training resolution that needs no resampling
_MAX_FACTOR = 200  # largest ratio of a pixel side to the training resolution, or its inverse
_WINDOW_SIDE = 128  # pixels of the windows that are read to tell the encoding


@dataclass(frozen=True)
class RasterGrid:
    """The pixel grid that is classified: that of the file, or of the file resampled.

    Attributes:
        height, width: number of pixels.
        transform: affine transform from pixels to the CRS.
        crs: coordinate reference system, as WKT.
        pixel_size: metres on the ground of the central pixel, along its row and its column.
        resampled_from: metres per pixel of the file, if it was resampled; else None.
    """

    height: int
    width: int
    transform: Any
    crs: str
    pixel_size: tuple[float, float]
    resampled_from: tuple[float, float] | None


class Scene:
    """An open scene. Not thread-safe: one thread at a time may read.

    Args:
        name: of a raster, see `raster_io.open_raster`, or of a product, see `product.find_product`.
        bands: names or 1-based numbers of the bands to read; None for red, green and blue by the file's
            metadata.
        resolution: metres per pixel of the training tiles; other scenes are resampled.
        driver: the only GDAL driver allowed; None for any.

    Attributes:
        grid: the pixel grid that windows refer to.

    Raises:
        DataError: the file cannot be opened, or lacks a band or a coordinate reference system.
    """

    def __init__(
        self,
        name: str | Path,
        bands: Sequence[BandChoice] | None = None,
        *,
        resolution: float = RESOLUTION,
        driver: str | None = None,
    ) -> None:
        self.name = os.fspath(name)
        with gdal_environment(), _location_errors(self.name):
            self._source = open_source(self.name, bands, driver=driver)
            self._file = self._data = self._source.file
            try:
                self.grid = self._grid(resolution)
            except BaseException:
                self.close()
                raise

    def __enter__(self) -> "Scene":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        with gdal_environment():
            if self._data is not self._file:
                self._data.close()
            self._file.close()

    @property
    def selection(self) -> BandSelection:
        """Return the bands that are read."""
        return self._source.selection

    @property
    def bands(self) -> tuple[int, ...]:
        """Return the numbers of the bands that are read."""
        return self.selection.numbers

    @property
    def files(self) -> list[Path]:
        """Return the local files that the scene is read from."""
        return self._source.files

    @property
    def block_bytes(self) -> int:
        """Return the size of the largest block, all of which must be in memory to read a pixel of it."""
        return self._source.block_bytes

    @property
    def dtype(self) -> str:
        """Return the dtype of the bands that are read."""
        return str(self._file.dtypes[self._indexes[0] - 1])

    @property
    def tags(self) -> list[BandTags]:
        """Return what metadata states of scale and offset of each band."""
        return self._source.tags

    @property
    def _indexes(self) -> list[int]:
        """Return the numbers of the bands in the open file."""
        return list(self._source.indexes)

    @property
    def other_rasters(self) -> list[str]:
        """Return the names of the other rasters in the file, of which this is the first."""
        return list(self._file.subdatasets)[1:]

    def sample(self) -> np.ma.MaskedArray:
        """Return an overview of the scene (bands, H, W), masked where it has no data."""
        factor = min(1.0, SAMPLE_SIDE / max(self.grid.height, self.grid.width))
        shape = tuple(max(1, round(side * factor)) for side in (self.grid.height, self.grid.width))
        pixels = self._read(None, shape)
        return np.ma.masked_array(pixels, np.broadcast_to(~self._valid(pixels, None, shape), pixels.shape))

    def recognise_encoding(self, sample: np.ma.MaskedArray) -> Encoding:
        """Recognise the encoding of the bands, see `encoding.recognise_encoding`.

        Args:
            sample: the overview of `sample()`.

        Raises:
            DataError: its metadata state a scale that is none, or a block of the file is damaged.
        """
        return recognise_encoding(
            self.tags,
            self.dtype,
            sample=sample,
            pixels=self._some_pixels,
            names=self.selection.roles,
            level=self._source.level,
        )

    def _some_pixels(self) -> np.ndarray:
        """Return pixels of a few windows as they are in the file, float64 (bands, N)."""
        from rasterio.errors import RasterioError
        from rasterio.windows import Window

        file, found = self._file, []
        height, width = (min(_WINDOW_SIDE, side) for side in (file.height, file.width))
        try:
            with gdal_environment():
                for row, column in ((0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)):
                    top, left = int(row * (file.height - height)), int(column * (file.width - width))
                    window = Window(left, top, width, height)
                    found.append(file.read(self._indexes, window=window).reshape(len(self._indexes), -1))
        except RasterioError as error:
            raise self._damaged(window, error) from None
        return np.concatenate(found, 1).astype(np.float64)

    def read_window(
        self, top: int, left: int, *, height: int, width: int, scaling: ReflectanceScaling
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read a window of the grid; beyond its edges the scene is mirrored.

        Args:
            top: first row, on the scene's grid at the training resolution; may be negative.
            left: first column.
            height: rows.
            width: columns.
            scaling: radiometry to uint8.

        Returns:
            Pixels, uint8 (height, width, bands), and their validity, bool (height, width).

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

        out = None if shape is None else (len(self._indexes), *shape)
        try:
            with gdal_environment():
                return self._data.read(self._indexes, window=window, out_shape=out)
        except RasterioError as error:
            raise self._damaged(window, error) from None

    def _read_masks(self, window: Any, shape: tuple[int, ...] | None) -> np.ndarray:
        """Return where each band has a value, bool (bands, H, W)."""
        from rasterio.errors import RasterioError

        out = None if shape is None else (len(self._indexes), *shape)
        try:
            with gdal_environment(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # from a file with both a nodata value and an alpha band
                return self._data.read_masks(self._indexes, window=window, out_shape=out) > 0
        except RasterioError as error:
            raise self._damaged(window, error) from None

    def _damaged(self, window: Any, error: Exception) -> DataError:
        """Return the error of a block that cannot be read."""
        where = "" if window is None else f" near row {int(window.row_off)}"
        # A file on a server may be intact.
        what, advice = ("is damaged", "Get the file") if self.files else ("cannot be read", "Try")
        return DataError(
            f"{self.name} {what}{where}: {first_line(error.__cause__ or error)}. {advice} again."
        )

    def _valid(self, pixels: np.ndarray, window: Any, shape: tuple[int, ...] | None) -> np.ndarray:
        """Return where no band is nodata, and not all bands are saturated or, but for 8 bits, 0.

        Scenes without a nodata value often are 0 or saturated outside their outline.
        """
        valid = np.ones(pixels.shape[1:], bool)
        if self._has_masks():
            masks = self._read_masks(window, shape)
            # 0 is a common nodata value, and a valid value of a single band.
            may_be_zero = np.array([self._data.nodatavals[band - 1] == 0 for band in self._indexes])
            valid = (masks | may_be_zero[:, None, None]).all(0) & masks.any(0)
        if pixels.dtype.kind == "f":
            return valid & np.isfinite(pixels).all(0) & (pixels != 0).any(0)
        valid &= (pixels < np.iinfo(pixels.dtype).max).any(0)
        return valid if pixels.dtype.itemsize == 1 else valid & (pixels != 0).any(0)

    def _has_masks(self) -> bool:
        """Return whether the file has nodata, a mask, or an alpha band (not a colour)."""
        from rasterio.enums import ColorInterp, MaskFlags

        data = self._data
        flags = {flag for band in self._indexes for flag in data.mask_flag_enums[band - 1]}
        # GDAL reports the last of four untagged bands as alpha, but it may be red or infrared.
        if MaskFlags.alpha in flags and ColorInterp.alpha in [data.colorinterp[n - 1] for n in self._indexes]:
            return False
        return flags != {MaskFlags.all_valid}

    def _grid(self, resolution: float) -> RasterGrid:
        """Return the file's grid, resampled if its pixels differ in size from training."""
        file, crs = self._file, self._file.crs.to_wkt()
        metres = self._pixel_size(file, crs)
        if all(abs(side / resolution - 1) <= _MAX_DEVIATION for side in metres):
            return RasterGrid(file.height, file.width, file.transform, crs, metres, None)
        factors = [
            float(f"{side / resolution:.3g}") for side in metres
        ]  # rounded: 2 resamples exactly, 2.001 does not
        if max(factors) > _MAX_FACTOR or min(factors) * _MAX_FACTOR < 1:
            raise DataError(
                f"The pixels of {self.name} are {metres[0]:.4g} x {metres[1]:.4g} m on the ground, too far "
                f"from the {resolution:g} m of the training tiles: check its transform, or --resolution."
            )
        self._data = data = self._resampled(factors)
        size = self._pixel_size(data, crs)
        return RasterGrid(data.height, data.width, data.transform, crs, size, metres)

    def _resampled(self, factors: Sequence[float]) -> Any:
        """Return the file as a VRT, resampled by these factors along rows and columns."""
        from rasterio.enums import MaskFlags, Resampling
        from rasterio.vrt import WarpedVRT

        file = self._file
        width, height = (
            max(1, round(side * factor))
            for side, factor in zip((file.width, file.height), factors, strict=True)
        )
        scale = type(file.transform).scale(file.width / width, file.height / height)
        return WarpedVRT(
            file,
            crs=file.crs,
            transform=file.transform * scale,
            width=width,
            height=height,
            resampling=Resampling.average if min(factors) < 1 else Resampling.bilinear,
            add_alpha=file.mask_flag_enums[0] == [MaskFlags.per_dataset],  # a VRT drops the mask of a file
        )

    def _pixel_size(self, data: Any, crs: str) -> tuple[float, float]:
        """Return metres per pixel of an open raster, see `geodesy.pixel_size`."""
        try:
            return pixel_size(crs, data.transform, height=data.height, width=data.width)
        except DataError as error:
            raise DataError(f"Cannot tell where {self.name} lies: {first_line(error)}.") from None


@contextmanager
def _location_errors(name: str) -> Iterator[None]:
    """Raise errors of a CRS or a transform as a DataError."""
    try:
        yield
    except (import_rasterio().errors.RasterioError, OverflowError, ValueError) as error:
        raise DataError(f"Cannot tell where {name} lies: {first_line(error)}.") from None
