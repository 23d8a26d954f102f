"""Linear classification heads on features, fitted by L-BFGS."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from orbitune.evaluation.calibration import probabilities

_WEIGHT_DECAY = 1e-2


@dataclass(frozen=True)
class LinearHead:
    """A linear classification head.

    Attributes:
        weight: float32 (C, D).
        bias: float32 (C,).
    """

    weight: np.ndarray
    bias: np.ndarray

    @classmethod
    def fit(
        cls, features: np.ndarray, targets: np.ndarray, *, start: "LinearHead | None" = None
    ) -> "LinearHead":
        """Fit a head to the least regularised cross-entropy.

        Args:
            features: float (N, D), standardised for the fit.
            targets: probabilities, float (N, C).
            start: head that weights and biases are regularised towards; None to regularise the weights
                alone, towards zero.

        Returns:
            The head, for features as they are given.
        """
        import torch

        mean, deviation = features.mean(0), features.std(0) + 1e-6
        inputs = torch.from_numpy((features - mean) / deviation).double()
        wanted = torch.from_numpy(targets).double()
        known = torch.zeros_like(wanted) if start is None else torch.from_numpy(start.logits(features))
        weight = torch.zeros(targets.shape[1], inputs.shape[1], dtype=torch.double, requires_grad=True)
        bias = torch.zeros(targets.shape[1], dtype=torch.double, requires_grad=True)
        optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

        def loss() -> Any:
            optimizer.zero_grad()
            logits = known + torch.nn.functional.linear(inputs, weight, bias)
            penalty = (weight**2).sum() + (0 if start is None else (bias**2).sum())
            value = torch.nn.functional.cross_entropy(logits, wanted) + _WEIGHT_DECAY * penalty
            value.backward()
            return value

        optimizer.step(loss)
        scaled = weight.detach().numpy() / deviation
        shift = bias.detach().numpy() - scaled @ mean
        if start is not None:
            scaled, shift = start.weight + scaled, start.bias + shift
        return cls(scaled.astype(np.float32), shift.astype(np.float32))

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return logits, float (..., C), of features (..., D)."""
        return np.asarray(features @ self.weight.T + self.bias)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Return probabilities, float64 (N, C), of features (N, D)."""
        return probabilities(self.logits(features))
