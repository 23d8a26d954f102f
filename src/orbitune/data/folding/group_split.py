"""Group split: tiles of one scene, flight or field go to one split as a whole.

Tiles that were cut from one scene look alike, so a random split overestimates the accuracy on another scene
(Roberts et al. 2017, Ecography 40:913).
"""

import re
from collections.abc import Sequence

import numpy as np

from orbitune.data.folding.parts import (
    describe_fold,
    describe_sizes,
    fold_splits,
    grouped_parts,
    has_right_sizes,
)
from orbitune.data.spatial_blocks import FOLDS
from orbitune.data.tileset import TileSet
from orbitune.errors import DataError, printable
from orbitune.fold import Fold


def split_by_groups(
    tiles: TileSet, names: Sequence[str], *, origin: str, seed: int, fold: Fold | None = None
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Split tiles by their groups, near 60/20/20 (or as a fold) and nearly stratified.

    Args:
        tiles: the tiles.
        names: group of each tile.
        origin: option that the groups are from, for messages.
        seed: of the assignment of groups.
        fold: of a cross-validation; None for the first of `FOLDS`.

    Returns:
        Indices by split, and notes for the user.

    Raises:
        DataError: there are too few groups or tiles, the groups are the classes, or a split is empty.
    """
    own = fold or Fold(1, FOLDS)
    kinds, groups = np.unique(names, return_inverse=True)
    if len(kinds) < own.count:
        shown = ", ".join(printable(kind) for kind in kinds)
        needs = f"{own.count} folds need as many" if fold else f"a split needs {FOLDS}"
        raise DataError(f"{origin} finds {len(kinds)} groups ({shown}): {needs} or more.")
    rows, labels = np.nonzero(tiles.membership)
    if len(set(zip(groups[rows].tolist(), labels.tolist(), strict=True))) <= len(tiles.classes):
        raise DataError(
            f"The groups of {origin} are the classes: each class is in one group, and so in one split alone. "
            "Name the scene, flight or field of a tile."
        )
    if tiles.membership.sum(0).max() < own.count:
        raise DataError(f"No class has {own.count} tiles or more, which a group split needs: add tiles.")
    parts = grouped_parts(tiles.membership, groups, count=own.count, seed=seed)
    splits = fold_splits(parts, own)
    if not all(map(len, [*splits.values(), *(parts if fold else [])])):
        raise DataError(
            f"The groups of {origin} are too unequal: a split would be empty, as {len(kinds)} groups are "
            "kept whole. Use smaller groups, another --split-seed, or lists with --split-files."
        )
    fractions = describe_sizes(splits, len(names))
    notes = [
        f"group split: {describe_fold(fold)}{len(kinds):,} groups of tiles, each whole in one split, "
        f"{fractions}, stratified as groups allow, with seed {seed}"
    ]
    if len(kinds) == len(names):
        notes.append(
            f"warning: {origin} makes each tile a group of its own, so this is a random split: name the "
            "scene, flight or field of a tile, which several tiles share"
        )
    if not has_right_sizes(splits, own.count):
        wanted = "parts of equal size" if fold else "60/20/20"
        notes.append(
            f"warning: the group split is {fractions} instead of {wanted}, as the groups are few or of "
            "unequal size: use smaller groups, or lists with --split-files"
        )
    return splits, tuple(notes)


def groups_in_names(tiles: TileSet, pattern: str) -> list[str]:
    """Return the group of each tile that a pattern finds in its name.

    Args:
        tiles: the tiles.
        pattern: regular expression; its first parenthesis, or all it matches, is the group of a name such as
            River/scene12_3.png.

    Raises:
        DataError: the pattern finds none in a name, or an empty one.
    """
    compiled = re.compile(pattern)
    found = [compiled.search(name) for name in tiles.names]
    groups = [match[min(compiled.groups, 1)] if match else None for match in found]
    if unmatched := [name for name, group in zip(tiles.names, groups, strict=True) if not group]:
        raise DataError(
            f"--group-pattern {pattern} finds no group in {len(unmatched):,} of {len(groups):,} tile names, "
            f"such as {printable(unmatched[0])}."
        )
    return [group for group in groups if group]
