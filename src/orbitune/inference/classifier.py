"""Classifier: from images to labels with calibrated probabilities and OOD scores."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orbitune.errors import DataError
from orbitune.inference.bundle import Bundle
from orbitune.inference.bundle_model import BundleModel
from orbitune.inference.image_inputs import ImageInput, check_bands, decode_tile, expand
from orbitune.inference.prediction import Prediction
from orbitune.sources.decode import strict_decoding

if TYPE_CHECKING:
    import torch

_BATCH = 256  # tiles that `predict_proba` resizes and computes in one pass


@dataclass(frozen=True)
class ComputedBatch:
    """Some images with what the model computed of them.

    Attributes:
        images: in order.
        decoded: the tile of each, or the reason why there is none.
        logits: of those with a tile, float32 (n, C), not calibrated.
        distances: their OOD scores, float32 (n,); None where the model has no OOD detector.
    """

    images: Sequence[ImageInput]
    decoded: Sequence[np.ndarray | str]
    logits: np.ndarray
    distances: np.ndarray | None


class Classifier:
    """A classifier of satellite tiles.

    Examples:
        >>> from orbitune import Classifier
        >>> classifier = Classifier.from_pretrained("bundle")
        >>> for prediction in classifier.predict("tiles/"):
        ...     print(prediction.input, prediction.labels[0], prediction.sure)

    Args:
        source: folder of a bundle or of a finished run, or the hub id of a bundle.
        backbone: hub id or folder of the backbone, where it no longer lies where the bundle says.
        precision: bf16, fp16, tf32 or fp32; None for that of the processor.
        device: such as cpu, cuda or cuda:1; None for the GPU if there is one.
        bands: names or numbers of the inputs' bands that the model's bands are read from, in their order;
            None for the model's own names.

    Raises:
        OrbituneError: there is no such model, it is damaged, the backbone has other weights, or the model
            reads another number of bands.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        backbone: str | Path | None = None,
        precision: str | None = None,
        device: "str | torch.device | None" = None,
        bands: Sequence[str | int] | None = None,
    ) -> None:
        self.bundle = Bundle.open(source)
        self._spec = self.bundle.tile_spec
        self._bands = check_bands(self._spec, bands)
        self._detector = self.bundle.ood_detector
        self._rule = self.bundle.prediction_rule
        name = None if backbone is None else str(backbone)
        self._model = BundleModel(self.bundle, name, precision=precision, device=device)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        backbone: str | Path | None = None,
        precision: str | None = None,
        device: "str | torch.device | None" = None,
        bands: Sequence[str | int] | None = None,
    ) -> "Classifier":
        """Load a bundle, a finished run, or a bundle of the Hugging Face hub.

        Args:
            source: folder of a bundle or of a finished run, or the hub id of a bundle (owner/name).
            backbone: hub id or folder of the backbone, where it no longer lies where the bundle says.
            precision: bf16, fp16, tf32 or fp32; None for that of the processor.
            device: such as cpu, cuda or cuda:1; None for the GPU if there is one.
            bands: names or numbers of the inputs' bands that the model's bands are read from, in their
                order; None for the model's own names.

        Returns:
            The classifier, with the model in memory.

        Raises:
            OrbituneError: there is no such model, it is damaged, the backbone has other weights, or the model
                reads another number of bands.
        """
        return cls(source, backbone=backbone, precision=precision, device=device, bands=bands)

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the class names, in the order of the columns of `predict_proba`."""
        return self.bundle.classes

    def predict(self, inputs: Any, *, top_k: int | None = None, batch_size: int = 64) -> Iterator[Prediction]:
        """Predict images in order, one batch at a time.

        Args:
            inputs: a path of a file or folder, a pattern such as `tiles/*.png`, an array (H, W, C) or
                (N, H, W, C) as for `predict_proba`, an image of Pillow, or an iterable of these.
            top_k: largest number of labels of each prediction; None for 3, or with several labels a tile for
                all that reach their thresholds.
            batch_size: number of images in memory; as many are decoded meanwhile.

        Returns:
            One prediction for each image. What is wrong with a single image is the `error` of its prediction.

        Raises:
            DataError: top_k or batch_size is below 1.
        """
        if min(1 if top_k is None else top_k, batch_size) < 1:
            raise DataError("top_k and batch_size must be at least 1.")
        computed = self.compute(expand(inputs), batch_size=batch_size)
        return (prediction for batch in computed for prediction in self.predictions(batch, top_k))

    def predict_proba(self, tiles: np.ndarray) -> np.ndarray:
        """Return calibrated class probabilities.

        Args:
            tiles: (N, H, W, C), with the bands and dtype that the model reads (RGB models: uint8, 3), of any
                size; resized as the training tiles were.

        Returns:
            float32 (N, classes); rows sum to 1, unless a tile has several labels. Temperature scaling (Guo
            et al. 2017, arXiv:1706.04599) is applied.

        Raises:
            DataError: the array has another shape or dtype, or its tiles are too small.
        """
        used = self.bundle.metadata.preprocessing
        if tiles.dtype != used.dtype or tiles.ndim != 4 or tiles.shape[3] != len(used.bands):
            wanted = f"{used.dtype} (N, H, W, {len(used.bands)})"
            raise DataError(f"Expected tiles {wanted}, not {tiles.dtype} {tiles.shape}.")
        parts = [np.zeros((0, len(self.classes)))]
        for start in range(0, len(tiles), _BATCH):
            decoded = [self.decode(each) for each in expand(tiles[start : start + _BATCH])]
            if unusable := next((each for each in decoded if isinstance(each, str)), None):
                raise DataError(f"The tiles cannot be predicted: each {unusable}.")
            logits, _ = self._model.compute(np.stack(decoded))
            parts.append(self.bundle.task.probabilities(logits, self.bundle.decision))
        return np.concatenate(parts).astype(np.float32)

    def compute(self, images: Iterable[ImageInput], *, batch_size: int = 64) -> Iterator[ComputedBatch]:
        """Decode and compute images, one batch at a time; the next one is decoded meanwhile.

        Args:
            images: in order.
            batch_size: number of images in memory; as many are decoded meanwhile.
        """
        images = iter(images)
        with ThreadPoolExecutor() as pool:
            batch, tiles = list(islice(images, batch_size)), None
            while batch:
                following = list(islice(images, batch_size))
                with strict_decoding():
                    tiles = tiles or list(pool.map(self.decode, batch))
                    decoding = pool.map(self.decode, following)  # while this batch is computed
                    computed = self._compute(batch, tiles)
                    batch, tiles = following, list(decoding)
                yield computed

    def decode(self, image: ImageInput) -> np.ndarray | str:
        """Return an image as the model reads it, or the reason why it cannot.

        Args:
            image: what to read.

        Returns:
            uint8 or uint16 (H, W, C), or the end of a sentence that begins with the image's name.
        """
        return decode_tile(image, self._spec, bands=self._bands)

    def _compute(self, images: Sequence[ImageInput], decoded: Sequence[np.ndarray | str]) -> ComputedBatch:
        """Compute the images of a batch that could be decoded."""
        tiles = [tile for tile in decoded if isinstance(tile, np.ndarray)]
        if not tiles:
            return ComputedBatch(images, decoded, np.zeros((0, len(self.classes)), np.float32), None)
        logits, features = self._model.compute(np.stack(tiles))
        distances = self._detector.scores(features) if self._detector else None
        return ComputedBatch(images, decoded, logits, distances)

    def predictions(self, batch: ComputedBatch, top_k: int | None = None) -> Iterator[Prediction]:
        """Yield the predictions of a batch, in the order of its images.

        Args:
            batch: what `compute` yields.
            top_k: as for `predict`.
        """
        confidences = iter(self.bundle.task.probabilities(batch.logits, self.bundle.decision))
        distances = iter([] if batch.distances is None else batch.distances.tolist())
        for image, tile in zip(batch.images, batch.decoded, strict=True):
            if isinstance(tile, str):
                yield Prediction(image.name, error=tile)
                continue
            distance = next(distances, None)
            yield self._rule.predict(image.name, next(confidences), distance=distance, top_k=top_k)

    def is_sure(self, distance: float | None) -> bool | None:
        """Return whether an OOD score is at most the threshold; None without an OOD detector."""
        return self._rule.is_sure(distance)
