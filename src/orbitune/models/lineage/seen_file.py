"""The file that lists the tiles that a model was trained on, by their checksums."""

import base64
import shutil
from pathlib import Path

import numpy as np

from orbitune.errors import ModelError, OrbituneError
from orbitune.records import StoredRecord

FILE = "training-tiles.json"


class SeenTiles(StoredRecord):
    """The content of training-tiles.json.

    Attributes:
        checksums: CRC-32 of the decoded training tiles of the run and of its ancestors, as base64 of rising
            uint32 in little-endian order.
    """

    checksums: str

    @property
    def values(self) -> np.ndarray:
        """Return the checksums, uint32 (N,).

        Raises:
            ValueError: they are damaged.
        """
        return np.frombuffer(base64.b64decode(self.checksums, validate=True), "<u4")


def save_seen(folder: Path, checksums: np.ndarray) -> None:
    """Write the checksums of all tiles that a model was trained on.

    Args:
        folder: of its run or bundle.
        checksums: CRC-32, uint32 (N,), rising.
    """
    text = base64.b64encode(checksums.astype("<u4").tobytes()).decode()
    SeenTiles(checksums=text).write(folder / FILE)


def copy_seen(source: Path, folder: Path) -> None:
    """Copy the checksums of a model into another folder; models of earlier versions have none.

    Raises:
        ModelError: their file is damaged.
    """
    if read_seen(source) is not None:
        shutil.copyfile(source / FILE, folder / FILE)


def merge_seen(folder: Path, *models: Path) -> None:
    """Write the checksums of all tiles that any of several models was trained on.

    Nothing is written where those of one are not known: a list without them would seem whole.
    """
    lists = [read_seen(model) for model in models]
    known = [each for each in lists if each is not None]
    if len(known) == len(lists):
        save_seen(folder, np.unique(np.concatenate(known)))


def read_seen(folder: Path) -> np.ndarray | None:
    """Return the CRC-32 of the tiles that a model and its ancestors were trained on, uint32 (N,).

    They are not known, None, of imported adapters and of models of earlier versions.

    Args:
        folder: of its run or bundle.

    Raises:
        ModelError: their file is damaged.
    """
    if not (folder / FILE).is_file():
        return None
    try:
        return SeenTiles.read(folder / FILE).values
    except (OrbituneError, ValueError):
        raise ModelError(
            f"{folder / FILE} is damaged. Restore it, or remove it: tiles that the model was trained on are "
            "then not recognised."
        ) from None
