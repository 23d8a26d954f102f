"""Out-of-distribution (OOD) detection from the features before the head.

The OOD score is the Mahalanobis distance to the nearest class mean (Lee et al. 2018, arXiv:1807.03888) of
L2-normalised features (Mueller and Hein 2025, arXiv:2505.18032), with the covariance shrunk as by Ledoit and
Wolf (2004, doi:10.1016/S0047-259X(03)00096-4), which is well-conditioned with few tiles too. On crops of
photographs and a LoRA trained on EuroSAT it detected all that the k-th nearest neighbour (Sun et al. 2022,
arXiv:2204.06507) detected and a fifth more, in a tenth of the space; maximum softmax probability detected
next to nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from orbitune.errors import ModelError, first_line
from orbitune.evaluation.conformal import upper_threshold

MEASURE = "Mahalanobis distance to the nearest class of the training tiles, of features of length 1"


@dataclass(frozen=True)
class OODDetector:
    """A fitted OOD detector for D features and C classes.

    Attributes:
        whitening: float32 (D, D), lower triangular; whitened features have identity covariance in each class.
        means: whitened class means, float32 (C, D).
        threshold: OOD score above which a tile is out of distribution.
    """

    whitening: np.ndarray
    means: np.ndarray
    threshold: float

    @classmethod
    def fit(
        cls, features: np.ndarray, labels: np.ndarray, *, held_out: np.ndarray, false_alarm_rate: float
    ) -> "OODDetector":
        """Fit a detector to training tiles, with a threshold from held-out tiles.

        Args:
            features: of training tiles, float32 (N, D).
            labels: their classes, int64 (N,).
            held_out: features of in-distribution tiles that the model was not trained on, float32 (M, D).
            false_alarm_rate: probability, 0..1, with which a further in-distribution tile exceeds the
                threshold, at most; see `orbitune.evaluation.conformal`.
        """
        from sklearn.covariance import ledoit_wolf

        unit = _normalise(features).astype(np.float64)
        classes = np.unique(labels)
        means = np.stack([unit[labels == label].mean(0) for label in classes])
        spread = unit - means[np.searchsorted(classes, labels)]
        covariance = ledoit_wolf(spread, assume_centered=True)[0]
        covariance += 1e-9 * np.eye(len(covariance))  # constant features have no variance
        whitening = np.linalg.inv(np.linalg.cholesky(covariance))
        # Rounded as they are stored, so that the threshold fits the detector that is loaded.
        detector = cls(_round_to_half(whitening), _round_to_half(means @ whitening.T), np.inf)
        return replace(detector, threshold=upper_threshold(detector.scores(held_out), false_alarm_rate))

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Return each tile's OOD score: the distance to the nearest class mean.

        Args:
            features: float32 (B, D).

        Returns:
            float32 (B,), >= 0.
        """
        whitened = _normalise(features) @ self.whitening.T
        squared = [((whitened - mean) ** 2).sum(1) for mean in self.means]
        return np.sqrt(np.min(squared, 0))

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the tensors to store, float16, without the zeros of the triangle."""
        rows, columns = np.tril_indices(len(self.whitening))
        tensors = {"whitening": self.whitening[rows, columns], "means": self.means}
        return {name: tensor.astype(np.float16) for name, tensor in tensors.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray], threshold: float) -> "OODDetector":
        """Return the detector of stored tensors.

        Raises:
            KeyError, IndexError or ValueError: they are not those of a detector.
        """
        means, triangle = (tensors[name].astype(np.float32) for name in ("means", "whitening"))
        width = means.shape[1]
        whitening = np.zeros((width, width), np.float32)
        whitening[np.tril_indices(width)] = triangle
        return cls(whitening, means, threshold)

    def save(self, file: Path) -> None:
        """Write the tensors as safetensors."""
        from safetensors.numpy import save_file

        save_file(self.tensors(), file)

    @classmethod
    def load(cls, file: Path, threshold: float) -> "OODDetector":
        """Read a file that `save` wrote.

        Args:
            file: the safetensors file.
            threshold: OOD score above which a tile is out of distribution.

        Raises:
            ModelError: the file is missing or damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            return cls.from_tensors(load_file(file), threshold)
        except (OSError, SafetensorError, KeyError, IndexError, ValueError) as error:
            raise ModelError(f"{file} cannot be read: {first_line(error)}.") from None


def _normalise(features: np.ndarray) -> np.ndarray:
    """Return features (N, D) scaled to length 1."""
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _round_to_half(values: np.ndarray) -> np.ndarray:
    """Return values rounded to float16, as float32."""
    return values.astype(np.float16).astype(np.float32)
