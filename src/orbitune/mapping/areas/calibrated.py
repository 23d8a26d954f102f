"""Class areas from the mapped areas and the confusion of the test tiles.

The model maps class t as class m with probability P(m | t). The mapped fractions are the true ones times
these probabilities, a linear system that is solved for the true ones: the classical calibration estimator
(Czaplewski and Catts 1992, Remote Sensing of Environment 39, 29-43). Unlike the areas of Olofsson et al.
(2014), which need a probability sample of this very map, it does not carry the class mix of the test tiles
into the map. It holds only if the model confuses the classes of the scene as it confused those of the tiles.
"""

import numpy as np

_DRAWS = 1000  # of the bootstrap
_SUM_WEIGHT = 1e4  # of the equation that fractions sum to 1, against 1 of the others
_PRIOR = 0.5  # tiles added to a row, spread over its cells; intervals then cover 93 to 97 %
_QUANTILES = (0.025, 0.975)


def calibrated_fractions(mapped: np.ndarray, confusion: np.ndarray, *, tiles: float) -> np.ndarray:
    """Estimate the fraction of each true class, with 95 % intervals.

    The estimate is the bounded least-squares solution on the simplex. The interval is a bootstrap of the
    solution without bounds, as bounds would bias it, cut to 0..1: in each draw the rows of the confusion
    matrix are resampled, and so are the mapped labels of the scene's tiles.

    Args:
        mapped: float (C,), fraction of each class on the map; they sum to 1.
        confusion: int (C, C), test tiles by true class (rows) and predicted class (columns). A class without
            test tiles is assumed to be mapped without error.
        tiles: number of tiles that the mapped area holds, which are assumed to err independently.

    Returns:
        float (3, C), 0..1: estimate, low and high end.
    """
    counts = _fill_untested(confusion)
    mixing = (counts / counts.sum(1, keepdims=True)).T  # P(map | true), a column per true class
    estimate = _solve_on_simplex(mixing, mapped)
    centre = np.linalg.lstsq(mixing, mapped, rcond=None)[0]
    draws = _bootstrap(estimate, counts, tested=confusion.sum(1) > 0, tiles=max(round(tiles), 1))
    low, high = np.quantile(draws, _QUANTILES, axis=0)
    half = (high - low) / 2
    return np.stack(
        [
            estimate,
            np.minimum(np.clip(centre - half, 0, 1), estimate),
            np.maximum(np.clip(centre + half, 0, 1), estimate),
        ]
    )


def _fill_untested(confusion: np.ndarray) -> np.ndarray:
    """Return the confusion matrix as float, with one right tile in empty rows."""
    counts = confusion.astype(float)
    untested = counts.sum(1) == 0
    counts[untested, untested] = 1
    return counts


def _solve_on_simplex(mixing: np.ndarray, mapped: np.ndarray) -> np.ndarray:
    """Return the fractions, >= 0 and of sum 1, that best explain the mapped ones."""
    from scipy.optimize import nnls

    rows = np.vstack([mixing, np.full(len(mapped), _SUM_WEIGHT)])
    found = nnls(rows, np.append(mapped, _SUM_WEIGHT))[0]
    return found / found.sum()


def _bootstrap(estimate: np.ndarray, counts: np.ndarray, *, tested: np.ndarray, tiles: int) -> np.ndarray:
    """Return solutions without bounds of resampled data, float (draws, C).

    Rows are drawn from a Dirichlet distribution, which is a multinomial bootstrap that also allows for
    confusions that the test tiles happen not to show.
    """
    rng = np.random.default_rng(0)
    size = len(counts)
    smooth = np.where(tested[:, None], counts + _PRIOR / size, counts)
    shape = (_DRAWS, size, size)
    weights = rng.standard_gamma(np.broadcast_to(smooth, shape))
    rows = weights / weights.sum(2, keepdims=True)
    expected = smooth / smooth.sum(1, keepdims=True)
    whole = np.floor(tiles * estimate).astype(int)
    rest = np.maximum(tiles * estimate - whole, 1e-12)
    true = whole + rng.multinomial(max(tiles - whole.sum(), 0), rest / rest.sum(), size=_DRAWS)
    labels = np.sum([rng.multinomial(true[:, one], expected[one]) for one in range(size)], axis=0) / tiles
    return np.linalg.solve(rows.swapaxes(1, 2), labels[:, :, None])[:, :, 0]
