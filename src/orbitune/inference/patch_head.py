"""Patch head: the class of each patch of a window that is smaller than a tile.

A tile's label holds for the tile as a whole, but a window of a quarter of its side often shows parts of
several classes. The head reads the patches after the first third of the blocks, where each still says most
about its own ground, and is fitted to mosaics of training tiles, see `orbitune.inference.patch_fitting`. The
answer for a window is the mean of its patches' probabilities: half and half for half field and half wood.
Windows that are out of distribution are found by the mean feature of their patches.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orbitune.errors import ModelError, first_line
from orbitune.evaluation.ood import OODDetector
from orbitune.evaluation.tasks.platt_scaling import fit_sigmoids
from orbitune.inference.linear_head import LinearHead
from orbitune.models.files.checkpoint_files import PATCH_HEAD_FILE

_NUMBERS = ("min_confidence", "temperature", "offset", "threshold")  # tensors of a single number
_NEAREST = 1e-6  # of a probability to 0 and 1: its logit is finite


@dataclass(frozen=True)
class Confidence:
    """Calibration of the highest probability of a window.

    The mean over patches makes it too low. Its logit is scaled and shifted (Platt 1999), so the order of
    windows stays.

    Attributes:
        temperature, offset: the calibrated logit is logit / temperature + offset; both finite.
    """

    temperature: float
    offset: float

    @classmethod
    def fit(cls, highest: np.ndarray, right: np.ndarray) -> "Confidence":
        """Fit to highest probabilities (N,), 0..1, and whether their classes are right, bool (N,)."""
        temperature, [offset] = fit_sigmoids(_logits(highest)[:, None], right[:, None])
        return cls(temperature, offset)

    def __call__(self, highest: np.ndarray) -> np.ndarray:
        """Return the probabilities that the classes are right, float64 (N,), 0..1.

        Args:
            highest: highest probabilities, float (N,), 0..1.
        """
        from scipy.special import expit

        return np.asarray(expit(_logits(highest) / self.temperature + self.offset))


@dataclass(frozen=True)
class PatchHead:
    """A fitted patch head.

    Attributes:
        head: from the features of a patch to logits of the classes.
        detector: OOD detector for the mean feature of a window's patches.
        confidence: calibration of the highest probability.
        min_confidence: cells of a map with a lower highest probability, before its calibration, are *not
            sure*.
    """

    head: LinearHead
    detector: OODDetector
    confidence: Confidence
    min_confidence: float

    def out_of_distribution(self, means: np.ndarray) -> np.ndarray:
        """Return whether windows are out of distribution, bool (B,).

        Args:
            means: mean features of their patches, float32 (B, D), see `BundleModel.label_windows`.
        """
        return self.detector.scores(means) > self.detector.threshold

    def save(self, folder: Path) -> None:
        """Write its file into the folder of a bundle."""
        from safetensors.numpy import save_file

        confidence = self.confidence
        numbers = self.min_confidence, confidence.temperature, confidence.offset, self.detector.threshold
        tensors = {name: np.array(number, np.float32) for name, number in zip(_NUMBERS, numbers, strict=True)}
        tensors |= {"weight": self.head.weight, "bias": self.head.bias, **self.detector.tensors()}
        save_file(tensors, folder / PATCH_HEAD_FILE)

    @classmethod
    def load(cls, folder: Path) -> "PatchHead":
        """Read the file that `save` wrote.

        Raises:
            ModelError: it is missing or damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        file = folder / PATCH_HEAD_FILE
        try:
            tensors = load_file(file)
            head = LinearHead(tensors["weight"], tensors["bias"])
            limit, temperature, offset, threshold = (tensors[name].item() for name in _NUMBERS)
            detector = OODDetector.from_tensors(tensors, threshold)
        except KeyError as error:
            raise ModelError(
                f"{file} lacks {error}: make the bundle again with this version (orbitune bundle)."
            ) from None
        except (OSError, SafetensorError, IndexError, ValueError) as error:
            raise ModelError(f"{file} cannot be read: {first_line(error)}.") from None
        return cls(head, detector, Confidence(temperature, offset), min_confidence=limit)


def _logits(probabilities: np.ndarray) -> np.ndarray:
    """Return finite logits of probabilities, float64."""
    from scipy.special import logit

    return np.asarray(logit(np.clip(probabilities.astype(np.float64), _NEAREST, 1 - _NEAREST)))


def window_logits(head: LinearHead, features: np.ndarray) -> np.ndarray:
    """Return logarithms of the class probabilities of windows, float (B, C): of the mean over their patches.

    Args:
        head: of a `PatchHead`.
        features: of `BundleModel.patch_features`, float32 (B, P, D).
    """
    from scipy.special import log_softmax, logsumexp

    of_patches = log_softmax(head.logits(features), -1)
    return np.asarray(logsumexp(of_patches, 1) - np.log(of_patches.shape[1]))
