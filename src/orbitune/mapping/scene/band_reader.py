"""Reader of bands and their validity from an open raster."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from orbitune.errors import DataError, first_line
from orbitune.mapping.scene.raster_io import gdal_environment

# Undeclared nodata values of other programs. Some scenes have more than the largest float32, others -1e20.
_FILLS = (-9999, -32_768, -1, 65_535)
_HUGE = 1e20


class BandReader:
    """Read some bands of an open raster.

    Args:
        data: rasterio dataset, a file or a VRT.
        bands: 1-based numbers of the bands.
        name: of the scene, for messages.
        is_local: whether the scene is read from local files; one on a server may be intact, and fail to load.
        white: see `reader.Scene`.
    """

    def __init__(
        self, data: Any, bands: Sequence[int], *, name: str, is_local: bool, white: int | None = None
    ) -> None:
        self.data, self.white = data, white
        self._bands, self._name, self._is_local = list(bands), name, is_local

    def read(self, window: Any = None, shape: tuple[int, ...] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Read pixels (bands, H, W), and where they are data.

        A pixel is data if no band has its nodata value, its alpha is not 0, and not all bands are saturated,
        one of the `_FILLS` or, but for 8 bits, 0: scenes that state none often are so outside their outline.

        Args:
            window: rasterio window; None for all.
            shape: height and width to resample to; None to keep them.

        Returns:
            Pixels in the dtype of the file, and validity, bool (H, W).

        Raises:
            DataError: a block of the file is damaged.
        """
        pixels = self._read(self.data.read, window, shape=shape)
        valid = np.ones(pixels.shape[1:], bool)
        if self._has_masks():
            masks = self._read(self.data.read_masks, window, shape=shape) > 0
            # 0 is a common nodata value, and a valid value of a single band.
            may_be_zero = np.array([self.data.nodatavals[band - 1] == 0 for band in self._bands])
            valid = (masks | may_be_zero[:, None, None]).all(0) & masks.any(0)
        if alpha := self._unused_alpha():
            valid &= self._read(self.data.read, window, shape=shape, bands=[alpha])[0] != 0
        return pixels, valid & _is_data(pixels, self.white)

    def _read(
        self, read: Any, window: Any, *, shape: tuple[int, ...] | None, bands: list[int] | None = None
    ) -> np.ndarray:
        """Call a reading method of the dataset."""
        from rasterio.errors import RasterioError

        bands = bands or self._bands
        out = None if shape is None else (len(bands), *shape)
        try:
            with gdal_environment(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # from a file with both a nodata value and an alpha band
                return read(bands, window=window, out_shape=out)
        except RasterioError as error:
            raise self._damaged(window, error) from None

    def _damaged(self, window: Any, error: Exception) -> DataError:
        """Return the error of a block that cannot be read."""
        where = "" if window is None else f" near row {int(window.row_off)}"
        what, advice = ("is damaged", "Get the file") if self._is_local else ("cannot be read", "Try")
        return DataError(
            f"{self._name} {what}{where}: {first_line(error.__cause__ or error)}. {advice} again."
        )

    def _has_masks(self) -> bool:
        """Return whether the file has nodata, a mask, or an alpha band (not a colour)."""
        from rasterio.enums import ColorInterp, MaskFlags

        data = self.data
        flags = {flag for band in self._bands for flag in data.mask_flag_enums[band - 1]}
        # GDAL reports the last of four untagged bands as alpha, but it may be red or infrared.
        if MaskFlags.alpha in flags and ColorInterp.alpha in [data.colorinterp[n - 1] for n in self._bands]:
            return False
        return flags != {MaskFlags.all_valid}

    def _unused_alpha(self) -> int | None:
        """Return the alpha band that GDAL does not take for a mask; None if there is none.

        It does so for 8 and 16 bits alone, and not beside a nodata value. The fourth band of 8 bits it calls
        alpha also where nothing states it, as of red, green, blue and infrared.
        """
        from rasterio.enums import ColorInterp, MaskFlags

        kinds = list(self.data.colorinterp)
        if ColorInterp.alpha not in kinds or self.data.dtypes[self._bands[0] - 1] == "uint8":
            return None
        number = kinds.index(ColorInterp.alpha) + 1
        used = any(MaskFlags.alpha in self.data.mask_flag_enums[band - 1] for band in self._bands)
        return None if used or number in self._bands else number


def _is_data(pixels: np.ndarray, white: int | None) -> np.ndarray:
    """Return which pixels (bands, H, W) are data by their numbers alone, bool (H, W)."""
    fill = np.isin(pixels[0], _fill_values(pixels, white))
    if fill.any():
        fill &= (pixels[1:] == pixels[0]).all(0)
    if pixels.dtype.kind == "f":
        return ~fill & (np.abs(pixels) < _HUGE).all(0)  # False for NaN
    return ~fill


def _fill_values(pixels: np.ndarray, white: int | None) -> list[int]:
    """Return the numbers that mark no data where all bands hold the same one."""
    dtype, found = pixels.dtype, list(_FILLS)
    if len(pixels) == 1:
        found.remove(-1)  # of a single band, such as decibels of radar, it is a number
    found.append(0 if white is None else white)
    if dtype.kind == "f":
        return found
    ends = np.iinfo(dtype)
    if dtype.itemsize == 1:
        return [ends.max]
    found += [ends.max, *([ends.min] if ends.min else [])]
    return [fill for fill in found if ends.min <= fill <= ends.max]
