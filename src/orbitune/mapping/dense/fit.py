"""Fit of the dense head to tile-wise predictions.

The head is in doubt where its two highest probabilities are close. How close is chosen on each scene: so that
of the cells without the most frequent class, nine of ten agree with their tile-wise prediction or are in
doubt. This is measured on the drawn cells, each half of them by a head that is fitted to the other half.
"""

from collections import defaultdict
from dataclasses import replace

import numpy as np

from orbitune.errors import DataError, ModelError
from orbitune.inference.linear_head import LinearHead
from orbitune.mapping.dense.predictor import WINDOW_TOKENS, DenseFit, dense_features, margins, min_rows
from orbitune.mapping.grid import PixelWindow, select_cells
from orbitune.mapping.nearby import from_degrees
from orbitune.mapping.worker import Worker

_FIT_FRACTION, _MIN_FIT, _MAX_FIT = 0.02, 500, 3000  # cells of a scene that the head is fitted to
_FIT_PER_WINDOW = 10
_AGREEMENT = 0.9  # of the cells without the most frequent class
# Points of an adaptation in the mapped area: fewer would shift all labels to their classes.
_MIN_LABELLED = 10


def fit_dense_head(worker: Worker) -> DenseFit:
    """Fit the dense head to tile-wise predictions of cells drawn all over the scene.

    If the model was adapted to this scene, the head is then refitted to the labelled points, as that of the
    model was: the drawn predictions hold only a part of what the points teach.

    Raises:
        ModelError: the backbone cannot predict densely.
        DataError: the scene holds no tile with enough data.
    """
    if not (plan := worker.network.plan).fast:
        raise ModelError(f"Dense mode needs the fast path, but {plan.why_not_fast}: use --mode tiles.")
    drawn = _drawn_predictions(worker)
    fit = DenseFit(LinearHead.fit(*drawn), _choose_margin(*drawn))
    features, labels = _labelled_features(worker)
    if len(labels) < _MIN_LABELLED or len(set(labels)) < 2:
        return fit
    head = LinearHead.fit(np.stack(features), np.eye(len(fit.head.bias))[labels], start=fit.head)
    return replace(fit, head=head, labelled_points=len(labels))


def _choose_margin(features: np.ndarray, predicted: np.ndarray) -> float:
    """Return the smallest margin that leaves enough agreement, see the module.

    Args:
        features, predicted: of `_drawn_predictions`.
    """
    halves = np.arange(len(features)) // _FIT_PER_WINDOW % 2
    if not halves.any():
        return 0.0
    found = np.empty_like(predicted)
    for half in np.unique(halves):
        rest = halves != half
        found[~rest] = LinearHead.fit(features[rest], predicted[rest])(features[~rest])
    codes = predicted.argmax(1)
    rarer = codes != np.bincount(codes).argmax()
    wrong = margins(found)[rarer & (found.argmax(1) != codes)]
    accepted = int((1 - _AGREEMENT) * rarer.sum())
    return float(np.sort(wrong)[::-1][accepted]) if len(wrong) > accepted else 0.0


def _drawn_predictions(worker: Worker) -> tuple[np.ndarray, np.ndarray]:
    """Return dense features (N, D) and tile-wise predictions (N, C + 1) of drawn cells.

    Raises:
        DataError: the scene holds no tile with enough data.
    """
    cells, random = worker.spec.cells, np.random.default_rng(0)
    wanted = int(np.clip(_FIT_FRACTION * cells.rows * cells.columns, _MIN_FIT, _MAX_FIT)) // _FIT_PER_WINDOW
    features, tiles = [], []
    for _ in range(10 * wanted):
        row, column = (int(random.integers(n)) for n in (cells.rows, cells.columns))
        top, left, rows, columns = _block_around(worker, row, column)
        window = worker.read_cells(top, left, rows=rows, columns=columns)
        where = _draw_cells(window, _FIT_PER_WINDOW, random=random, not_sure=worker.not_sure)
        if len(where):
            features.append(dense_features(worker.network, window)[tuple(where.T)])
            tiles.append(window.tiles(where))
        if len(features) == wanted:
            break
    if not features:
        raise DataError("The scene has too few complete tiles to fit dense predictions: use --mode tiles.")
    return np.concatenate(features), worker.tilewise.predict_tiles(np.concatenate(tiles))


def _labelled_features(worker: Worker) -> tuple[list[np.ndarray], list[int]]:
    """Return dense features (D,) and class indices of the points that the model was adapted to.

    Points of other scenes are left out, and so are those in cells that can have no class, or get their pixels
    from another scene of a mosaic.
    """
    cells = worker.spec.cells
    blocks = defaultdict(list)  # points near each other share the features of a block of cells
    for row, column, label in _labelled_cells(worker):
        block = _block_around(worker, row, column)
        blocks[block].append((row - block[0], column - block[1], label))
    features, labels = [], []
    for (top, left, rows, columns), found in sorted(blocks.items()):
        window = worker.read_cells(top, left, rows=rows, columns=columns)
        y, x, height, width = cells.window(top, left, rows=rows, columns=columns)
        owners = worker.scene.read_owners(y, x, height=height, width=width)
        own = np.isin(owners, worker.spec.adapted)
        usable = set(map(tuple, select_cells(replace(window, valid=own), worker.not_sure).tolist()))
        if not (kept := [each for each in found if each[:2] in usable]):
            continue
        of_cells = dense_features(worker.network, window)
        features += [of_cells[row, column].copy() for row, column, _ in kept]  # a view would keep the block
        labels += [label for _, _, label in kept]
    return features, labels


def _labelled_cells(worker: Worker) -> list[tuple[int, int, int]]:
    """Return row, column and class index of the points that the model was adapted to in this scene."""
    adaptation, cells = worker.bundle.metadata.adaptation, worker.spec.cells
    if adaptation is None or not adaptation.places or not worker.spec.adapted:
        return []
    places = adaptation.places
    grid = worker.scene.grid
    pixels, inside = grid.locate(*from_degrees([place.degrees for place in places], grid.crs))
    rows, columns = ((pixels - [cells.top, cells.left]) // cells.stride).T
    inside &= (rows >= 0) & (rows < cells.rows) & (columns >= 0) & (columns < cells.columns)
    labels = [worker.bundle.classes.index(place.label) for place in places]
    return [
        (int(row), int(column), label)
        for row, column, label, within in zip(rows, columns, labels, inside, strict=True)
        if within
    ]


def _block_around(worker: Worker, row: int, column: int) -> tuple[int, int, int, int]:
    """Return first row, first column, rows and columns of a block of cells with the given one.

    The block begins where a token window of the map does, so that the features of its cells are those that
    they are labelled from: tokens differ with their place in a window.
    """
    cells, side = worker.spec.cells, min_rows(worker.spec.cells)
    part = row - row % worker.spec.rows
    top = row - (row - part) % WINDOW_TOKENS
    left = column - column % WINDOW_TOKENS
    rows = min(max(side, row + 1 - top), part + worker.spec.rows - top, cells.rows - top)
    return top, left, rows, min(max(side, column + 1 - left), cells.columns - left)


def _draw_cells(
    window: PixelWindow, count: int, *, random: np.random.Generator, not_sure: bool
) -> np.ndarray:
    """Draw up to `count` cells that can have a class, in row-major order."""
    where = select_cells(window, not_sure)
    return where[np.sort(random.permutation(len(where))[:count])]
