"""Dense answers are fitted to tile-by-tile answers of the same scene, and compared with others of them."""

from pathlib import Path
from typing import Any

import numpy as np

from orbitune.errors import DataError, ModelError
from orbitune.mapping.dense import DenseHead, dense_features, fewest_rows
from orbitune.mapping.grid import Part, askable, codes_of
from orbitune.mapping.worker import Worker, part_file

_SHARE, _LEAST, _MOST = 0.02, 300, 3000  # cells of a scene that dense answers are fitted to
_OF_WINDOW = 10  # of them in a window
_CHECKED = 200  # cells that are answered again when a map is done


def fit_readout(worker: Worker) -> DenseHead:
    """Fit the linear layer to cells in windows drawn all over the scene.

    Raises:
        ModelError: the model has no dense answers.
        DataError: there is nothing to fit to.
    """
    if not (plan := worker.network.plan).fast:
        raise ModelError(f"Dense mode needs the fast path, but {plan.why_not_fast}. Use --mode tiles.")
    cells, random = worker.order.cells, np.random.default_rng(0)
    side = min(fewest_rows(cells), cells.rows, cells.columns)
    wanted = int(np.clip(_SHARE * cells.rows * cells.columns, _LEAST, _MOST)) // _OF_WINDOW
    features, tiles = [], []
    for _ in range(10 * wanted):
        row, column = (int(random.integers(n - side + 1)) for n in (cells.rows, cells.columns))
        part = worker.read_cells(row, column, side, side)
        where = _some(part, _OF_WINDOW, random, worker.not_sure)
        if len(where):
            features.append(dense_features(worker.network, part)[tuple(where.T)])
            tiles.append(part.tiles(where))
        if len(features) == wanted:
            break
    if not features:
        raise DataError("There is hardly a whole tile in the scene to fit dense answers to: --mode tiles.")
    return DenseHead.fit(np.concatenate(features), worker.by_tile.of_tiles(np.concatenate(tiles)))


def agreement(worker: Worker, folder: Path) -> dict[str, Any]:
    """Ask again tile by tile at cells drawn from the finished parts.

    Returns:
        cells, how many; share, 0..1, of those with the same answer; and mean_of_answers, the mean of the
        shares of each answer, so that rare ones count as much. The shares are None where there are no cells.
    """
    random, parts = np.random.default_rng(1), worker.order.parts
    dense, tiles = [], []
    visited = random.permutation(parts)[: _CHECKED // 20].tolist()
    for number in visited:
        part = worker.read(number)
        where = _some(part, -(-_CHECKED // len(visited)), random, worker.not_sure)
        if len(where):
            dense.append(np.load(part_file(folder, number))[0][tuple(where.T)])
            tiles.append(part.tiles(where))
    if not tiles:
        return {"cells": 0, "share": None, "mean_of_answers": None}
    codes = codes_of(worker.by_tile.of_tiles(np.concatenate(tiles)))
    same = np.concatenate(dense) == codes
    each = [float(same[codes == code].mean()) for code in np.unique(codes)]
    return {"cells": len(same), "share": float(same.mean()), "mean_of_answers": float(np.mean(each))}


def _some(part: Part, count: int, random: np.random.Generator, not_sure: bool) -> np.ndarray:
    """Up to `count` cells of a part that can have a class, in order."""
    where = askable(part, not_sure)
    return where[np.sort(random.permutation(len(where))[:count])]
