"""One part of a map: some rows of cells. What is done here is the same on every machine, to the byte."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from orbitune.files import replacing
from orbitune.inference.bundle import Bundle
from orbitune.inference.bundle_model import BundleModel
from orbitune.integrity import sealed, unsealed
from orbitune.mapping.dense import Dense, DenseHead
from orbitune.mapping.grid import CellGrid, Part, askable, coded
from orbitune.mapping.radiometry import Scaling
from orbitune.mapping.reader import Scene
from orbitune.mapping.tilewise import Answers, TilewisePredictor


@dataclass(frozen=True)
class Order:
    """All that a process needs to know to work on a map.

    Attributes:
        source, backbone: of the model, as in `Classifier`.
        attention: the kernel of its attention.
        threads: it computes with.
        scene: name of the raster, see `opening.open_raster`.
        bands, resolution, scaling: how it is read.
        cells: how it is cut.
        rows: rows of cells in a part.
        not_sure: whether cells unlike the training tiles have no class.
        driver: the only format of the scene that is taken; None for any.
    """

    source: str
    backbone: str | None
    attention: str | None
    threads: int
    scene: str
    bands: tuple[int, ...]
    resolution: float
    scaling: Scaling
    cells: CellGrid
    rows: int
    not_sure: bool
    driver: str | None = None

    @property
    def parts(self) -> int:
        """How many there are."""
        return -(-self.cells.rows // self.rows)


class Worker:
    """Works on parts of one map, tile by tile, or densely once it has a readout."""

    def __init__(self, order: Order, readout: DenseHead | None) -> None:
        import torch

        torch.set_num_threads(order.threads)
        self.order = order
        self.bundle = Bundle.open(order.source)
        self.network = BundleModel(self.bundle, order.backbone, attention=order.attention)
        self.scene = Scene(order.scene, order.bands, order.resolution, order.driver)
        self.not_sure = order.not_sure and self.bundle.ood_detector is not None
        self.by_tile = TilewisePredictor(self.bundle, self.network, self.not_sure)
        self._answers: Answers = self.by_tile
        if readout:
            self.answer_densely(readout)

    def answer_densely(self, readout: DenseHead) -> None:
        """From now on."""
        self._answers = Dense(self.network, readout, self.not_sure)

    def read(self, number: int) -> Part:
        """The pixels of a part."""
        row = number * self.order.rows
        rows = min(self.order.rows, self.order.cells.rows - row)
        return self.read_cells(row, 0, rows, self.order.cells.columns)

    def read_cells(self, row: int, column: int, rows: int, columns: int) -> Part:
        """The pixels of some rows and columns of cells."""
        cells = self.order.cells
        window = cells.window(row, column, rows, columns)
        return Part(*self.scene.window(*window, self.order.scaling), cells)

    def label(self, part: Part) -> np.ndarray:
        """Uint8 (3, rows, columns): what `cells.coded` gives, and 1 where no pixel of a cell is missing."""
        where = askable(part, self.not_sure)
        whole = part.shares[1] == 1
        return np.stack([*coded(part, where, self._answers.of(part, where)), whole.astype(np.uint8)])

    def close(self) -> None:
        """Close the scene."""
        self.scene.close()


def part_file(folder: Path, number: int) -> Path:
    """Where a finished part lies."""
    return folder / f"{number:05}.npy"


def write_part(folder: Path, number: int, labels: np.ndarray) -> None:
    """Keep what `Worker.label` gave, with a checksum."""
    content = BytesIO()
    np.save(content, labels)
    with replacing(part_file(folder, number)) as temporary:
        temporary.write_bytes(sealed(content.getvalue()))


def part_is_whole(folder: Path, number: int) -> bool:
    """Return whether a part is stored and undamaged; a damaged one is computed again."""
    try:
        unsealed(part_file(folder, number).read_bytes())
    except (OSError, ValueError):
        return False
    return True
