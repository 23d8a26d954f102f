"""Bundles: folders with all that a prediction needs.

A bundle holds the adapter (or all weights) with its head, preprocessor_config.json, orbitune.json, the
out-of-distribution detector, and a model card. PEFT or transformers opens it too. A finished run opens in the
same way, without a detector.
"""

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from orbitune.errors import OrbituneError, RunError
from orbitune.evaluation.ood import OODDetector
from orbitune.evaluation.run_result import RunResult, require_no_study
from orbitune.evaluation.saved_outputs import open_model, read_decision, read_predictions
from orbitune.evaluation.tasks.known import find_task, require_single_label
from orbitune.evaluation.tasks.task import Decision, Task
from orbitune.hub import snapshot
from orbitune.inference.image_inputs import TileSpec
from orbitune.inference.patch_head import PatchHead
from orbitune.inference.prediction import PredictionRule
from orbitune.models.backbones import Backbone
from orbitune.models.checkpoint_io import load_saved, open_saved
from orbitune.models.files.checkpoint_files import PATCH_HEAD_FILE
from orbitune.models.lineage.fine_tuned import backbone_of, place_of
from orbitune.models.metadata import FILE, HUB_FILES, ModelMetadata
from orbitune.models.methods import find_method
from orbitune.sources.hub_ids import means_path
from orbitune.suggestions import missing

if TYPE_CHECKING:
    from torch import nn

OOD_DETECTOR_FILE = "likeness.safetensors"  # as version 0.1 named it


