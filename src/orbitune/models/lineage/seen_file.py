"""The file that lists the tiles that a model has seen, by their checksums."""

import base64
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orbitune.errors import ModelError, OrbituneError
from orbitune.models.lineage.overlap import Overlap
from orbitune.records import StoredRecord

FILE = "training-tiles.json"
_CHANCE = 3  # times as many equal checksums as chance gives are no chance


class _File(StoredRecord):
    """The content of training-tiles.json.

    Lists are base64 of rising uint32 in little-endian order.

    Attributes:
        checksums: CRC-32 of the decoded training tiles of the run and of its ancestors.
        validation: of their validation tiles; None in files of earlier versions.
    """

    checksums: str
    validation: str | None = None


@dataclass(frozen=True)
class SeenTiles:
    """CRC-32 of the tiles that a model and its ancestors have seen.

    Attributes:
        trained: of the tiles that they were trained on, uint32 (N,), rising.
        validated: of those that chose their epochs and fitted their temperatures, thresholds and *not sure*,
            uint32 (M,), rising; None where an earlier version trained one of them.
    """

    trained: np.ndarray
    validated: np.ndarray | None

    @classmethod
    def join(cls, parts: "Sequence[SeenTiles]") -> "SeenTiles":
        """Return the tiles that any of some models has seen."""
        validated = [part.validated for part in parts if part.validated is not None]
        return cls(
            _union([part.trained for part in parts]),
            _union(validated) if len(validated) == len(parts) else None,
        )

    def find(self, sums: np.ndarray) -> Overlap:
        """Return which of some tiles were seen, by their CRC-32, uint32 (n,)."""
        trained = _are_among(sums, self.trained)
        if self.validated is None:
            return Overlap(trained, None)
        return Overlap(trained, _are_among(sums, self.validated) & ~trained)


def _union(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.unique(np.concatenate([np.empty(0, np.uint32), *parts]))


def _are_among(sums: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return which checksums are in a list; none where chance gives as many equal ones."""
    found = np.isin(sums, seen)
    by_chance = found.sum() <= _CHANCE * len(seen) * len(sums) / 2**32
    return np.zeros_like(found) if by_chance else found


def save_seen(folder: Path, seen: SeenTiles) -> None:
    """Write the checksums of all tiles that a model has seen into the folder of its run or bundle."""
    validation = None if seen.validated is None else _encode(seen.validated)
    _File(checksums=_encode(seen.trained), validation=validation).write(folder / FILE)


def _encode(sums: np.ndarray) -> str:
    return base64.b64encode(sums.astype("<u4").tobytes()).decode()


def _decode(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text, validate=True), "<u4")


def copy_seen(source: Path, folder: Path) -> None:
    """Copy the checksums of a model into another folder; models of earlier versions have none.

    Raises:
        ModelError: their file is damaged.
    """
    if read_seen(source) is not None:
        shutil.copyfile(source / FILE, folder / FILE)


def merge_seen(folder: Path, *models: Path) -> None:
    """Write the checksums of all tiles that any of several models has seen.

    Nothing is written where those of one are not known: a list without them would seem whole.
    """
    known = [seen for model in models if (seen := read_seen(model)) is not None]
    if len(known) == len(models):
        save_seen(folder, SeenTiles.join(known))


def read_seen(folder: Path) -> SeenTiles | None:
    """Return the tiles that a model and its ancestors have seen.

    They are not known, None, of imported adapters and of models of earlier versions.

    Args:
        folder: of its run or bundle.

    Raises:
        ModelError: their file is damaged.
    """
    if not (folder / FILE).is_file():
        return None
    try:
        stored = _File.read(folder / FILE)
        validated = None if stored.validation is None else _decode(stored.validation)
        return SeenTiles(_decode(stored.checksums), validated)
    except (OrbituneError, ValueError):
        raise ModelError(
            f"{folder / FILE} is damaged. Restore it, or remove it: tiles that the model was trained on are "
            "then not recognised."
        ) from None
