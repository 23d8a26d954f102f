"""Mosaic of scenes on one grid; where they overlap, the first with data counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orbitune.errors import DataError
from orbitune.mapping.scene.radiometry import ReflectanceScaling
from orbitune.mapping.scene.raster_grid import RasterGrid
from orbitune.mapping.scene.reader import Scene, read_mirrored

_EXTRA = 2  # pixels around a scene that its resampled edge may reach


@dataclass(frozen=True)
class SceneSpec:
    """A picklable description of how to read one scene.

    Attributes:
        name: of the raster, see `raster_io.open_raster`.
        bands, scaling, white: see `reader.Scene`.
    """

    name: str
    bands: tuple[int, ...]
    scaling: ReflectanceScaling
    white: int | None = None


class Mosaic:
    """One or more open scenes on the grid of the first, extended to cover all.

    A pixel is that of the first scene that has data there. Scenes on other grids are resampled. Not
    thread-safe, as `Scene`.

    Args:
        scenes: open scenes; the mosaic closes them.

    Attributes:
        scenes: the open scenes.
        native_grid: the pixel grid of the first scene's file, extended by whole pixels.
        grid: the same area at the training resolution.

    Raises:
        DataError: the scenes have different numbers of bands, or no common grid.
    """

    def __init__(self, scenes: Sequence[Scene], *, resolution: float) -> None:
        self.scenes = tuple(scenes)
        first, *others = scenes
        self.native_grid, self.grid = first.native_grid, first.grid
        self._windows: list[Any] = [None]
        if others:
            _check_band_counts(scenes)
            grids = [scene.native_grid for scene in scenes]
            self.native_grid = grids[0].union(grids[1:], name=first.name)
            self.grid = self.native_grid.resample(resolution, name=first.name)
            self._windows = [_pixels_of(self.grid, grid) for grid in grids]
            for scene in scenes:
                scene.warp(self.native_grid, self.grid)

    @classmethod
    def open(cls, specs: Sequence[SceneSpec], *, resolution: float, driver: str | None = None) -> "Mosaic":
        """Open the scenes of a mosaic, see `Scene`."""
        scenes: list[Scene] = []
        try:
            for each in specs:
                scene = Scene(each.name, each.bands, resolution=resolution, driver=driver, white=each.white)
                scenes.append(scene)
            return cls(scenes, resolution=resolution)
        except DataError:
            for scene in scenes:
                scene.close()
            raise

    def __enter__(self) -> "Mosaic":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def read_window(
        self, top: int, left: int, *, height: int, width: int, scalings: Sequence[ReflectanceScaling]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read a window of the grid, see `Scene.read_window`.

        Args:
            top, left, height, width: the window in pixels; it may reach beyond the grid.
            scalings: of each scene to the numbers of the training tiles.
        """
        return read_mirrored(
            lambda window: self._read(window, scalings),
            self.grid,
            top=top,
            left=left,
            height=height,
            width=width,
        )

    def read_owners(self, top: int, left: int, *, height: int, width: int) -> np.ndarray:
        """Return the index of the scene that each pixel of a window is of.

        Args:
            top, left, height, width: as in `read_window`.

        Returns:
            int (height, width), -1 where no scene has data.
        """

        def read(window: Any) -> tuple[np.ndarray, np.ndarray]:
            owners = np.full((window.height, window.width), -1)
            for number, scene in reversed([*enumerate(self.scenes)]):
                owners[scene.read(window)[1]] = number
            return owners[..., None], owners >= 0

        return read_mirrored(read, self.grid, top=top, left=left, height=height, width=width)[0][..., 0]

    def overview(self, scalings: Sequence[ReflectanceScaling]) -> np.ma.MaskedArray:
        """Return the scaled, downsampled mosaic (h, w, bands), masked without data."""
        found, missing = None, None
        for scene, scaling in zip(self.scenes, scalings, strict=True):
            sample = scene.sample()
            pixels, gaps = scaling(sample.data), np.ma.getmaskarray(sample)[0]
            if found is None or missing is None:
                found, missing = pixels, gaps.copy()
            else:
                found[missing] = pixels[missing]
                missing &= gaps
        assert found is not None and missing is not None  # there is a first scene
        return np.ma.masked_array(found, np.broadcast_to(missing[..., None], found.shape))

    def read_valid(self, top: int, height: int) -> np.ndarray:
        """Return which pixels of rows of the native grid hold data, bool (height, W)."""
        found = [scene.read_rows(top, height)[1] for scene in self.scenes]
        return np.logical_or.reduce(found)

    def close(self) -> None:
        """Close the scenes."""
        for scene in self.scenes:
            scene.close()

    def _read(self, window: Any, scalings: Sequence[ReflectanceScaling]) -> tuple[np.ndarray, np.ndarray]:
        """Return scaled pixels (H, W, bands) and validity (H, W) of an inner window."""
        from rasterio.windows import intersect

        found: tuple[np.ndarray, np.ndarray] | None = None
        for scene, scaling, covered in zip(self.scenes, scalings, self._windows, strict=True):
            if found is not None and (found[1].all() or not intersect([covered, window])):
                continue
            raw, valid = scene.read(window)
            pixels = scaling(raw)
            if found is not None:
                missing = ~found[1]
                found[0][missing] = pixels[missing]
                valid |= found[1]
                pixels = found[0]
            found = pixels, valid
        assert found is not None  # there is a first scene
        return found


def _check_band_counts(scenes: Sequence[Scene]) -> None:
    """Raise a DataError if the files have different numbers of bands."""
    first = scenes[0]
    for scene in scenes[1:]:
        if scene.band_count != first.band_count:
            raise DataError(
                f"{first.name} has {first.band_count} bands and {scene.name} has {scene.band_count}: scenes "
                "of one map need the same bands. Write files with the same bands, or map them one by one."
            )


def _pixels_of(grid: RasterGrid, scene: RasterGrid) -> Any:
    """Return the rasterio window of a grid that holds a scene."""
    from rasterio.windows import Window

    points = grid.outline(scene)
    left, top = (np.floor(points.min(0)) - _EXTRA).astype(int).tolist()
    right, bottom = (np.ceil(points.max(0)) + _EXTRA).astype(int).tolist()
    return Window(left, top, right - left, bottom - top)
