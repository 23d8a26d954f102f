"""The tiles that a run and the runs before it have seen, among the tiles of a data set.

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
from orbitune.models.lineage.overlap import Overlap, SeenCounts, describe_seen, describe_unrecorded
from orbitune.models.lineage.seen_file import SeenTiles, read_seen, save_seen

_NONE = SeenTiles(np.empty(0, np.uint32), np.empty(0, np.uint32))


def write_seen(run: Path, tiles: TileSet, *, splits: Mapping[str, np.ndarray], backbone: Backbone) -> None:
    """Write the checksums of the tiles that a run has seen, with those of its ancestors.

    Nothing is written where those of its ancestors are not known: a list without them would seem whole.

    Args:
        run: its folder.
        tiles: its tiles.
        splits: indices of its training and validation tiles, int (N,).
        backbone: what it was trained on.
    """
    if (before := _of_backbone(backbone)) is None:
        return
    own = SeenTiles(*(np.unique(_sums(tiles, splits[name])) for name in ("train", "validation")))
    save_seen(run, SeenTiles.join([own, before]))


def find_held_out(
    backbone: Backbone, tiles: TileSet, *, splits: Mapping[str, np.ndarray]
) -> dict[str, Overlap] | None:
    """Return which validation and test tiles the runs of a backbone have seen; None if it is not known.

    Splits without any are left out. Validation tiles choose the epoch of every run, so that only those count
    that were trained on.
    """
    if (seen := _of_backbone(backbone)) is None:
        return None
    found = {split: seen.find(_sums(tiles, splits[split])) for split in ("validation", "test")}
    kept = found["validation"]
    found["validation"] = Overlap(kept.trained, np.zeros_like(kept.trained))
    return {split: each for split, each in found.items() if each.any.any() or each.validated is None}


def describe_held_out(
    seen: Mapping[str, Overlap] | None, backbone: Backbone, *, splits: Mapping[str, np.ndarray]
) -> tuple[str, ...]:
    """Return notes on the held-out tiles that the runs of a backbone have, or may have, seen.

    Args:
        seen: what was found, see `find_held_out`.
        backbone: the fine-tuned one.
        splits: indices of all tiles by split.
    """
    whose = backbone.record.runs
    if seen is None:
        return (
            f"the training tiles of {whose} are not recorded, or no longer where they were: whether "
            "validation and test tiles are among them is not known",
        )
    counts = {counted(len(splits[split]), f"{split} tile"): SeenCounts.of(seen[split]) for split in seen}
    notes = [describe_seen(counts, whose)] if any(each.count for each in counts.values()) else []
    if any(each.validated is None for each in seen.values()):
        notes.append(describe_unrecorded("test tiles", whose))
    return tuple(notes)


def find_own(place: Path, tiles: TileSet, *, indices: np.ndarray) -> Overlap | None:
    """Return which tiles a model, or one that it comes from, has seen; None if it is not known.

    Args:
        place: folder of its run or bundle.
        tiles: a data set.
        indices: of the tiles in question, int (n,).

    Raises:
        ModelError: its list of tiles is damaged.
    """
    seen = read_seen(place)
    return None if seen is None else seen.find(_sums(tiles, indices))


def find_in_run(
    run: Path, tiles: TileSet, *, splits: Mapping[str, np.ndarray], indices: np.ndarray
) -> Overlap:
    """Return which tiles a run, or one that it comes from, has seen, as far as that is recorded.

    Its own training and validation tiles are always known.

    Args:
        run: its folder.
        tiles: its data set.
        splits: its indices by split.
        indices: of the tiles in question, int (n,).

    Raises:
        ModelError: its list of tiles is damaged.
    """
    trained, validated = (np.isin(indices, splits[name]) for name in ("train", "validation"))
    if found := find_own(run, tiles, indices=indices):
        trained, validated = trained | found.trained, validated | found.any
    return Overlap(trained, validated & ~trained)


def find_in(tiles: TileSet, seen: SeenTiles) -> np.ndarray:
    """Return the indices of the tiles that a model has seen, in training or validation, int64 (n,)."""
    known = [sums for sums in (seen.trained, seen.validated) if sums is not None]
    return np.flatnonzero(np.isin(_sums(tiles, np.arange(len(tiles.labels))), np.concatenate(known)))


def _of_backbone(backbone: Backbone) -> SeenTiles | None:
    """Return the tiles that the runs of a backbone have seen; None if they are not known.

    They lie in its run or bundle, and beside merged weights. A folder that now holds another model says
    nothing about the one that was there.
    """
    places = [backbone.folder, place_of(backbone.folder)]
    if isinstance(backbone, FineTuned):
        link = backbone.ancestors[-1]
        if link.folder and saved_hash(Path(link.folder)) == link.saved_sha256:
            places.insert(0, Path(link.folder))
    known = (seen for place in places if (seen := read_seen(place)) is not None)
    return next(known, None if isinstance(backbone, FineTuned) else _NONE)


def _sums(tiles: TileSet, indices: np.ndarray) -> np.ndarray:
    """Return the CRC-32 of tiles, uint32 (n,)."""
    if tiles.rows is not None:
        return tiles.rows.sums[indices]
    return tile_sums(tiles.tiles[indices])


def tile_sums(pixels: np.ndarray) -> np.ndarray:
    """Return the CRC-32 of decoded tiles (n, H, W, C), uint32 (n,)."""
    return np.array([zlib.crc32(np.ascontiguousarray(each).data) for each in pixels], np.uint32)
