"""The training tiles of a run and of the runs before it, by their checksums.

Tiles of a later run that are among them are no test of it, whatever split they are in.
"""

import base64
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

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
    all_seen = np.union1d(_sums(tiles, train), _of_backbone(backbone)).astype("<u4")
    SeenTiles(checksums=base64.b64encode(all_seen.tobytes()).decode()).write(run / FILE)


def copy_seen(run: Path, folder: Path) -> None:
    """Copy the checksums of a run into the folder of its bundle; runs of earlier versions have none."""
    if (run / FILE).is_file():
        shutil.copyfile(run / FILE, folder / FILE)


def describe_seen(backbone: Backbone, tiles: TileSet, *, splits: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """Return a note on the held-out tiles that a fine-tuned backbone was trained on, if any are."""
    counts = count_held_out(backbone, tiles, splits=splits)
    if not counts:
        return ()
    found = [f"{count:,} of {len(splits[split]):,} {split} tiles" for split, count in counts.items()]
    return (
        f"{' and '.join(found)} were training tiles of the backbone's runs "
        f"({', '.join(link.name for link in backbone.record.ancestors)}): the scores are too high",
    )


def count_held_out(backbone: Backbone, tiles: TileSet, *, splits: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Return how many validation and test tiles a fine-tuned backbone was trained on; splits with any."""
    if not len(seen := _of_backbone(backbone)):
        return {}
    counts = {split: count_seen(_sums(tiles, splits[split]), seen) for split in ("validation", "test")}
    return {split: count for split, count in counts.items() if count}


def count_seen(sums: np.ndarray, seen: np.ndarray) -> int:
    """Return how many tiles were training tiles; 0 where chance gives as many equal checksums.

    Args:
        sums: CRC-32 of the tiles, uint32 (n,).
        seen: CRC-32 of the training tiles, uint32 (N,).
    """
    count = int(np.isin(sums, seen).sum())
    return count if count > _CHANCE * len(seen) * len(sums) / 2**32 else 0


def find_seen(tiles: TileSet, seen: np.ndarray) -> np.ndarray:
    """Return the indices of the tiles that have the checksums of training tiles, int64 (n,).

    Args:
        tiles: of which some were trained on.
        seen: CRC-32 of the training tiles, uint32 (N,).
    """
    return np.flatnonzero(np.isin(_sums(tiles, np.arange(len(tiles.labels))), seen))


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


def _of_backbone(backbone: Backbone) -> np.ndarray:
    """Return the checksums of the tiles that a backbone was trained on, as far as they are known."""
    seen = read_seen(Path(backbone.ancestors[-1].folder)) if isinstance(backbone, FineTuned) else None
    return np.empty(0, "<u4") if seen is None else seen


def _sums(tiles: TileSet, indices: np.ndarray) -> np.ndarray:
    """Return the CRC-32 of tiles, uint32 (n,)."""
    if tiles.rows is not None:
        return tiles.rows.sums[indices]
    return tile_sums(tiles.tiles[indices])


def tile_sums(pixels: np.ndarray) -> np.ndarray:
    """Return the CRC-32 of decoded tiles (n, H, W, C), uint32 (n,)."""
    return np.array([zlib.crc32(np.ascontiguousarray(each).data) for each in pixels], np.uint32)
