"""The training tiles of a run and of the runs before it, by their checksums.

Tiles of a later run that are among them are no test of it, whatever split they are in.
"""

import base64
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from orbitune.data.checksummed_rows import checksums
from orbitune.data.tileset import TileSet
from orbitune.errors import ModelError, OrbituneError
from orbitune.models.backbones import Backbone
from orbitune.models.lineage.fine_tuned import FineTuned
from orbitune.records import StoredRecord

FILE = "training-tiles.json"
_CHANCE = 3  # times as many equal checksums as chance gives are no chance


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


def write_seen(run: Path, tiles: TileSet, *, train: np.ndarray, backbone: Backbone) -> None:
    """Write the checksums of a run's training tiles, with those of its ancestors.

    Args:
        run: its folder.
        tiles: its tiles.
        train: indices of its training tiles, int (N,).
        backbone: what it was trained on.
    """
    all_seen = np.union1d(_sums(tiles, train), _read(backbone)).astype("<u4")
    SeenTiles(checksums=base64.b64encode(all_seen.tobytes()).decode()).write(run / FILE)


def copy_seen(run: Path, folder: Path) -> None:
    """Copy the checksums of a run into the folder of its bundle; runs of earlier versions have none."""
    if (run / FILE).is_file():
        shutil.copyfile(run / FILE, folder / FILE)


def describe_seen(backbone: Backbone, tiles: TileSet, *, splits: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """Return a note on the held-out tiles that a fine-tuned backbone was trained on, if any are."""
    seen = _read(backbone)
    found = []
    for split in ("validation", "test"):
        count = int(np.isin(_sums(tiles, splits[split]), seen).sum())
        if count > _CHANCE * len(seen) * len(splits[split]) / 2**32:
            found.append(f"{count:,} of {len(splits[split]):,} {split} tiles")
    if not found:
        return ()
    return (
        f"{' and '.join(found)} were training tiles of the backbone's runs "
        f"({', '.join(link.name for link in backbone.record.ancestors)}): the scores are too high",
    )


def _read(backbone: Backbone) -> np.ndarray:
    """Return the checksums of the tiles that a backbone was trained on.

    There are none of imported adapters and of runs of earlier versions.

    Raises:
        ModelError: their file is damaged.
    """
    links = backbone.ancestors if isinstance(backbone, FineTuned) else ()
    file = Path(links[-1].folder) / FILE if links else None
    if file is None or not file.is_file():
        return np.empty(0, "<u4")
    try:
        return SeenTiles.read(file).values
    except (OrbituneError, ValueError):
        raise ModelError(
            f"{file} is damaged. Restore it, or remove it: held-out tiles that {backbone.name} was trained "
            "on are then not recognised."
        ) from None


def _sums(tiles: TileSet, indices: np.ndarray) -> np.ndarray:
    """Return the CRC-32 of tiles, uint32 (n,)."""
    if tiles.rows is not None:
        return tiles.rows.sums[indices]
    pixels = np.ascontiguousarray(tiles.tiles[indices])
    return np.fromiter(checksums(pixels.tobytes(), pixels[0].nbytes if len(pixels) else 1), np.uint32)
