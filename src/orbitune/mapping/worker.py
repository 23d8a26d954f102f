"""Worker that labels parts of one map, with the same bytes on every machine."""

import numpy as np

from orbitune.inference.bundle import Bundle
from orbitune.inference.bundle_model import BundleModel
from orbitune.mapping.dense.predictor import DenseFit, DensePredictor
from orbitune.mapping.grid import PixelWindow, encode_cells, select_cells
from orbitune.mapping.job_spec import JobSpec
from orbitune.mapping.label_sets.planes import encode_label_sets, thresholds_of
from orbitune.mapping.scene.mosaic import Mosaic
from orbitune.mapping.smoothing import probability_planes
from orbitune.mapping.tilewise import CellPredictor, TilewisePredictor


class Worker:
    """Read and label parts of a map.

    Args:
        spec: the map to work on.
        fit: the head of dense prediction; None to predict tile by tile.

    Attributes:
        not_sure: whether out-of-distribution cells have no class; False if the bundle has no OOD detector.
        tilewise: the tile-wise predictor, whatever labels the parts.
    """

    def __init__(self, spec: JobSpec, fit: DenseFit | None = None) -> None:
        import torch

        torch.set_num_threads(spec.threads)
        self.spec = spec
        self.bundle = Bundle.open(spec.source)
        self.network = BundleModel(self.bundle, spec.backbone, attention=spec.attention)
        self.scene = Mosaic.open(spec.scenes, resolution=spec.resolution, driver=spec.driver)
        self.not_sure = spec.not_sure and self.bundle.ood_detector is not None
        self.tilewise = TilewisePredictor(
            self.bundle, self.network, window=spec.cells.tile, not_sure=self.not_sure
        )
        self.smoothed = spec.smoothing is not None
        self._predictor: CellPredictor = self.tilewise
        self._thresholds = thresholds_of(self.bundle)
        if fit:
            self.use_dense(fit)

    def use_dense(self, fit: DenseFit) -> None:
        """Use the dense head for all later `label` calls."""
        self._predictor = DensePredictor(
            self.network, fit, tilewise=self.tilewise, out_of_distribution=self.not_sure
        )

    def read_part(self, number: int) -> PixelWindow:
        """Return the pixels of a part, with the margin of its tiles."""
        row = number * self.spec.rows
        rows = min(self.spec.rows, self.spec.cells.rows - row)
        return self.read_cells(row, 0, rows=rows, columns=self.spec.cells.columns)

    def read_cells(self, row: int, column: int, *, rows: int, columns: int) -> PixelWindow:
        """Return the pixels of a block of cells, with the margin of their tiles."""
        cells = self.spec.cells
        top, left, height, width = cells.window(row, column, rows=rows, columns=columns)
        wanted = self._wanted(row, column, rows=rows, columns=columns)
        if wanted is not None and not wanted.any():  # nothing is read outside the area of interest
            used = self.bundle.metadata.preprocessing
            nothing = np.zeros((height, width, len(used.bands)), used.dtype)
            return PixelWindow(nothing, np.zeros((height, width), bool), cells, wanted)
        scalings = [scene.scaling for scene in self.spec.scenes]
        pixels, valid = self.scene.read_window(top, left, height=height, width=width, scalings=scalings)
        return PixelWindow(pixels, valid, cells, wanted)

    def _wanted(self, row: int, column: int, *, rows: int, columns: int) -> np.ndarray | None:
        """Return which cells of a block the area of interest touches; None without one."""
        if self.spec.aoi is None:
            return None
        cells = self.spec.cells
        shift = type(self.scene.grid.transform)
        place = shift.translation(cells.left + column * cells.stride, cells.top + row * cells.stride)
        return self.spec.aoi.mask((rows, columns), place * shift.scale(cells.stride), all_touched=True)

    def label(self, window: PixelWindow) -> np.ndarray:
        """Label all cells of a window.

        Returns:
            uint8 (3, rows, columns): codes and confidence as in `grid.encode_cells`, and 1 for cells all of
            whose pixels hold data, else 0. With several labels a cell the codes are those of
            `label_sets.planes`, which has the further planes; the confidence is 0. Of the patch
            head, the further planes are those that `smoothing` reads.
        """
        where = select_cells(window, self.not_sure)
        complete = window.cell_coverage == 1
        if not len(where):
            predicted = np.empty((0, len(self.bundle.classes) + 1), np.float32)
        else:
            predicted = self._predictor.predict(window, where)
        if self._thresholds is None:
            encoded = encode_cells(window, where, predicted=predicted)
            labels = np.stack([*encoded, complete.astype(np.uint8)])
            if not self.smoothed:
                return labels
            planes = probability_planes(predicted, where, shape=complete.shape)
            return np.concatenate([labels, planes])
        codes, planes = encode_label_sets(window, where, predicted=predicted, thresholds=self._thresholds)
        return np.stack([codes, np.zeros_like(codes), complete.astype(np.uint8), *planes])

    def close(self) -> None:
        """Close the scene."""
        self.scene.close()
