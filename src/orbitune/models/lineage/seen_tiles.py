"""The training tiles of a run and of the runs before it, by their checksums.

Tiles of a later run that are among them are no test of it, whatever split they are in.
"""

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from orbitune.data.tileset import TileSet
from orbitune.errors import counted
from orbitune.models.backbones import Backbone
from orbitune.models.lineage.fine_tuned import FineTuned, place_of, saved_hash
from orbitune.models.lineage.seen_file import read_seen, save_seen

_CHANCE = 3  # times as many equal checksums as chance gives are no chance


def write_seen(run: Path, tiles: TileSet, *, train: np.ndarray, backbone: Backbone) -> None:
    """Write the checksums of a run's training tiles, with those of its ancestors.

    Nothing is written where those of its ancestors are not known: a list without them would seem whole.

    Args:
        run: its folder.
        tiles: its tiles.
        train: indices of its training tiles, int (N,).
        backbone: what it was trained on.
    """
    if (before := _of_backbone(backbone)) is None:
        return
    save_seen(run, np.union1d(_sums(tiles, train), before))


def count_held_out(
    backbone: Backbone, tiles: TileSet, *, splits: Mapping[str, np.ndarray]
) -> dict[str, int] | None:
    """Return how many validation and test tiles a fine-tuned backbone was trained on; None if not known.

    Splits without any are left out.
    """
    if (seen := _of_backbone(backbone)) is None:
        return None
    if not len(seen):
        return {}
    counts = {
        split: int(are_seen(_sums(tiles, splits[split]), seen).sum()) for split in ("validation", "test")
    }
    return {split: count for split, count in counts.items() if count}


def describe_seen(
    counts: Mapping[str, int] | None, backbone: Backbone, *, splits: Mapping[str, np.ndarray]
) -> tuple[str, ...]:
    """Return a note on the held-out tiles that a fine-tuned backbone was trained on, if any are or may be.

    Args:
        counts: their numbers, see `count_held_out`.
        backbone: the fine-tuned one.
        splits: indices of all tiles by split.
    """
    runs = ", ".join(link.name for link in backbone.record.ancestors)
    if counts is None:
        return (
            f"the training tiles of the backbone's runs ({runs}) are not recorded, or no longer where they "
            "were: whether validation and test tiles are among them is not known",
        )
    if not counts:
        return ()
    found = [
        f"{count:,} of {counted(len(splits[split]), f'{split} tile')}" for split, count in counts.items()
    ]
    were = "was a training tile" if sum(counts.values()) == 1 else "were training tiles"
    return (f"{' and '.join(found)} {were} of the backbone's runs ({runs}): the scores are too high",)


def are_seen(sums: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return which tiles were training tiles, bool (n,); none where chance gives as many equal checksums.

    Args:
        sums: CRC-32 of the tiles, uint32 (n,).
        seen: CRC-32 of the training tiles, uint32 (N,).
    """
    found = np.isin(sums, seen)
    by_chance = found.sum() <= _CHANCE * len(seen) * len(sums) / 2**32
    return np.zeros_like(found) if by_chance else found


def find_seen(tiles: TileSet, seen: np.ndarray) -> np.ndarray:
    """Return the indices of the tiles that have the checksums of training tiles, int64 (n,).

    Args:
        tiles: of which some were trained on.
        seen: CRC-32 of the training tiles, uint32 (N,).
    """
    return np.flatnonzero(np.isin(_sums(tiles, np.arange(len(tiles.labels))), seen))


def _of_backbone(backbone: Backbone) -> np.ndarray | None:
    """Return the checksums of the tiles that a backbone was fine-tuned on; None if they are not known.

    They lie in its run or bundle, and beside merged weights. A folder that now holds another model says
    nothing about the one that was there.
    """
    places = [backbone.folder, place_of(backbone.folder)]
    if isinstance(backbone, FineTuned):
        link = backbone.ancestors[-1]
        if link.folder and saved_hash(Path(link.folder)) == link.saved_sha256:
            places.insert(0, Path(link.folder))
    known = (seen for place in places if (seen := read_seen(place)) is not None)
    return next(known, None if isinstance(backbone, FineTuned) else np.empty(0, "<u4"))


def _sums(tiles: TileSet, indices: np.ndarray) -> np.ndarray:
    """Return the CRC-32 of tiles, uint32 (n,)."""
    if tiles.rows is not None:
        return tiles.rows.sums[indices]
    return tile_sums(tiles.tiles[indices])


def tile_sums(pixels: np.ndarray) -> np.ndarray:
    """Return the CRC-32 of decoded tiles (n, H, W, C), uint32 (n,)."""
    return np.array([zlib.crc32(np.ascontiguousarray(each).data) for each in pixels], np.uint32)
