"""The served models and the operations that pages and JSON endpoint share."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.data.preview import rgb_preview
from orbitune.data.transform import to_tensor
from orbitune.errors import OrbituneError
from orbitune.evaluation.attribution import attribution_map
from orbitune.inference.bundle import Bundle
from orbitune.inference.classifier import Classifier, Prediction
from orbitune.inference.image_inputs import ImageInput, to_tile
from orbitune.mapping.map_report import MapReport
from orbitune.mapping.options import MapOptions
from orbitune.models.methods import find_method
from orbitune.progress import OnProgress
from orbitune.serving.uploads import decode_image, read_uploads
from orbitune.sources.decode import strict_decoding
from orbitune.suggestions import unknown

_CHUNK = 64  # images predicted under one lock; then other requests get a turn


@dataclass(frozen=True)
class ClassProbability:
    """The probability of one class.

    Attributes:
        label: its name.
        probability: calibrated, 0..1.
        threshold: probability from which a tile has the class; None with one label a tile.
    """

    label: str
    probability: float
    threshold: float | None


@dataclass(frozen=True)
class TimedPrediction:
    """A prediction and its latency.

    Attributes:
        prediction: labels with probabilities, or an error.
        seconds: from the bytes of the file to the labels.
        classes: all classes, the most probable first; none if there is an error.
    """

    prediction: Prediction
    seconds: float
    classes: tuple[ClassProbability, ...]

    @property
    def several_labels(self) -> bool:
        """Return whether a tile may have several labels, or none: those that reach their thresholds."""
        return any(each.threshold is not None for each in self.classes)

    def to_json(self) -> dict[str, Any]:
        """Return the body of a JSON response.

        `classes` is present if a tile may have several labels, `error` if the image cannot be read.
        """
        found = self.prediction
        labels = [{"label": name, "probability": probability} for name, probability in found.labels]
        values = {"labels": labels, "sure": found.sure, "distance": found.distance, "seconds": self.seconds}
        if self.several_labels:
            values["classes"] = [asdict(each) for each in self.classes]
        return {**values, **({"error": f"The image {found.error}."} if found.error else {})}


class ServedModel:
    """A bundle or run that is served. Predictions of one model run one at a time.

    Attributes:
        lock: held while the model computes.
    """

    def __init__(
        self, source: str | Path, backbone: str | None = None, *, bands: Sequence[str] | None = None
    ) -> None:
        self._classifier = Classifier.from_pretrained(source, backbone=backbone, bands=bands)
        self._source, self._backbone, self._bands = source, backbone, bands
        self.lock = threading.Lock()

    @property
    def bundle(self) -> Bundle:
        """Return the opened bundle, see `orbitune.inference.bundle.Bundle`."""
        return self._classifier.bundle

    @property
    def card(self) -> str:
        """Return the model card as Markdown; for a run, a summary of its scores."""
        file = self.bundle.folder / "README.md"
        if file.is_file():
            return file.read_text(encoding="utf-8").split("\n---\n", 1)[-1]
        metadata = self.bundle.metadata
        rows = [
            f"- {split}, {scores.count:,} tiles: "
            + ", ".join(f"{name} {text}" for name, text in scores.cells().items())
            + (f". {metadata.describe_seen(split)}" if scores.seen else "")
            for split, scores in metadata.scores.items()
        ]
        head = f"{find_method(metadata.method).title} of {metadata.backbone.description}"
        classes = f"Classes: {', '.join(metadata.classes)}."
        return f"## {head}\n\n{classes}\n\nScores on the {metadata.data.split_name}:\n\n" + "\n".join(rows)

    def predict_image(self, data: bytes, top_k: int | None = None) -> TimedPrediction:
        """Predict the labels of one image.

        Args:
            data: the content of an image file.
            top_k: as for `Classifier.predict`.
        """
        start = time.perf_counter()
        image = ImageInput("the image", partial(decode_image, data))
        with self.lock:
            (computed,) = self._classifier.compute([image])
            (prediction,) = self._classifier.predictions(computed, top_k)
        return TimedPrediction(prediction, time.perf_counter() - start, self._rank_classes(computed.logits))

    def _rank_classes(self, logits: np.ndarray) -> tuple[ClassProbability, ...]:
        """Return the probabilities of all classes, the highest first, of logits (1, C) or (0, C)."""
        decision = self.bundle.decision
        thresholds = decision.thresholds or (None,) * len(self.bundle.classes)
        return tuple(
            ClassProbability(self.bundle.classes[place], float(row[place]), thresholds[place])
            for row in self.bundle.task.probabilities(logits, decision)
            for place in row.argsort(kind="stable")[::-1].tolist()
        )

    def predict_images(self, images: Iterator[ImageInput], top_k: int | None = None) -> Iterator[Prediction]:
        """Yield a prediction for each image, in order.

        Args:
            images: paths, arrays or images.
            top_k: as for `Classifier.predict`.

        Yields:
            One prediction per image.
        """
        while chunk := list(islice(images, _CHUNK)):
            with self.lock:
                predictions = list(self._classifier.predict(iter(chunk), top_k=top_k))
            yield from predictions

    def compute_attribution(self, data: bytes, label: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Return a tile at the model's input size and its attribution map for a label.

        Args:
            data: the content of an image file.
            label: the class to explain.

        Returns:
            The tile in colours, uint8 (H, W, 3), and the attribution, float32 (h, w) in 0..1, one value per
            patch; see `orbitune.evaluation.attribution`. None where the backbone's family has no map.
        """
        family, model = self._reference_model
        if model is None:
            return None
        used = self.bundle.metadata.preprocessing
        with strict_decoding():
            image = ImageInput("", partial(decode_image, data))
            tile = to_tile(image, self.bundle, bands=self._bands)
        with self.lock:
            pixels = used.transform(to_tensor(tile[None].copy()))
            found = attribution_map(model, family, pixels=pixels, label=self.bundle.classes.index(label))
        found -= found.min()
        return rgb_preview(tile, used.bands), found / max(float(found.max()), 1e-12)

    def map_scene(
        self,
        scene: Path,
        outputs: Mapping[str, Path],
        *,
        options: MapOptions,
        log: Callable[[str], None],
        on_progress: OnProgress,
    ) -> MapReport:
        """Map a scene, see `orbitune.map_scene`.

        A second copy of the model is used, so that tiles can be predicted meanwhile.

        Args:
            scene: raster file.
            outputs: path of each output by its name, see `orbitune.mapping.outputs.table`.
            options: options of the map.
            log: receives lines about the progress.
            on_progress: called with the number of finished parts and of all.

        Returns:
            Areas of the classes, warnings and metadata.
        """
        from orbitune.mapping.pipeline import map_scene

        return map_scene(
            self._source,
            scene,
            outputs=outputs,
            options=options,
            backbone=self._backbone,
            progress=False,
            on_progress=on_progress,
            log=log,
        )

    @cached_property
    def _reference_model(self) -> tuple[Any, Any]:
        """Family and transformers model, loaded on first use; no model where there is no attribution map."""
        backbone = self.bundle.backbone(self._backbone)
        has_map = backbone.family.has_attribution_map
        return backbone.family, self.bundle.model(backbone) if has_map else None


