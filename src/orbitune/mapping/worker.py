"""Worker that labels parts of one map, with the same bytes on every machine."""

import numpy as np

from orbitune.inference.bundle import Bundle
from orbitune.inference.bundle_model import BundleModel
from orbitune.mapping.dense import DenseHead, DensePredictor
from orbitune.mapping.grid import PixelWindow, encode_cells, select_cells
from orbitune.mapping.job_spec import JobSpec
from orbitune.mapping.scene.reader import Scene
from orbitune.mapping.tilewise import CellPredictor, TilewisePredictor


class Worker:
    """Read and label parts of a map.

    Args:
        spec: the map to work on.
        head: the head of dense prediction; None to predict tile by tile.

    Attributes:
        not_sure: whether out-of-distribution cells have no class; False if the bundle has no OOD detector.
        tilewise: the tile-wise predictor, whatever labels the parts.
    """

    def __init__(self, spec: JobSpec, head: DenseHead | None = None) -> None:
        import torch

        torch.set_num_threads(spec.threads)
        self.spec = spec
        self.bundle = Bundle.open(spec.source)
        self.network = BundleModel(self.bundle, spec.backbone, attention=spec.attention)
        self.scene = Scene(spec.scene, spec.bands, resolution=spec.resolution, driver=spec.driver)
        self.not_sure = spec.not_sure and self.bundle.ood_detector is not None
        self.tilewise = TilewisePredictor(self.bundle, self.network, not_sure=self.not_sure)
        self._predictor: CellPredictor = self.tilewise
        if head:
            self.use_dense_head(head)

    def use_dense_head(self, head: DenseHead) -> None:
        """Use the dense head for all later `label` calls."""
        self._predictor = DensePredictor(self.network, head, not_sure=self.not_sure)

    def read_part(self, number: int) -> PixelWindow:
        """Return the pixels of a part, with the margin of its tiles."""
        row = number * self.spec.rows
        rows = min(self.spec.rows, self.spec.cells.rows - row)
        return self.read_cells(row, 0, rows=rows, columns=self.spec.cells.columns)

    def read_cells(self, row: int, column: int, *, rows: int, columns: int) -> PixelWindow:
        """Return the pixels of a block of cells, with the margin of their tiles."""
        cells = self.spec.cells
        top, left, height, width = cells.window(row, column, rows=rows, columns=columns)
        pixels, valid = self.scene.read_window(
            top, left, height=height, width=width, scaling=self.spec.scaling
        )
        return PixelWindow(pixels, valid, cells)

    def label(self, window: PixelWindow) -> np.ndarray:
        """Label all cells of a window.

        Returns:
            uint8 (3, rows, columns): codes and confidence as in `grid.encode_cells`, and 1 for cells all of
            whose pixels hold data, else 0.
        """
        where = select_cells(window, self.not_sure)
        complete = window.cell_coverage == 1
        encoded = encode_cells(window, where, predicted=self._predictor.predict(window, where))
        return np.stack([*encoded, complete.astype(np.uint8)])

    def close(self) -> None:
        """Close the scene."""
        self.scene.close()
