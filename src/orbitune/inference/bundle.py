"""The bundle: a folder that plain PEFT or transformers opens, and that says all a prediction needs besides.

It holds the adapter (or all weights) with its head, preprocessor_config.json, orbitune.json, the features of
the training tiles in likeness.safetensors, and a model card. A finished run is read the same way, as far as
it says the same.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orbitune.errors import ModelError, RunError
from orbitune.evaluation.calibration import fit_temperature
from orbitune.evaluation.ood import OODDetector
from orbitune.evaluation.run_result import RunResult
from orbitune.evaluation.saved_outputs import open_model, read_predictions
from orbitune.hub import looks_like_path, snapshot
from orbitune.models.backbones import Backbone, find_backbone
from orbitune.models.checkpoint_io import is_adapter, load_saved, open_saved
from orbitune.models.metadata import BundleFacts
from orbitune.models.methods import find_method

if TYPE_CHECKING:
    from torch import nn

LIKENESS_FILE = "likeness.safetensors"
HUB_FILES = ("*.json", "*.safetensors", "README.md")


@dataclass(frozen=True)
class Bundle:
    """A saved model, and what is known of it.

    Attributes:
        folder: what PEFT or transformers opens.
        facts: what orbitune.json says; of a run, with what the run's other files add.
    """

    folder: Path
    facts: dict[str, Any]

    @classmethod
    def open(cls, place: str | Path) -> "Bundle":
        """Open a bundle, a finished run, or the hub's bundle of this id, and check that its files are whole.

        Raises:
            OrbituneError: there is none, it is damaged, of a newer version, or not finished.
        """
        folder = _folder_of(str(place))
        is_run = any((folder / name).is_file() for name in ("recipe.yaml", "result.json"))
        bundle = _of_run(folder) if is_run else cls(folder, open_saved(folder, BundleFacts))
        find_method(bundle.facts["method"])
        return bundle

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the logits."""
        return tuple(self.facts["classes"])

    @property
    def temperature(self) -> float:
        """What logits are divided by before the softmax; 1 where nothing is known."""
        return float(self.facts.get("temperature", 1.0))

    @property
    def tta(self) -> str:
        """How many ways its scores looked at a tile: none (one) or flips."""
        return str(self.facts.get("tta", "none"))

    @property
    def tile_size(self) -> tuple[int, int]:
        """Width and height in pixels that a tile is brought to first, as in training."""
        side = self.facts["preprocessing"]["image_size"]
        height, width = self.facts.get("data", {}).get("tile_size") or (side, side)
        return width, height

    @property
    def white(self) -> int | None:
        """The 16-bit value that becomes 255; None where the training tiles had 8 bits."""
        return self.facts.get("data", {}).get("white")

    @property
    def confusion(self) -> np.ndarray | None:
        """Test tiles by true class (rows) and answer, int (C, C); None where they are not known."""
        stated = self.facts.get("confusion")
        return None if stated is None else np.array(stated)

    @cached_property
    def likeness(self) -> OODDetector | None:
        """What training tiles are like; None for a run, and for what was imported.

        Raises:
            ModelError: the file is missing or damaged.
        """
        if not (stated := self.facts.get("likeness")):
            return None
        return OODDetector.load(self.folder / LIKENESS_FILE, stated["threshold"])

    def backbone(self, name: str | None = None) -> Backbone:
        """The checkpoint below an adapter; all weights are a checkpoint themselves.

        Args:
            name: hub id or folder, where it no longer lies where it did.

        Raises:
            OrbituneError: it cannot be had.
        """
        if not is_adapter(self.folder):
            return find_backbone(str(self.folder.resolve()))
        stated = self.facts["backbone"]
        wanted = name or ("demo" if stated["name"] == "demo" else stated["reference"])
        try:
            return find_backbone(wanted)
        except ModelError as error:
            if name:
                raise
            raise ModelError(
                f"{error} {self.folder} was trained on it: say where it is with --backbone."
            ) from None

    def model(self, backbone: Backbone) -> "nn.Module":
        """The model in fp32, for evaluation; the backbone's weights are compared with those of training.

        Raises:
            ModelError: these are other weights, or files are damaged.
        """
        return load_saved(self.folder, backbone, self.facts)


def _folder_of(place: str) -> Path:
    path = Path(place).expanduser()
    if not path.is_dir():
        if "/" not in place or looks_like_path(place):
            raise RunError(
                f"There is no folder {place}: pass a bundle, a finished run, or a hub id (owner/name)."
            )
        path = snapshot(place, "model", HUB_FILES)
    return path


def _of_run(run: Path) -> Bundle:
    """A finished run as a bundle; what its saved model does not say comes from the run's other files."""
    result = RunResult.load(run)
    folder, facts = open_model(run, result)
    if facts["classes"] != result.data["classes"]:
        raise RunError(
            f"The orbitune.json of {folder} names other classes than result.json of {run}. "
            "Restore both, or train again."
        )
    return Bundle(
        folder,
        {
            **facts,
            "temperature": facts.get("temperature") or _temperature(run),
            "confusion": _confusion(run, len(facts["classes"])),
            "tta": result.recipe.get("tta", "none"),
            "data": {
                **facts.get("data", {}),
                **{
                    name: result.data.get(name)
                    for name in ("source", "tile_size", "white", "sizes", "synthetic")
                },
            },
        },
    )


def _temperature(run: Path) -> float:
    """For runs from before the temperature was kept with the model."""
    kept = read_predictions(run, "validation")
    return fit_temperature(kept.logits, kept.labels)


def _confusion(run: Path, classes: int) -> list[list[int]]:
    kept = read_predictions(run, "test", classes)
    pairs = kept.labels * classes + kept.logits.argmax(1)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes).tolist()