class PredictionService:
    """The models of one server, by name.

    Args:
        sources: name -> bundle or run folder, or hub id.
        backbone: folder or hub id of the base model, if it is no longer where it was during training.
        bands: names or numbers of the tiles' bands, see `Classifier`.

    Raises:
        OrbituneError: a source cannot be opened, or reads another number of bands.
    """

    def __init__(
        self,
        sources: Mapping[str, str | Path],
        backbone: str | None = None,
        *,
        bands: Sequence[str] | None = None,
    ) -> None:
        self.models = {name: ServedModel(source, backbone, bands=bands) for name, source in sources.items()}

    def get_model(self, name: str | None) -> ServedModel:
        """Return a model by name; the first one for None.

        Raises:
            OrbituneError: the name is unknown.
        """
        chosen = self.models.get(name or next(iter(self.models)))
        if chosen is None:
            raise OrbituneError(unknown("model", name, known=self.models))
        return chosen

    def predict_files(self, name: str | None, paths: Sequence[Path]) -> Iterator[Prediction]:
        """Yield a prediction for each image in uploaded files and zips.

        It is the most probable label, or with several labels a tile all that reach their thresholds.
        """
        model = self.get_model(name)
        top_k = 1 if model.bundle.decision.thresholds is None else None
        with ExitStack() as stack:
            yield from model.predict_images(read_uploads(paths, stack), top_k)

    def models_with_same_classes(self, name: str | None) -> dict[str, ServedModel]:
        """Return the models with the same classes as this one, itself included."""
        classes = set(self.get_model(name).bundle.classes)
        return {other: model for other, model in self.models.items() if set(model.bundle.classes) == classes}


def name_models(sources: Sequence[str]) -> dict[str, str]:
    """Return sources by model name, the last part of the path.

    Repeated names are numbered.
    """
    names: dict[str, str] = {}
    for source in sources:
        stem = Path(source).resolve().name if Path(source).exists() else source.split("/")[-1]
        taken = sum(known == stem or known.startswith(f"{stem} (") for known in names)
        names[f"{stem} ({taken + 1})" if taken else stem] = source
    return names
