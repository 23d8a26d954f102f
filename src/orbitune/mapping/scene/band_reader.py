"""Reader of bands and their validity from an open raster."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from orbitune.errors import DataError, first_line
from orbitune.mapping.scene.raster_io import gdal_environment


class BandReader:
    """Read some bands of an open raster.

    Args:
        data: rasterio dataset, a file or a VRT.
        bands: 1-based numbers of the bands.
        name: of the scene, for messages.
        is_local: whether the scene is read from local files; one on a server may be intact, and fail to load.
    """

    def __init__(self, data: Any, bands: Sequence[int], *, name: str, is_local: bool) -> None:
        self.data = data
        self._bands, self._name, self._is_local = list(bands), name, is_local

    def read(self, window: Any = None, shape: tuple[int, ...] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Read pixels (bands, H, W), and where they are data.

        A pixel is data if no band has its nodata value, and not all bands are saturated or, but
        for 8 bits, 0: scenes without a nodata value often are so outside their outline.

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
        if pixels.dtype.itemsize > 1:
            valid &= (pixels != 0).any(0)
        if pixels.dtype.kind == "f":
            return pixels, valid & np.isfinite(pixels).all(0)
        return pixels, valid & (pixels < np.iinfo(pixels.dtype).max).any(0)

    def _read(self, read: Any, window: Any, *, shape: tuple[int, ...] | None) -> np.ndarray:
        """Call a reading method of the dataset."""
        from rasterio.errors import RasterioError

        out = None if shape is None else (len(self._bands), *shape)
        try:
            with gdal_environment(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # from a file with both a nodata value and an alpha band
                return read(self._bands, window=window, out_shape=out)
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
