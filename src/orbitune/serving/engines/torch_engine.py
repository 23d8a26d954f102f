"""Engine `torch`: a bundle or run, on the fast path where there is one."""

import numpy as np

from orbitune.inference.bundle import Bundle
from orbitune.inference.bundle_model import BundleModel
from orbitune.serving.engines.engine import Engine
from orbitune.serving.engines.micro_batches import Compute


class TorchEngine(Engine):
    """A bundle, a finished run, or a bundle of the hub, computed by PyTorch."""

    bundle: Bundle

    def open(self) -> None:
        """Open the bundle."""
        self.bundle = Bundle.open(self.source)
        self.rule, self.spec = self.bundle.prediction_rule, self.bundle.tile_spec

    def load(self) -> Compute:
        """Load adapter and backbone."""
        import torch

        if self.threads:
            torch.set_num_threads(self.threads)
        model, detector = BundleModel(self.bundle, self.backbone), self.bundle.ood_detector

        def compute(tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
            logits, features = model.compute(tiles)
            probabilities = self.rule.task.probabilities(logits, self.rule.decision)
            return probabilities, detector.scores(features) if detector else None

        return compute

    @property
    def size(self) -> int:
        """Return the size of the bundle."""
        return self.bundle.bytes
