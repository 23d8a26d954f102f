"""Worker that labels parts of one map, with the same bytes on every machine."""

import numpy as np

from orbitune.inference.bundle import Bundle
from orbitune.inference.bundle_model import BundleModel
from orbitune.mapping.dense import DenseHead, DensePredictor
from orbitune.mapping.grid import NODATA, CellPredictions, PixelWindow, encode_cells, select_cells
from orbitune.mapping.job_spec import JobSpec
from orbitune.mapping.scene.mosaic import Mosaic
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
        self.scene = Mosaic.open(spec.scenes, resolution=spec.resolution, driver=spec.driver)
        self.not_sure = spec.not_sure and self.bundle.ood_detector is not None
        self.tilewise = TilewisePredictor(self.bundle, self.network, not_sure=self.not_sure)
        self._predictor: CellPredictor = self.tilewise
        if head:
            self.use_dense_head(head)

    def use_dense_head(self, head: DenseHead) -> None:
        """Use the dense head for all later `label` calls."""
        self._predictor = DensePredictor(head, self.tilewise)

    def read_part(self, number: int) -> PixelWindow:
        """Return the pixels of a part and of its spatial context, with the margin of their tiles."""
        row, column, rows, columns = self.spec.block_with_context(number)
        return self.read_cells(row, column, rows=rows, columns=columns, reach=self.spec.context.reach)

    def read_cells(self, row: int, column: int, *, rows: int, columns: int, reach: int = 0) -> PixelWindow:
        """Return the pixels of a block of cells, with the margin of their tiles.

        Args:
            row, column: first cell of the block.
            rows, columns: size of the block in cells.
            reach: cells around those of the area of interest that are read as well.
        """
        cells = self.spec.cells
        top, left, height, width = cells.window(row, column, rows=rows, columns=columns)
        wanted = self._wanted(row, column, rows=rows, columns=columns)
        if wanted is not None and reach:
            from scipy.ndimage import binary_dilation

            wanted = binary_dilation(wanted, np.ones((2 * reach + 1, 2 * reach + 1)))
        if wanted is not None and not wanted.any():  # nothing is read outside the area of interest
            used = self.bundle.metadata.preprocessing
            nothing = np.zeros((height, width, len(used.bands)), used.dtype)
            return PixelWindow(nothing, np.zeros((height, width), bool), cells, wanted, (row, column))
        scalings = [scene.scaling for scene in self.spec.scenes]
        pixels, valid = self.scene.read_window(top, left, height=height, width=width, scalings=scalings)
        return PixelWindow(pixels, valid, cells, wanted, (row, column))

    def _wanted(self, row: int, column: int, *, rows: int, columns: int) -> np.ndarray | None:
        """Return which cells of a block the area of interest touches; None without one."""
        if self.spec.aoi is None:
            return None
        cells = self.spec.cells
        shift = type(self.scene.grid.transform)
        place = shift.translation(cells.left + column * cells.stride, cells.top + row * cells.stride)
        return self.spec.aoi.mask((rows, columns), place * shift.scale(cells.stride), all_touched=True)

    def label(self, number: int, window: PixelWindow) -> np.ndarray:
        """Label all cells of a part.

        Args:
            number: number of the part.
            window: its pixels, from `read_part`.

        Returns:
            uint8 (3, rows, columns): codes and confidence as in `grid.encode_cells`, and 1 for cells all of
            whose pixels hold data, else 0.
        """
        where = select_cells(window, self.not_sure)
        complete = window.cell_coverage == 1
        if not len(where):
            predicted = CellPredictions(
                np.empty((0, len(self.bundle.classes)), np.float32), np.empty(0, bool)
            )
        else:
            predicted = self._with_context(self._predictor.predict(window, where), where, complete.shape)
        encoded = encode_cells(
            window, where, predicted=predicted, min_confidence=self.tilewise.min_confidence
        )
        return self._without_context(number, np.stack([*encoded, complete.astype(np.uint8)]))

    def _without_context(self, number: int, labels: np.ndarray) -> np.ndarray:
        """Return the labels of a part, without the cells that were predicted as its context alone."""
        first_row, first_column = self.spec.block_with_context(number)[:2]
        row, column, rows, columns = self.spec.block(number)
        top, left = row - first_row, column - first_column
        labels = labels[:, top : top + rows, left : left + columns]
        if (wanted := self._wanted(row, column, rows=rows, columns=columns)) is not None:
            labels[:2] = np.where(wanted, labels[:2], NODATA)
        return labels

    def _with_context(
        self, predicted: CellPredictions, where: np.ndarray, shape: tuple[int, ...]
    ) -> CellPredictions:
        """Return predictions averaged with those of the cells around.

        Cells that are out of distribution count as well: leaving them out made more answers wrong.
        """
        if not self.spec.context.steps:
            return predicted
        known = np.zeros((*shape, predicted.probabilities.shape[1]), np.float32)
        known[tuple(where.T)] = predicted.probabilities
        averaged = self.spec.context.average(known)[tuple(where.T)]
        return CellPredictions(averaged, predicted.outside)

    def close(self) -> None:
        """Close the scene."""
        self.scene.close()