@dataclass(frozen=True)
class Bundle:
    """A saved model and its metadata.

    Examples:
        >>> from orbitune import Bundle
        >>> bundle = Bundle.open("bundle")
        >>> bundle.classes, bundle.metadata.scores["test"].accuracy

    Attributes:
        folder: what PEFT or transformers opens.
        metadata: the content of orbitune.json; of a run, completed from the run's other files.
    """

    folder: Path
    metadata: ModelMetadata

    @property
    def name(self) -> str:
        """Name of its folder, or of the run that it is part of."""
        return self.place.name

    @property
    def place(self) -> Path:
        """Return its folder, or that of the run that it is part of."""
        return place_of(self.folder)

    @classmethod
    def open(cls, place: str | Path) -> "Bundle":
        """Open a bundle or a finished run, and compare its files with their hashes.

        Args:
            place: folder of a bundle or of a finished run, or the hub id of a bundle.

        Returns:
            The bundle; its weights are not loaded yet.

        Raises:
            OrbituneError: there is none, it is damaged, of a newer version, or not finished.
        """
        folder = _folder_of(str(place))
        if not holds_model(folder):
            require_no_study(folder)
        bundle = _of_run(folder) if _is_run(folder) else cls(folder, open_saved(folder))
        find_method(bundle.metadata.method)
        return bundle

    @property
    def bytes(self) -> int:
        """Size of its files on disk, with a backbone that it carries."""
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the class names, in the order of the logits."""
        return self.metadata.classes

    @property
    def task(self) -> Task:
        """Return the task: one label a tile, or several."""
        return find_task(self.metadata.task)

    @property
    def decision(self) -> Decision:
        """Return how probabilities and labels follow from logits: calibration and thresholds."""
        return Decision.of(self.metadata)

    @property
    def temperature(self) -> float:
        """Return the calibration temperature; 1 if none was fitted.

        Logits are divided by it before the softmax. With several labels a tile, `decision.offsets` are added
        then, before the sigmoid.
        """
        return self.decision.temperature

    def require_single_label(self, feature: str) -> None:
        """Check that a tile has one label.

        Args:
            feature: what needs it, as the subject of the message, in the plural.

        Raises:
            RunError: it has several.
        """
        require_single_label(self.metadata.task, feature, name=self.name)

    @property
    def tta(self) -> str:
        """Return the test-time augmentation of its scores and predictions: none or flips."""
        return self.metadata.tta

    @property
    def tile_size(self) -> tuple[int, int]:
        """Return width and height in pixels to which a tile is resized first."""
        side = self.metadata.preprocessing.image_size
        height, width = self.metadata.data.tile_size or (side, side)
        return width, height

    @property
    def scale_max(self) -> int | None:
        """Return the 16-bit value that becomes 255; None for 8-bit tiles."""
        return self.metadata.data.scale_max

    @property
    def tile_spec(self) -> TileSpec:
        """Return the tiles that the model reads, before its transform."""
        used = self.metadata.preprocessing
        return TileSpec(used.bands, used.dtype, self.tile_size, self.scale_max)

    @property
    def prediction_rule(self) -> PredictionRule:
        """Return how predictions follow from probabilities and OOD scores."""
        detector = self.ood_detector
        return PredictionRule(
            self.classes, self.task, self.decision, detector.threshold if detector else None
        )

    @property
    def confusion(self) -> np.ndarray | None:
        """Return test tiles by true class (rows) and prediction, int (C, C).

        Returns None if they are not known, or a tile has several labels.
        """
        stated = self.metadata.confusion
        return None if stated is None else np.array(stated)

    @cached_property
    def ood_detector(self) -> OODDetector | None:
        """Return the out-of-distribution detector.

        Returns None for a run, for an imported adapter, and where there were too few validation tiles.

        Raises:
            ModelError: its file is missing or damaged.
        """
        if (stated := self.metadata.ood_detector) is None:
            return None
        return OODDetector.load(self.folder / OOD_DETECTOR_FILE, stated.threshold)

    def patch_head(self, window: int) -> PatchHead | None:
        """Return the head that labels windows of `window` x `window` pixels.

        Returns None for windows as large as a tile. So it does for a run, for an imported, merged or adapted
        model, and for one that was trained without views of smaller windows or that is not computed on the
        fast path.

        Raises:
            ModelError: its file is damaged.
        """
        smaller = window < self.tile_size[0]
        return self._patch_head if smaller and PATCH_HEAD_FILE in self.metadata.files else None

    @cached_property
    def _patch_head(self) -> PatchHead:
        """Return its patch head, read once: a plan of a map asks for it several times."""
        return PatchHead.load(self.folder)

    def backbone(self, name: str | None = None) -> Backbone:
        """Find the checkpoint that an adapter was trained on.

        A bundle with all weights is its own checkpoint.

        Args:
            name: hub id, folder, run or bundle, where it no longer lies where it did.

        Returns:
            The checkpoint; `model` compares its weights with those of the training.

        Raises:
            OrbituneError: it cannot be found.
        """
        return backbone_of(self.folder, self.metadata, name=name)

    def model(self, backbone: Backbone) -> "nn.Module":
        """Load the model in fp32 and evaluation mode.

        Args:
            backbone: the checkpoint that the bundle was trained on.

        Returns:
            A classifier of transformers or PEFT.

        Raises:
            ModelError: the backbone has other weights than in training, or files are damaged.
        """
        return load_saved(self.folder, backbone, metadata=self.metadata)


def holds_model(folder: Path) -> bool:
    """Return whether a folder is a bundle or a run."""
    return _is_run(folder) or (folder / FILE).is_file()


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("recipe.yaml", "result.json"))


def _folder_of(place: str) -> Path:
    """Return the folder of a bundle; one of the hub is downloaded."""
    path = Path(place).expanduser()
    if not path.is_dir():
        if "/" not in place or means_path(place, "model"):
            advice = "pass a bundle, a finished run, or a hub id (owner/name)"
            raise RunError(missing("folder", place, advice=advice))
        try:
            path = snapshot(place, "model", patterns=HUB_FILES)
        except OrbituneError as error:
            raise RunError(f"{missing('folder', place)} {error}") from None
    return path


def _of_run(run: Path) -> Bundle:
    """Open a finished run as a bundle; scores come from result and predictions."""
    result = RunResult.load(run)
    folder, metadata = open_model(run, result)
    if metadata.classes != result.data.classes:
        raise RunError(
            f"The orbitune.json of {folder} names other classes than result.json of {run}. "
            "Restore both, or train again."
        )
    from_result = {
        name: getattr(result.data, name)
        for name in ("source", "tile_size", "scale_max", "sizes", "synthetic", "statistics", "window")
    }
    data = metadata.data.model_copy(update=from_result | result.named_split)
    decision = read_decision(run, metadata)
    completed = {
        **{each.name: getattr(decision, each.name) for each in fields(decision)},
        "confusion": _confusion(run, metadata),
        "scores": {"validation": result.validation.summary(), "test": result.test.summary()},
        "tta": result.recipe.tta,
        "data": data,
    }
    return Bundle(folder, metadata.model_copy(update=completed))


def _confusion(run: Path, metadata: ModelMetadata) -> tuple[tuple[int, ...], ...] | None:
    """Count the test tiles by true class and prediction; None with several labels a tile."""
    if metadata.task != "single-label":
        return None
    classes = len(metadata.classes)
    kept = read_predictions(run, "test", classes=classes)
    pairs = kept.labels * classes + kept.logits.argmax(1)
    counts = np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    return tuple(map(tuple, counts.tolist()))
