"""Bootstrap intervals of the scores of several labels a tile.

Tiles are resampled with their labels. A score of a resample is that of the tiles with the number of times
that each was drawn as its weight, so nothing is sorted again. Precision changes the average precision only
where a tile with the label stands, so the weights are summed between such places, for many resamples at once.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from orbitune.evaluation.statistics.intervals import percentile_interval, wilson

if TYPE_CHECKING:
    from scipy.sparse import csr_array

RESAMPLES = 1000
_SEED = 0
_CHUNK = 1 << 18  # numbers of a table of weights, so that it stays in the processor's cache
_FEWEST = 16  # resamples at once


class RankedLabels:
    """Labels in the order of their scores, for the average precision of weighted tiles.

    Args:
        scores: float (M,), of one class, or of all together.
        labels: bool (M,).
        tiles: int (M,), the tile of each.
    """

    def __init__(self, scores: np.ndarray, labels: np.ndarray, *, tiles: np.ndarray) -> None:
        order = np.argsort(-scores, kind="stable")
        ordered, present, count = scores[order], labels[order], int(tiles.max()) + 1
        # Equal scores count together, up to the last of them.
        level = np.append(0, np.cumsum(ordered[1:] != ordered[:-1]))
        step = np.unique(level[present], return_inverse=True)
        self._true = _sums(step[1], tiles[order][present], shape=(len(step[0]), count))
        # The part between two levels with the label; what ranks below the last has no effect.
        part = np.searchsorted(step[0], level)
        kept = part < len(step[0])
        self._all = _sums(part[kept], tiles[order][kept], shape=(len(step[0]), count))

    def average_precision(self, weights: np.ndarray) -> np.ndarray:
        """Return the average precision with each column of weights, float64 (R,).

        It is NaN where no tile with the label has a weight.

        Args:
            weights: of the tiles, float64 (N, R).
        """
        steps = self._true @ weights
        true, found = np.cumsum(steps, 0), np.cumsum(self._all @ weights, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(steps > 0, steps * true / found, 0).sum(0) / steps.sum(0)


class _LabelSets:
    """True and predicted labels, for the F1 of weighted tiles.

    Args:
        decided, truth: bool (N, C).
    """

    def __init__(self, decided: np.ndarray, truth: np.ndarray) -> None:
        from scipy.sparse import csr_array

        self._true, self._present, self._decided = (
            csr_array(each.T.astype(np.float64)) for each in (decided & truth, truth, decided)
        )

    def f1_scores(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return macro-F1 and micro-F1 with each column of weights (N, R), float64 (R,) each."""
        true, present = self._true @ weights, self._present @ weights
        sizes = present + self._decided @ weights
        with np.errstate(invalid="ignore"):
            each = np.where(present > 0, 2 * true / sizes, np.nan)
        return _mean_of_present(each.T), 2 * true.sum(0) / np.maximum(sizes.sum(0), 1)


def _sums(rows: np.ndarray, columns: np.ndarray, *, shape: tuple[int, int]) -> "csr_array":
    """Return the matrix that sums the weights of tiles (columns) by row."""
    from scipy.sparse import coo_array

    return coo_array((np.ones(len(rows)), (rows, columns)), shape=shape).tocsr()


def bootstrap_scores(
    logits: np.ndarray, labels: np.ndarray, *, decisions: dict[str, np.ndarray]
) -> dict[str, tuple[float, float]]:
    """Return 95 % percentile intervals of the scores by name, (low, high); see `resample_scores`.

    Where all tiles are right no resample has an error, and few have one where few tiles have. So an interval
    is at least as wide as Wilson's of a fraction of the tiles that is one.
    """
    resampled = resample_scores(logits, labels, decisions=decisions)
    narrowest = 1 - wilson(len(labels), len(labels))[0]
    return {
        name: (max(0.0, min(low, high - narrowest)), high)
        for name, (low, high) in ((name, percentile_interval(each)) for name, each in resampled.items())
    }


def resample_scores(
    logits: np.ndarray, labels: np.ndarray, *, decisions: dict[str, np.ndarray], together: bool = True
) -> dict[str, np.ndarray]:
    """Return the scores of resampled tiles by name, float64 (R,); equal N and C give the same resamples.

    Args:
        logits: float (N, C), or what ranks tiles alike.
        labels: uint8 (N, C).
        decisions: predicted labels, bool (N, C), by the end of the name of their F1.
        together: whether to rank all labels together too, which takes as long as the rest.

    Returns:
        mean_average_precision, micro_average_precision (if `together`), and macro_f1 and micro_f1 of each
        decision.
    """
    tiles = np.arange(len(labels))
    classes = range(labels.shape[1])
    ranked = [RankedLabels(logits[:, c], labels[:, c] > 0, tiles=tiles) for c in classes]
    joint = None
    if together:
        joint = RankedLabels(logits.ravel(), labels.ravel() > 0, tiles=np.repeat(tiles, labels.shape[1]))
    sets = {end: _LabelSets(decided, labels > 0) for end, decided in decisions.items()}
    found: dict[str, list[np.ndarray]] = {}
    for weights in _resampled_weights(len(labels)):
        parts = {
            "mean_average_precision": _mean_of_present(
                np.stack([each.average_precision(weights) for each in ranked], 1)
            ),
        }
        if joint:
            parts["micro_average_precision"] = np.nan_to_num(joint.average_precision(weights))
        for end, each in sets.items():
            macro, micro = each.f1_scores(weights)
            parts |= {f"macro_f1{end}": macro, f"micro_f1{end}": micro}
        for name, values in parts.items():
            found.setdefault(name, []).append(values)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _resampled_weights(tiles: int) -> Iterator[np.ndarray]:
    """Yield how often each tile is drawn, float64 (N, R), in parts."""
    random = np.random.default_rng(_SEED)
    part = max(_FEWEST, _CHUNK // tiles)
    for start in range(0, RESAMPLES, part):
        rows = min(part, RESAMPLES - start)
        drawn = [np.bincount(random.integers(tiles, size=tiles), minlength=tiles) for _ in range(rows)]
        yield np.stack(drawn, 1).astype(np.float64)


def _mean_of_present(values: np.ndarray) -> np.ndarray:
    """Return the mean of each row, float64 (R, C), over what is no NaN; 0 where all are."""
    there = ~np.isnan(values)
    return np.where(there, values, 0).sum(1) / np.maximum(there.sum(1), 1)
