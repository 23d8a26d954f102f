"""The classifier: images in, labels with probabilities out, and whether they are like the training tiles."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.errors import DataError
from orbitune.evaluation.calibration import probabilities
from orbitune.extras import MissingExtraError
from orbitune.inference.bundle import Bundle
from orbitune.inference.bundle_model import BundleModel
from orbitune.inference.image_inputs import Name, Waiting, expand, to_tile
from orbitune.sources.decode import BadImageError, strict_decoding


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of one input.

    Attributes:
        input: its path, or its position among the inputs, from 0.
        labels: class names with their calibrated probabilities, 0..1, the most probable first.
        sure: whether it is like the training tiles; None where the model does not say what those are like.
        distance: from the training tiles, see `orbitune.evaluation.ood`; None likewise.
        error: why there is no prediction, to follow the input's name; None where there is one.
    """

    input: Name
    labels: tuple[tuple[str, float], ...] = ()
    sure: bool | None = None
    distance: float | None = None
    error: str | None = None


class Classifier:
    """Predicts with a bundle or a finished run.

    Args:
        source: folder of a bundle or of a finished run, or a bundle's hub id.
        backbone: hub id or folder of the backbone, where it no longer lies where the bundle says.

    Raises:
        OrbituneError: there is no such model, it is damaged, or the backbone has other weights.
    """

    def __init__(self, source: str | Path, backbone: str | None = None) -> None:
        self.bundle = Bundle.open(source)
        self._likeness = self.bundle.likeness
        self._network = BundleModel(self.bundle, backbone)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.bundle.classes

    def predict(self, inputs: Any, top_k: int = 3, batch_size: int = 64) -> Iterator[Prediction]:
        """A prediction for every input, in their order; they are read a batch at a time.

        Args:
            inputs: see `orbitune.inference.image_inputs.expand`.
            top_k: how many labels each prediction has, at most.
            batch_size: how many images are in memory at once; the next as many are decoded meanwhile.

        Raises:
            DataError: top_k or batch_size is below 1. What is wrong with one input is its own `error`.
        """
        if min(top_k, batch_size) < 1:
            raise DataError("Give at least one label, and predict at least one image at a time.")
        return self._predict(expand(inputs), top_k, batch_size)

    def _predict(self, waiting: Iterator[Waiting], top_k: int, batch_size: int) -> Iterator[Prediction]:
        with ThreadPoolExecutor() as pool:
            batch, tiles = list(islice(waiting, batch_size)), None
            while batch:
                following = list(islice(waiting, batch_size))
                with strict_decoding():
                    tiles = tiles or list(pool.map(self._decode, batch))
                    decoding = pool.map(self._decode, following)  # while this batch is computed
                    rows = self._rows(batch, tiles, top_k)
                    batch, tiles = following, list(decoding)
                yield from rows

    def _decode(self, waiting: Waiting) -> np.ndarray | str:
        """A tile, or why there is none."""
        try:
            return to_tile(waiting, self.bundle.tile_size, self.bundle.white)
        except (BadImageError, DataError, MissingExtraError) as error:
            return str(error)

    def _rows(
        self, batch: Sequence[Waiting], decoded: Sequence[np.ndarray | str], top_k: int
    ) -> list[Prediction]:
        tiles = [tile for tile in decoded if isinstance(tile, np.ndarray)]
        good = iter(self._classify(np.stack(tiles), top_k) if tiles else ())
        return [
            Prediction(each.name, error=tile) if isinstance(tile, str) else next(good)(each.name)
            for each, tile in zip(batch, decoded, strict=True)
        ]

    def _classify(self, tiles: np.ndarray, top_k: int) -> "list[partial[Prediction]]":
        """Predictions that only lack the name of their input."""
        logits, features = self._network.compute(tiles)
        shares = probabilities(logits, self.bundle.temperature)
        distances = self._likeness.distances(features).tolist() if self._likeness else [None] * len(tiles)
        made = []
        for row, distance in zip(shares, distances, strict=True):
            best = row.argsort(kind="stable")[::-1][:top_k].tolist()
            labels = tuple((self.classes[index], float(row[index])) for index in best)
            sure = None if self._likeness is None else distance <= self._likeness.threshold
            made.append(partial(Prediction, labels=labels, sure=sure, distance=distance))
        return made
