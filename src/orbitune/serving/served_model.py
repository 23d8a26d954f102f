"""A served model: predictions, attribution and maps, for pages and JSON alike."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.data.preview import rgb_preview
from orbitune.data.transform import to_tensor
from orbitune.errors import OrbituneError, counted
from orbitune.evaluation.attribution import attribution_map
from orbitune.extras import missing_modules
from orbitune.inference.bundle import Bundle
from orbitune.inference.image_inputs import ImageInput, Name, decode_tile, to_tile
from orbitune.inference.prediction import Prediction
from orbitune.mapping.grid import valid_strides
from orbitune.mapping.map_report import MapReport
from orbitune.mapping.options import MapOptions
from orbitune.models.methods import find_method
from orbitune.progress import OnProgress
from orbitune.serving.api.metrics import Metrics
from orbitune.serving.engines.engine import Engine
from orbitune.serving.engines.micro_batches import Answer, Compute, MicroBatcher
from orbitune.serving.engines.model_copies import Workers
from orbitune.serving.timed_prediction import ClassProbability, TimedPrediction
from orbitune.serving.uploads import decode_image
from orbitune.sources.decode import strict_decoding

_MAX_STRIDES = 5  # offered; finer ones cost much and show little more
_CHUNK = 64  # images predicted under one lock; then other requests get a turn


class NoAttributionError(OrbituneError):
    """A model has no attribution maps."""

    kind = "no_attribution"


class ServedModel:
    """A model that is served. Tiles of concurrent requests are computed together.

    Args:
        name: of the model, for the metrics.
        engine: has the model opened.
        metrics: count its predictions and batches.
        workers: compute the model, if not this process does.

    Attributes:
        engine: what computes it.
        lock: held while the model computes in this process.
    """

    def __init__(
        self, name: str, engine: Engine, *, metrics: Metrics, workers: Workers | None = None
    ) -> None:
        self.engine = engine
        self.lock = threading.Lock()
        self._loading = threading.Lock()  # or each of the first attribution maps would load a model
        self._metrics = metrics.of_model(name)
        self._compute = workers.compute_with(name) if workers else self._locked(engine.load())
        self.batcher = MicroBatcher(
            self._compute,
            threads=workers.count if workers else 1,
            on_batch=self._metrics.observe_batch,
        )
        self._metrics.observe_queue(self.batcher)

    @property
    def bundle(self) -> Bundle | None:
        """Return the opened bundle; None for a model that is an ONNX file alone."""
        return self.engine.bundle

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the class names."""
        return self.engine.rule.classes

    @property
    def several_labels(self) -> bool:
        """Return whether a tile may have several labels, or none."""
        return self.engine.rule.decision.thresholds is not None

    @property
    def card(self) -> str:
        """Return the model card as Markdown; for a run, a summary of its scores."""
        if self.bundle is None:
            return self.engine.summary
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

    @property
    def score(self) -> str | None:
        """Return the test score with what it was measured on; None where there is none."""
        metadata = self.bundle.metadata if self.bundle else None
        if not metadata or not (test := metadata.scores.get("test")):
            return None
        score = " ".join(next(iter(test.cells().items())))
        score += f", {counted(test.count, 'tile')} of the {metadata.data.split_name}"
        return ". ".join(filter(None, [score, metadata.describe_seen("test")]))

    @property
    def map_strides(self) -> list[int]:
        """Return the strides that a map may have, the default first; none where it makes no maps."""
        if self.bundle is None or self.several_labels or missing_modules("geo"):
            return []
        tile = self.bundle.tile_size[0]
        default = self.bundle.metadata.data.window or tile  # as `orbitune map`
        return [default, *(each for each in valid_strides(tile)[:_MAX_STRIDES] if each != default)]

    def preview(self, data: bytes) -> np.ndarray:
        """Return an image as the model's decoder reads it, in colours, uint8 (H, W, 3).

        Args:
            data: the content of an image file.

        Raises:
            BadImageError: it is no usable image, or lacks a band.
        """
        spec = self.engine.spec
        with strict_decoding():
            pixels = decode_image(data, self.engine.bands or (None if spec.is_rgb else spec.bands))
        return rgb_preview(pixels, spec.bands)

    def predict_image(self, data: bytes, top_k: int | None = None) -> TimedPrediction:
        """Predict the labels of one image.

        Args:
            data: the content of an image file.
            top_k: as for `Classifier.predict`.

        Raises:
            QueueFullError: too many images are waiting.
        """
        start = time.perf_counter()
        with self.batcher.admit(1) as places:
            tile = self._decode("the image", data)
            found = tile if isinstance(tile, str) else places.submit(tile).result()
        return self._finish("the image", found, start=start, top_k=top_k)

    async def predict_files(
        self, files: Sequence[tuple[Name, bytes]], top_k: int | None, *, limiter: Any
    ) -> list[TimedPrediction]:
        """Predict the labels of the images of one request.

        Args:
            files: name and content of each.
            top_k: as for `Classifier.predict`.
            limiter: anyio's CapacityLimiter of the threads that decode.

        Raises:
            QueueFullError: too many images are waiting.
        """
        from anyio.to_thread import run_sync

        start = time.perf_counter()
        found: list[str | asyncio.Future[Answer]] = []
        with self.batcher.admit(len(files)) as places:
            for name, data in files:
                tile = await run_sync(self._decode, name, data, limiter=limiter)
                if isinstance(tile, str):
                    places.withdraw(1)
                    found.append(tile)
                else:
                    found.append(asyncio.wrap_future(places.submit(tile)))
            answers = iter(await asyncio.gather(*(each for each in found if not isinstance(each, str))))
        return [
            self._finish(name, each if isinstance(each, str) else next(answers), start=start, top_k=top_k)
            for (name, _), each in zip(files, found, strict=True)
        ]

    def predict_images(self, images: Iterator[ImageInput], top_k: int | None = None) -> Iterator[Prediction]:
        """Yield a prediction for each image, in order.

        Args:
            images: paths, arrays or images.
            top_k: as for `Classifier.predict`.

        Yields:
            One prediction per image.
        """
        engine = self.engine
        decode = partial(decode_tile, spec=engine.spec, bands=engine.bands)
        with ThreadPoolExecutor() as pool:
            while chunk := list(islice(images, _CHUNK)):
                with strict_decoding():
                    decoded = list(pool.map(decode, chunk))
                tiles = [tile for tile in decoded if isinstance(tile, np.ndarray)]
                answers = iter(self._answers(np.stack(tiles)) if tiles else ())
                for image, tile in zip(chunk, decoded, strict=True):
                    yield self._predict(image.name, tile if isinstance(tile, str) else next(answers), top_k)

    def _locked(self, compute: Compute) -> Compute:
        """Return a function for one thread at a time."""

        def compute_alone(tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
            with self.lock:
                return compute(tiles)

        return compute_alone

    def _answers(self, tiles: np.ndarray) -> Iterator[Answer]:
        probabilities, distances = self._compute(tiles)
        scores = [None] * len(tiles) if distances is None else distances.tolist()
        yield from zip(probabilities, scores, strict=True)

    def _decode(self, name: Name, data: bytes) -> np.ndarray | str:
        image = ImageInput(name, partial(decode_image, data))
        return decode_tile(image, self.engine.spec, bands=self.engine.bands)

    def _predict(self, name: Name, found: Answer | str, top_k: int | None) -> Prediction:
        """Return the prediction of a computed tile, or of the reason why there is none."""
        if isinstance(found, str):
            prediction = Prediction(name, error=found)
        else:
            prediction = self.engine.rule.predict(name, found[0], distance=found[1], top_k=top_k)
        self._metrics.count(prediction)
        return prediction

    def _finish(self, name: Name, found: Answer | str, *, start: float, top_k: int | None) -> TimedPrediction:
        prediction = self._predict(name, found, top_k)
        classes = () if isinstance(found, str) else self._rank_classes(found[0])
        return TimedPrediction(prediction, time.perf_counter() - start, classes)

    def _rank_classes(self, probabilities: np.ndarray) -> tuple[ClassProbability, ...]:
        """Return the probabilities of all classes, the highest first."""
        thresholds = self.engine.rule.decision.thresholds or (None,) * len(self.classes)
        return tuple(
            ClassProbability(self.classes[place], float(probabilities[place]), thresholds[place])
            for place in probabilities.argsort(kind="stable")[::-1].tolist()
        )

    def compute_attribution(self, data: bytes, label: str) -> tuple[np.ndarray, np.ndarray]:
        """Return a tile at the model's input size and its attribution map for a label.

        Args:
            data: the content of an image file.
            label: the class to explain.

        Returns:
            The tile in colours, uint8 (H, W, 3), and the attribution, float32 (h, w) in 0..1, one value per
            patch; see `orbitune.evaluation.attribution`.

        Raises:
            NoAttributionError: the backbone's family has no map, or there is no backbone beside an ONNX file.
            BadImageError: it is no usable image, or lacks a band.
        """
        if self.bundle is None:
            raise NoAttributionError("An ONNX file has no attribution map.")
        try:
            with self._loading:
                family, model = self._reference_model
        except OrbituneError as error:  # an ONNX file is served without the backbone, which this needs
            raise NoAttributionError(f"There is no attribution map: {error}") from None
        if model is None:
            raise NoAttributionError("This model's backbone has no attribution map.")
        used = self.bundle.metadata.preprocessing
        with strict_decoding():
            image = ImageInput("", partial(decode_image, data))
            tile = to_tile(image, self.engine.spec, bands=self.engine.bands)
        with self.lock:
            pixels = used.transform(to_tensor(tile[None].copy()))
            found = attribution_map(model, family, pixels=pixels, label=self.classes.index(label))
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
            self.engine.source,
            scene,
            outputs=outputs,
            options=options,
            backbone=self.engine.backbone,
            progress=False,
            on_progress=on_progress,
            log=log,
        )

    @cached_property
    def _reference_model(self) -> tuple[Any, Any]:
        """Family and transformers model, loaded on first use; no model where there is no attribution map."""
        assert self.bundle
        backbone = self.bundle.backbone(self.engine.backbone)
        has_map = backbone.family.has_attribution_map
        return backbone.family, self.bundle.model(backbone) if has_map else None
