"""Engine: one model, opened by the library that computes it.

To add an engine, derive from `Engine` and add an entry to `orbitune.serving.engines.table.ENGINES`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from orbitune.inference.bundle import Bundle
from orbitune.inference.image_inputs import TileSpec, check_bands
from orbitune.inference.prediction import PredictionRule
from orbitune.serving.engines.micro_batches import Compute


class Engine(ABC):
    """One model on one engine; its weights are loaded by `load` alone.

    Args:
        source: a bundle or run folder, a hub id, or what else the engine opens.
        backbone: folder or hub id of the base model, where it no longer lies where it was.
        bands: names or numbers of the tiles' bands, see `Classifier`.
        threads: of a batch; 0 for one per core.

    Attributes:
        bundle: the bundle or run; None where an engine needs none.
        rule: how predictions follow from probabilities and OOD scores.
        spec: the tiles that the model reads.
        bands: as given, for `decode_tile`.

    Raises:
        OrbituneError: the source cannot be opened, or reads another number of bands.
    """

    bundle: Bundle | None
    rule: PredictionRule
    spec: TileSpec

    def __init__(
        self,
        source: str | Path,
        backbone: str | None = None,
        *,
        bands: Sequence[str] | None = None,
        threads: int = 0,
    ) -> None:
        self.source, self.backbone, self.threads = source, backbone, threads
        self.open()
        self.bands = check_bands(self.spec, bands)

    @abstractmethod
    def open(self) -> None:
        """Set `bundle`, `rule` and `spec`."""

    @abstractmethod
    def load(self) -> Compute:
        """Load the weights; return the function that computes tiles.

        Raises:
            OrbituneError: the weights are missing, damaged, or others than those of the training.
        """

    @property
    @abstractmethod
    def size(self) -> int:
        """Return the size of the model's files in bytes."""

    @property
    def summary(self) -> str:
        """Return what is known of a model without a bundle, as Markdown."""
        return f"Classes: {', '.join(self.rule.classes)}."
