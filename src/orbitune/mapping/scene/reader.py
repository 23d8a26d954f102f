"""Scene reader: windows of scaled pixels at the training resolution."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.data.georeference import RESOLUTION
from orbitune.errors import DataError, first_line
from orbitune.mapping.scene.band_reader import BandReader
from orbitune.mapping.scene.bands import BandSelection, BandTags
from orbitune.mapping.scene.encoding import Encoding, recognise_encoding
from orbitune.mapping.scene.radiometry import SAMPLE_SIDE, ReflectanceScaling
from orbitune.mapping.scene.raster_grid import RasterGrid
from orbitune.mapping.scene.raster_io import gdal_environment, import_rasterio
from orbitune.mapping.scene.source import open_source
from orbitune.sources.band_names import RGB, BandChoice

_WINDOW_SIDE = 128  # pixels of the windows that tell the encoding and the digest of a scene


class Scene:
    """An open scene. Not thread-safe: one thread at a time may read.

    Args:
        name: of a raster, see `raster_io.open_raster`, or of a product, see `product.find_product`.
        bands: names or 1-based numbers of the bands to read; None for red, green and blue by the file's
            metadata.
        resolution: metres per pixel of the training tiles; other scenes are resampled.
        driver: the only GDAL driver allowed; None for any.
        white: number that is 255 of 8 bits in a wider type, see `Encoding.white`; None for other scenes. Such
            a scene is read as one of 8 bits: 0 is data, and white in all bands is none.

    Attributes:
        native_grid: the pixel grid of the file.
        grid: the pixel grid that windows refer to: that of the file, or of the file resampled.

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
        white: int | None = None,
    ) -> None:
        self.name, self.white = os.fspath(name), white
        self._sample: np.ma.MaskedArray | None = None
        with gdal_environment(), _location_errors(self.name):
            self._source = open_source(self.name, bands, driver=driver)
            self._file = self._source.file
            self._opened = [self._file]  # VRTs come after the files that they read
            try:
                self._choose_grids(resolution)
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
            while self._opened:
                self._opened.pop().close()

    @property
    def selection(self) -> BandSelection:
        """Return the bands that are read."""
        return self._source.selection

    @property
    def bands(self) -> tuple[int, ...]:
        """Return the numbers of the bands that are read."""
        return self.selection.numbers

    @property
    def band_count(self) -> int:
        """Return the number of bands that the scene has."""
        return self._source.band_count

    @property
    def files(self) -> list[Path]:
        """Return the local files that the scene is read from."""
        return self._source.files

    @property
    def block_bytes(self) -> int:
        """Return the size of the largest block, the least that a read must decode."""
        return self._source.block_bytes

    @property
    def dtype(self) -> str:
        """Return the dtype of the bands that are read."""
        return str(self._file.dtypes[self._source.indexes[0] - 1])

    @property
    def tags(self) -> list[BandTags]:
        """Return what metadata states of scale and offset of each band."""
        return self._source.tags

    @property
    def other_rasters(self) -> list[str]:
        """Return the names of the other rasters in the file, of which this is the first."""
        return list(self._file.subdatasets)[1:]

    def sample(self) -> np.ma.MaskedArray:
        """Return an overview of the scene (bands, H, W), masked where it has no data."""
        if self._sample is None:
            factor = min(1.0, SAMPLE_SIDE / max(self.grid.height, self.grid.width))
            shape = tuple(max(1, round(side * factor)) for side in (self.grid.height, self.grid.width))
            pixels, valid = self._working.read(shape=shape)
            self._sample = np.ma.masked_array(pixels, np.broadcast_to(~valid, pixels.shape))
        return self._sample

    def recognise_encoding(self, sample: np.ma.MaskedArray, *, read_as: Sequence[str] = RGB) -> Encoding:
        """Recognise the encoding of the bands, see `encoding.recognise_encoding`.

        Args:
            sample: the overview of `sample()`.
            read_as: bands that a model reads, see `BandSelection.roles`.

        Raises:
            DataError: its metadata state a scale that is none, or a block of the file is damaged.
        """
        return recognise_encoding(
            self.tags,
            self.dtype,
            sample=sample,
            pixels=self._some_pixels,
            names=self.selection.roles(read_as),
            level=self._source.level,
        )

    def read_as_8_bits(self, white: int) -> None:
        """Read the scene as one of 8 bits from now on, see `Scene`."""
        self.white = self._native.white = self._working.white = white
        self._sample = None

    def digest(self) -> str | None:
        """Return a SHA-256 of the file's grid and of its pixels in a few windows.

        It is the same under any file name and with any overviews, and differs between dates. It is None if
        the windows hold no data, because they would then look alike on all dates.

        Raises:
            DataError: a block of the file is damaged.
        """
        grid = self.native_grid
        found = hashlib.sha256(repr((grid.height, grid.width, tuple(grid.transform))).encode())
        empty = True
        # By one rule of what is data, whether or not the scene is read as one of 8 bits.
        for pixels, valid in self._some_windows(self._reader(self._native.data, white=None)):
            found.update(valid.tobytes() + pixels[:, valid].tobytes())
            empty &= not valid.any()
        return None if empty else found.hexdigest()

    def _some_pixels(self) -> np.ndarray:
        """Return pixels of a few windows as they are in the file, float64 (bands, N)."""
        found = [pixels[:, valid] for pixels, valid in self._some_windows(self._native)]
        return np.concatenate(found, 1).astype(np.float64)

    def _some_windows(self, reader: BandReader) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield pixels and validity of a few windows of the file, as `BandReader.read`."""
        from rasterio.windows import Window

        grid = self.native_grid
        height, width = (min(_WINDOW_SIDE, side) for side in (grid.height, grid.width))
        for row, column in ((0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)):
            top, left = int(row * (grid.height - height)), int(column * (grid.width - width))
            yield reader.read(Window(left, top, width, height))

    def read_window(
        self, top: int, left: int, *, height: int, width: int, scaling: ReflectanceScaling
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read a window of the grid; beyond its edges the scene is mirrored.

        Args:
            top: first row, on the scene's grid at the training resolution; may be negative.
            left: first column.
            height: rows.
            width: columns.
            scaling: to the numbers of the training tiles.

        Returns:
            Pixels, uint8 or uint16 (height, width, bands), and their validity, bool (height, width).

        Raises:
            DataError: a block of the file is damaged.
        """

        def read(window: Any) -> tuple[np.ndarray, np.ndarray]:
            pixels, valid = self.read(window)
            return scaling(pixels), valid

        return read_mirrored(read, self.grid, top=top, left=left, height=height, width=width)

    def read(self, window: Any) -> tuple[np.ndarray, np.ndarray]:
        """Read a rasterio window of the grid, as `BandReader.read`."""
        return self._working.read(window)

    def read_rows(self, top: int, height: int) -> tuple[np.ndarray, np.ndarray]:
        """Read rows of the native grid, as `BandReader.read`."""
        from rasterio.windows import Window

        return self._native.read(Window(0, top, self.native_grid.width, height))

    def warp(self, native_grid: RasterGrid, grid: RasterGrid) -> None:
        """Read the scene on other grids from now on; beyond the file they hold no data."""
        self.native_grid, self.grid, self._sample = native_grid, grid, None
        with gdal_environment():
            self._native = self._reader(self._warped(native_grid, beyond=True), white=self.white)
            self._working = self._reader(self._warped(grid, beyond=True), white=self.white)

    def _choose_grids(self, resolution: float) -> None:
        """Choose the grids of the file and of the training resolution."""
        file = self._file
        self.native_grid = RasterGrid.measured(
            file.crs.to_wkt(), file.transform, height=file.height, width=file.width, name=self.name
        )
        self._pixel_size = self.native_grid.pixel_size
        self.grid = self.native_grid.resample(resolution, name=self.name)
        self._native = self._reader(file, white=self.white)
        resampled = self.grid is not self.native_grid
        self._working = self._reader(self._warped(self.grid), white=self.white) if resampled else self._native

    def _reader(self, data: Any, *, white: int | None) -> BandReader:
        """Return a reader of the scene's bands from the file or a VRT of it."""
        return BandReader(data, self._source.indexes, name=self.name, is_local=bool(self.files), white=white)

    def _warped(self, grid: RasterGrid, beyond: bool = False) -> Any:
        """Return the file as a VRT on another grid, which may reach beyond it."""
        from rasterio.enums import MaskFlags, Resampling
        from rasterio.vrt import WarpedVRT

        file = self._file
        finer = min(float(f"{side:.3g}") for side in np.divide(self._pixel_size, grid.pixel_size)) < 1
        # A VRT drops the mask of a file, and takes zeros for data beyond a file without nodata.
        masks = [[MaskFlags.per_dataset], *([[MaskFlags.all_valid]] if beyond else [])]
        data = WarpedVRT(
            file,
            crs=grid.crs,
            transform=grid.transform,
            width=grid.width,
            height=grid.height,
            resampling=Resampling.average if finer else Resampling.bilinear,
            add_alpha=file.mask_flag_enums[0] in masks,
        )
        self._opened.append(data)
        return data


