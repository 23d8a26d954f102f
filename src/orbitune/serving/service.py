"""What the app answers, whoever asks: its pages, Gradio's API, or the JSON endpoint."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.data.transform import Transform
from orbitune.errors import OrbituneError
from orbitune.evaluation.attribution import attribution_map
from orbitune.inference.classifier import Classifier, Prediction
from orbitune.inference.image_inputs import Waiting, to_tile
from orbitune.mapping.options import MapOptions, MapReport, Outputs
from orbitune.models.methods import find_method
from orbitune.serving.uploads import decode, open_uploads
from orbitune.sources.decode import strict_decoding

_TURN = 64  # images of one request, after which others have their turn


@dataclass(frozen=True)
class Answer:
    """A prediction, and the seconds it took from the bytes to the labels."""

    prediction: Prediction
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON; `error` says why there is no label."""
        labels = [{"label": name, "probability": share} for name, share in self.prediction.labels]
        found = self.prediction
        values = {"labels": labels, "sure": found.sure, "distance": found.distance, "seconds": self.seconds}
        return {**values, **({"error": f"The image {found.error}."} if found.error else {})}


class Model:
    """One bundle or run that is served; requests are answered one after the other."""

    def __init__(self, source: str | Path, backbone: str | None = None) -> None:
        self._classifier = Classifier(source, backbone)
        self._source, self._backbone = source, backbone
        self._lock = threading.Lock()

    @property
    def bundle(self) -> Any:
        """See `orbitune.inference.bundle.Bundle`."""
        return self._classifier.bundle

    @property
    def card(self) -> str:
        """The model card, Markdown; of a run, which has none yet, its scores."""
        file = self.bundle.folder / "README.md"
        if file.is_file():
            return file.read_text(encoding="utf-8").split("\n---\n", 1)[-1]
        facts = self.bundle.facts
        rows = [
            f"- {split}: {scores['accuracy']:.2%} of {scores['count']:,} tiles (95 % interval "
            f"{scores['interval'][0]:.2%} to {scores['interval'][1]:.2%}), macro-F1 {scores['macro_f1']:.4f}"
            for split, scores in facts["scores"].items()
        ]
        head = f"{find_method(facts['method']).title} of {facts['backbone']['description']}"
        return f"## {head}\n\nClasses: {', '.join(facts['classes'])}.\n\nAccuracy:\n\n" + "\n".join(rows)

    def answer(self, data: bytes, top_k: int = 3) -> Answer:
        """What an image shows, from the bytes of its file."""
        start = time.perf_counter()
        (prediction,) = self.predictions(iter([Waiting("the image", lambda: decode(data))]), top_k)
        return Answer(prediction, time.perf_counter() - start)

    def predictions(self, images: Iterator[Waiting], top_k: int = 3) -> Iterator[Prediction]:
        """A prediction for each image, in their order."""
        while some := list(islice(images, _TURN)):
            with self._lock:
                found = list(self._classifier.predict(iter(some), top_k))
            yield from found

    def where(self, data: bytes, label: str) -> tuple[np.ndarray, np.ndarray]:
        """The tile as the model sees it, uint8 (H, W, 3), and what of it speaks for a label.

        The latter is float32 (h, w), 0..1, one value a patch; see `orbitune.evaluation.attribution`.
        """
        import torch

        used = self.bundle.facts["preprocessing"]
        with strict_decoding():
            tile = to_tile(Waiting("", lambda: decode(data)), self.bundle.tile_size, self.bundle.white)
        transform = Transform(used["image_size"], used["mean"], used["std"], used["resample"])
        family, model = self._plain
        with self._lock:
            pixels = transform(torch.from_numpy(tile[None].copy()))
            found = attribution_map(model, family, pixels, self.bundle.classes.index(label))
        found -= found.min()
        return tile, found / max(float(found.max()), 1e-12)

    def map(
        self, scene: Path, outputs: Outputs, request: MapOptions, say: Callable[[str], None]
    ) -> MapReport:
        """Map a scene, see `map_scene`; by a network of its own, so that tiles are answered meanwhile."""
        from orbitune.mapping.pipeline import map_scene

        return map_scene(self._source, scene, outputs, request, self._backbone, progress=False, say=say)

    @cached_property
    def _plain(self) -> tuple[Any, Any]:
        """Family and model of transformers: the fast path keeps no attention. Loaded when first asked for."""
        backbone = self.bundle.backbone(self._backbone)
        return backbone.family, self.bundle.model(backbone)


class PredictionService:
    """All models that are served.

    Args:
        sources: folders of bundles or runs, or hub ids, by the name they are served under.

    Raises:
        OrbituneError: one of them cannot be opened.
    """

    def __init__(self, sources: Mapping[str, str | Path], backbone: str | None = None) -> None:
        self.models = {name: Model(source, backbone) for name, source in sources.items()}

    def model(self, name: str | None) -> Model:
        """The model of that name; the first where none is named.

        Raises:
            OrbituneError: there is none.
        """
        chosen = self.models.get(name or next(iter(self.models)))
        if chosen is None:
            raise OrbituneError(f"There is no model {name!r}; there is: {', '.join(self.models)}.")
        return chosen

    def table(self, name: str | None, paths: Sequence[Path]) -> Iterator[Prediction]:
        """The most probable label of every image in some files and zips."""
        with ExitStack() as stack:
            yield from self.model(name).predictions(open_uploads(paths, stack), top_k=1)

    def alike(self, name: str | None) -> dict[str, Model]:
        """The models with the same classes as this one, itself among them."""
        classes = set(self.model(name).bundle.classes)
        return {other: model for other, model in self.models.items() if set(model.bundle.classes) == classes}


def names_of(sources: Sequence[str]) -> dict[str, str]:
    """A short name for each source: the last part of its path, with a number where that is taken."""
    names: dict[str, str] = {}
    for source in sources:
        stem = Path(source).resolve().name if Path(source).exists() else source.split("/")[-1]
        taken = sum(known == stem or known.startswith(f"{stem} (") for known in names)
        names[f"{stem} ({taken + 1})" if taken else stem] = source
    return names
