"""Scene reader: windows of uint8 pixels at the training resolution."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.errors import DataError, first_line
from orbitune.mapping.scene.band_reader import BandReader
from orbitune.mapping.scene.bands import (
    BandTags,
    choose_bands,
    needs_palette_expansion,
    palette_vrt,
    read_band_tags,
)
from orbitune.mapping.scene.radiometry import SAMPLE_SIDE, ReflectanceScaling
from orbitune.mapping.scene.raster_grid import RasterGrid
from orbitune.mapping.scene.raster_io import gdal_environment, import_rasterio, local_files, open_raster

RESOLUTION = 10.0  # metres per pixel of Sentinel-2 and EuroSAT
_MAX_PIXELS_PER_BYTE = 10**6  # of an intact file, most of whose blocks may be empty


class Scene:
    """An open scene. Not thread-safe: one thread at a time may read.

    Args:
        name: see `raster_io.open_raster`.
        bands: 1-based numbers of the red, green and blue band; None to choose them by the file's metadata.
        resolution: metres per pixel of the training tiles; other scenes are resampled.
        driver: the only GDAL driver allowed; None for any.

    Attributes:
        bands: numbers of the red, green and blue band.
        bands_source: how they were chosen, for messages.
        files: local files that the scene is read from.
        block_bytes: size of the largest block, all of which must be in memory to read a pixel of it.
        native_grid: the pixel grid of the file.
        grid: the pixel grid that windows refer to: that of the file, or of the file resampled.

    Raises:
        DataError: the file cannot be opened, or lacks a band or a coordinate reference system.
    """

    def __init__(
        self,
        name: str | Path,
        bands: Sequence[int] | None = None,
        *,
        resolution: float = RESOLUTION,
        driver: str | None = None,
    ) -> None:
        rasterio = import_rasterio()
        self.name = os.fspath(name)
        with gdal_environment():
            self._file = open_raster(self.name, driver)
            self._opened = [self._file]  # VRTs come after the files that they read
            try:
                self.files = local_files(self._file, self.name)
                self._open(bands, resolution)
            except DataError:
                self.close()
                raise
            except (rasterio.errors.RasterioError, OverflowError, ValueError) as error:
                self.close()
                raise DataError(f"Cannot tell where {self.name} lies: {first_line(error)}.") from None

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
    def dtype(self) -> str:
        """Return the dtype of the bands that are read."""
        return str(self._file.dtypes[self.bands[0] - 1])

    @property
    def band_count(self) -> int:
        """Return the number of bands in the file."""
        return int(self._file.count)

    @property
    def tags(self) -> list[BandTags]:
        """Return scale and offset of the three bands."""
        return [read_band_tags(self._file, band) for band in self.bands]

    @property
    def other_rasters(self) -> list[str]:
        """Return the names of the other rasters in the file, of which this is the first."""
        return list(self._file.subdatasets)[1:]

    def sample(self) -> np.ma.MaskedArray:
        """Return an overview of the scene (bands, H, W), masked where it has no data."""
        factor = min(1.0, SAMPLE_SIDE / max(self.grid.height, self.grid.width))
        shape = tuple(max(1, round(side * factor)) for side in (self.grid.height, self.grid.width))
        pixels, valid = self._working.read(shape=shape)
        return np.ma.masked_array(pixels, np.broadcast_to(~valid, pixels.shape))

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
        self.native_grid, self.grid = native_grid, grid
        with gdal_environment():
            self._native = self._reader(self._warped(native_grid, beyond=True))
            self._working = self._reader(self._warped(grid, beyond=True))

    def _open(self, bands: Sequence[int] | None, resolution: float) -> None:
        """Check the header, expand a palette, and choose bands and grid."""
        self._check_georeference()
        self.block_bytes = _block_bytes(self._file)
        if needs_palette_expansion(self._file, bands):
            expanded = open_raster(palette_vrt(self._file))
            self._opened.append(expanded)
            self._file = expanded
            self.bands, self.bands_source = choose_bands(expanded, bands)
            self.bands_source = "the colours of its palette"
        else:
            self.bands, self.bands_source = choose_bands(self._file, bands)
        self._check_types()
        file = self._file
        self.native_grid = RasterGrid.measured(
            file.crs.to_wkt(), file.transform, height=file.height, width=file.width, name=self.name
        )
        self._pixel_size = self.native_grid.pixel_size
        self.grid = self.native_grid.resample(resolution, name=self.name)
        self._native = self._reader(file)
        resampled = self.grid is not self.native_grid
        self._working = self._reader(self._warped(self.grid)) if resampled else self._native

    def _reader(self, data: Any) -> BandReader:
        """Return a reader of the scene's bands from the file or a VRT of it."""
        return BandReader(data, self.bands, name=self.name, is_local=bool(self.files))

    def _check_georeference(self) -> None:
        """Check that the file has a usable CRS and transform, and a sound header."""
        file = self._file
        place, crs = file.transform, file.crs
        if file.gcps[0] and place.is_identity:
            raise DataError(
                f"{self.name} has ground control points and no transform: warp it first, such as "
                "with gdalwarp -tps -t_srs EPSG:4326 IN OUT."
            )
        if file.rpcs is not None and place.is_identity:
            raise DataError(
                f"{self.name} has rational polynomials (RPCs) and no transform: warp it first, such "
                "as with gdalwarp -rpc -t_srs EPSG:4326 IN OUT."
            )
        known = crs is not None and (crs.is_projected or crs.is_geographic)
        if not known or not np.isfinite(place).all() or place.is_degenerate or place.is_identity:
            raise DataError(
                f"{self.name} has no georeference: set its CRS and transform first, such as "
                "with gdal_edit.py -a_srs EPSG:32632 -a_ullr ULX ULY LRX LRY."
            )
        claimed = file.height * file.width * file.count
        size = sum(each.stat().st_size for each in self.files)
        if file.driver == "GTiff" and size and claimed > _MAX_PIXELS_PER_BYTE * size:
            raise DataError(
                f"{self.name} is damaged: its header states {file.width} x {file.height} pixels in {size:,} "
                "bytes. Get the file again."
            )

    def _check_types(self) -> None:
        """Raise a DataError if the bands differ in dtype or are complex."""
        if len(kinds := {self._file.dtypes[band - 1] for band in self.bands}) > 1:
            raise DataError(
                f"The bands of {self.name} have different types, {', '.join(sorted(kinds))}: write one "
                "type, such as with gdal_translate -ot UInt16 IN OUT."
            )
        if "complex" in self.dtype:
            raise DataError(f"The bands of {self.name} are complex numbers: write their amplitudes first.")

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
    """Read a window that may reach beyond a grid; there, what lies inside is mirrored.

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


def _block_bytes(file: Any) -> int:
    """Return the size in memory of the largest block of a file."""
    sizes = [
        height * width * np.dtype(kind).itemsize
        for (height, width), kind in zip(file.block_shapes, file.dtypes, strict=True)
    ]
    together = file.interleaving is None or file.interleaving.name == "pixel"
    return max(sizes) * (len(sizes) if together else 1)
