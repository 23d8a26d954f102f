"""Patch head: the class of each patch of a window that is smaller than a tile.

A tile's label holds for the tile as a whole, but a window of a quarter of its side often shows parts of
several classes. The head reads the patches after the first third of the blocks, where each still says most
about its own ground, and is fitted to mosaics of training tiles, see `orbitune.inference.patch_fitting`. The
answer for a window is the mean of its patches' probabilities: half and half for half field and half wood.
Windows that show no ground like that of the training tiles are found by the mean feature of their patches.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orbitune.errors import ModelError, first_line
from orbitune.evaluation.ood import OODDetector
from orbitune.inference.linear_head import LinearHead

PATCH_HEAD_FILE = "patch_head.safetensors"


@dataclass(frozen=True)
class PatchHead:
    """A fitted patch head.

    Attributes:
        head: from the features of a patch to logits of the classes.
        detector: OOD detector for the mean feature of a window's patches.
        min_confidence: cells of a map with a lower highest probability are *not sure*.
        temperature: calibrates the probabilities of a map: the mean over patches makes them too low.
    """

    head: LinearHead
    detector: OODDetector
    min_confidence: float
    temperature: float

    def out_of_distribution(self, features: np.ndarray) -> np.ndarray:
        """Return whether windows are unlike all training tiles, bool (B,).

        Args:
            features: of `BundleModel.patch_features`, float32 (B, P, D).
        """
        return self.detector.scores(features.mean(1)) > self.detector.threshold

    def save(self, folder: Path) -> None:
        """Write its file into the folder of a bundle."""
        from safetensors.numpy import save_file

        numbers = {
            "min_confidence": self.min_confidence,
            "temperature": self.temperature,
            "threshold": self.detector.threshold,
        }
        tensors = {name: np.array(number, np.float32) for name, number in numbers.items()}
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
            detector = OODDetector.from_tensors(tensors, float(tensors["threshold"]))
            return cls(head, detector, float(tensors["min_confidence"]), float(tensors["temperature"]))
        except (OSError, SafetensorError, KeyError, IndexError, ValueError) as error:
            raise ModelError(f"{file} cannot be read: {first_line(error)}.") from None


def window_logits(head: LinearHead, features: np.ndarray) -> np.ndarray:
    """Return logarithms of the class probabilities of windows, float (B, C): of the mean over their patches.

    Args:
        head: of a `PatchHead`.
        features: of `BundleModel.patch_features`, float32 (B, P, D).
    """
    from scipy.special import log_softmax, logsumexp

    of_patches = log_softmax(head.logits(features), -1)
    return np.asarray(logsumexp(of_patches, 1) - np.log(of_patches.shape[1]))
