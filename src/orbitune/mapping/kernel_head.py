"""Kernel regression from features of grid cells to what a model computes for them."""

from dataclasses import dataclass

import numpy as np

_NUGGET = 0.03  # variance of what the features cannot tell, relative to that of the values
_LENGTH = 2.0  # distance of standardised features over which values become unlike
_BATCH = 4096  # cells at a time


@dataclass(frozen=True)
class KernelHead:
    """Values of cells as the mean of a Gaussian process (Rasmussen and Williams 2006, chapter 2).

    The covariance of two cells is the mean of two terms: an exponential of the distance of their features,
    and the fraction of ground that their tiles share.

    Attributes:
        scale, shift: of the features, which become feature * scale + shift, float32 (D,).
        features: of the cells that it is fitted to, float32 (N, D), scaled.
        places: row and column of these cells in the grid, float32 (N, 2).
        weights: float32 (N, V).
        mean: of the values, float32 (V,).
        across: side of a tile in cells, float32 (1,).
    """

    scale: np.ndarray
    shift: np.ndarray
    features: np.ndarray
    places: np.ndarray
    weights: np.ndarray
    mean: np.ndarray
    across: np.ndarray

    @classmethod
    def fit(
        cls, features: np.ndarray, places: np.ndarray, *, values: np.ndarray, across: float
    ) -> "tuple[KernelHead, np.ndarray]":
        """Fit a head to the values of some cells.

        Args:
            features: float (N, D).
            places: row and column of each cell in the grid, (N, 2).
            values: float (N, V).
            across: side of a tile in cells.

        Returns:
            The head, and the values that it would predict for each of these cells if it were fitted to the
            others alone, float64 (N, V).
        """
        # Each of D standardised features has a D-th part in the squared distance.
        scale = 1 / ((features.std(0) + 1e-6) * np.sqrt(features.shape[1]))
        shift = -features.mean(0) * scale
        scaled, mean = features * scale + shift, values.mean(0)
        covariance = _covariance(scaled, places, others=(scaled, places), across=across)
        inverse = np.linalg.inv(covariance.astype(np.float64) + _NUGGET * np.eye(len(scaled)))
        weights = inverse @ (values - mean)
        left_out = values - weights / np.diag(inverse)[:, None]
        arrays = scale, shift, scaled, places, weights, mean, np.array([across])
        return cls(*(each.astype(np.float32) for each in arrays)), left_out

    def __call__(self, features: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return values of cells, float32 (K, V).

        Args:
            features: float (K, D).
            places: row and column of each cell in the grid, (K, 2).
        """
        others, across = (self.features, self.places), float(self.across[0])
        scaled, found = (features * self.scale + self.shift).astype(np.float32), []
        for start in range(0, len(scaled), _BATCH):
            part = slice(start, start + _BATCH)
            covariance = _covariance(scaled[part], places[part], others=others, across=across)
            found.append(_multiply(covariance, self.weights))
        return np.concatenate([np.empty((0, len(self.mean)), np.float32), *found]) + self.mean


def _covariance(
    features: np.ndarray, places: np.ndarray, *, others: tuple[np.ndarray, np.ndarray], across: float
) -> np.ndarray:
    """Return the covariance of cells with other cells, float32 (K, N)."""
    ours, theirs = features.astype(np.float32), others[0].astype(np.float32)
    squares = (ours**2).sum(1)[:, None] + (theirs**2).sum(1) - 2 * _multiply(ours, theirs.T)
    alike = np.exp(np.sqrt(np.maximum(squares, 0)) * np.float32(-1 / _LENGTH))
    apart = np.abs(places[:, None].astype(np.float32) - others[1].astype(np.float32)) / np.float32(across)
    return (alike + np.maximum(1 - apart, 0).prod(2)) / 2


def _multiply(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return a matrix product by torch, whose threads are those of the map on every machine."""
    import torch

    product: np.ndarray = (torch.from_numpy(left) @ torch.from_numpy(np.ascontiguousarray(right))).numpy()
    return product
