"""The service: the models of one server by name, which pages and JSON API share."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from orbitune.errors import OrbituneError
from orbitune.inference.prediction import Prediction
from orbitune.serving.api.metrics import Metrics
from orbitune.serving.engines.table import find_engine, start_workers
from orbitune.serving.served_model import ServedModel
from orbitune.serving.uploads import read_uploads
from orbitune.suggestions import unknown


class UnknownModelError(OrbituneError):
    """A request names a model that is not served."""

    kind = "unknown_model"


class PredictionService:
    """The models of one server, by name.

    Args:
        sources: name -> bundle or run folder, or hub id; for the engine onnx also a file or its folder.
        backbone: folder or hub id of the base model, if it is no longer where it was during training.
        bands: names or numbers of the tiles' bands, see `Classifier`.
        engine: key of `orbitune.serving.engines.table.ENGINES`.
        workers: number of processes that compute; with a local one it is this one.
        executor: where they run, key of `orbitune.serving.engines.table.EXECUTORS`.
        threads: of a batch that this process computes; 0 for one per core.

    Attributes:
        models: by name.
        engine: name of the engine.
        metrics: of all models, for /api/metrics.

    Raises:
        OrbituneError: the engine is unknown, or a source cannot be opened, or reads another number of bands.
    """

    def __init__(
        self,
        sources: Mapping[str, str | Path],
        backbone: str | None = None,
        *,
        bands: Sequence[str] | None = None,
        engine: str = "torch",
        workers: int = 1,
        executor: str = "local",
        threads: int = 0,
    ) -> None:
        open_model = find_engine(engine)
        self.engine, self.metrics = engine, Metrics()
        opened = {
            name: open_model(source, backbone, bands=bands, threads=threads)
            for name, source in sources.items()
        }
        self._workers = start_workers(executor, opened, count=workers)
        self.models = {
            name: ServedModel(name, each, metrics=self.metrics, workers=self._workers)
            for name, each in opened.items()
        }

    def check_workers(self) -> bool:
        """Return whether all processes that compute live; those that do not are replaced."""
        return self._workers is None or self._workers.check()

    def close(self) -> None:
        """Compute what waits, then end the threads and processes that compute."""
        for model in self.models.values():
            model.batcher.close()
        if self._workers:
            self._workers.close()

    def get_model(self, name: str | None) -> ServedModel:
        """Return a model by name; the first one for None.

        Raises:
            UnknownModelError: the name is unknown.
        """
        chosen = self.models.get(name or next(iter(self.models)))
        if chosen is None:
            raise UnknownModelError(unknown("model", name, known=self.models))
        return chosen

    def predict_files(self, name: str | None, paths: Sequence[Path]) -> Iterator[Prediction]:
        """Yield a prediction for each image in uploaded files and zips.

        It is the most probable label, or with several labels a tile all that reach their thresholds.
        """
        model = self.get_model(name)
        top_k = None if model.several_labels else 1
        with ExitStack() as stack:
            yield from model.predict_images(read_uploads(paths, stack), top_k)

    def models_with_same_classes(self, name: str | None) -> dict[str, ServedModel]:
        """Return the models with the same classes as this one, itself included."""
        classes = set(self.get_model(name).classes)
        return {other: model for other, model in self.models.items() if set(model.classes) == classes}


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