def read_mirrored(
    read: Callable[[Any], tuple[np.ndarray, np.ndarray]],
    grid: RasterGrid,
    *,
    top: int,
    left: int,
    height: int,
    width: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Read a window that may reach beyond a grid; pixels are mirrored there.

    Args:
        read: returns pixels (H, W, bands) and validity (H, W) of a rasterio window inside the grid.
        grid: the grid.
        top, left, height, width: the window in pixels.
    """
    from rasterio.windows import Window

    across = np.clip((left, left + width), 0, grid.width)
    down = np.clip((top, top + height), 0, grid.height)
    pixels, valid = read(Window(int(across[0]), int(down[0]), int(np.ptp(across)), int(np.ptp(down))))
    beyond = (
        (int(down[0]) - top, top + height - int(down[1])),
        (int(across[0]) - left, left + width - int(across[1])),
    )
    return np.pad(pixels, (*beyond, (0, 0)), mode="symmetric"), np.pad(valid, beyond, mode="symmetric")


@contextmanager
def _location_errors(name: str) -> Iterator[None]:
    """Raise errors of a CRS or a transform as a DataError."""
    try:
        yield
    except (import_rasterio().errors.RasterioError, OverflowError, ValueError) as error:
        raise DataError(f"Cannot tell where {name} lies: {first_line(error)}.") from None
