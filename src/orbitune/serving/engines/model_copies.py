"""Copies of the models of a service in another process, on this machine or on others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from orbitune.recipe_paths import anchor_path
from orbitune.serving.engines.engine import Engine
from orbitune.serving.engines.micro_batches import Compute


@dataclass(frozen=True)
class ModelSource:
    """What another process needs to open a model.

    Attributes:
        engine: its class.
        source, backbone, bands, threads: arguments of the engine.
    """

    engine: type[Engine]
    source: str
    backbone: str | None
    bands: Sequence[str] | None
    threads: int

    @classmethod
    def of(cls, engine: Engine, *, threads: int) -> "ModelSource":
        """Return the source of an opened model.

        Args:
            engine: has the model opened.
            threads: of a batch in the other process.
        """
        source = anchor_path(str(engine.source))  # for a process in another folder
        backbone = engine.backbone and anchor_path(engine.backbone)
        return cls(type(engine), source, backbone, engine.bands, threads)

    def load(self) -> Compute:
        """Open and load the model."""
        opened = self.engine(self.source, self.backbone, bands=self.bands, threads=self.threads)
        return opened.load()


class ModelCopies:
    """The models of a service in this process, each loaded when it is first used.

    Args:
        sources: by name of the model.
    """

    def __init__(self, sources: Mapping[str, ModelSource]) -> None:
        self._sources = sources
        self._loaded: dict[str, Compute] = {}

    def load_all(self) -> None:
        """Load all models.

        Raises:
            OrbituneError: the weights of a model cannot be loaded.
        """
        for name in self._sources:
            self._load(name)

    def compute(self, name: str, tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Compute tiles with a model, see `Compute`."""
        return self._load(name)(tiles)

    def _load(self, name: str) -> Compute:
        if name not in self._loaded:
            self._loaded[name] = self._sources[name].load()
        return self._loaded[name]


class Workers(Protocol):
    """Processes that compute batches, each with copies of the models.

    Attributes:
        count: number of processes.
    """

    count: int

    def compute_with(self, name: str) -> Compute:
        """Return the function that computes tiles with a model, to be called by several threads."""

    def check(self) -> bool:
        """Return whether all processes live; those that do not are replaced."""

    def close(self) -> None:
        """End the processes."""
