"""Group split: tiles of one scene, flight or field go to one split as a whole.

Tiles that were cut from one scene look alike, so a random split overestimates the accuracy on another scene
(Roberts et al. 2017, Ecography 40:913).
"""

import re
from collections.abc import Sequence

import numpy as np

from orbitune.data.folding.group_column import groups_in_column
from orbitune.data.folding.parts import (
    describe_fold,
    describe_sizes,
    fold_splits,
    grouped_parts,
    has_right_sizes,
)
from orbitune.data.spatial_blocks import FOLDS
from orbitune.data.tileset import TileSet
from orbitune.errors import DataError, counted, first_names, printable
from orbitune.fold import Fold
from orbitune.sources.registry import Source


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
    check_groups(tiles.membership, names, origin=origin, fold=fold)
    kinds, groups = np.unique(names, return_inverse=True)
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


def find_groups(
    names: Sequence[str], source: Source | None, *, pattern: str | None, column: str | None
) -> tuple[list[str], str]:
    """Return the group of each tile, and the option that names the groups, for messages.

    Args:
        names: of the tiles.
        source: that they are read from; None for synthetic tiles.
        pattern: regular expression that finds the group in a name; None for the column.
        column: of the metadata that names the group.

    Raises:
        DataError: a tile has no group.
    """
    if pattern:
        return groups_in_names(names, pattern), f"--group-pattern {pattern}"
    assert column is not None
    return groups_in_column(names, source, column=column), f"--group-column {column}"


def check_groups(members: np.ndarray, names: Sequence[str], *, origin: str, fold: Fold | None) -> None:
    """Check that tiles have the groups that a split needs.

    Args:
        members: bool (N, C), classes of each tile.
        names: group of each tile.
        origin: option that the groups are from, for messages.
        fold: of a cross-validation; None for the first of `FOLDS`.

    Raises:
        DataError: there are too few groups or tiles, or the groups are the classes.
    """
    count = fold.count if fold else FOLDS
    kinds, groups = np.unique(names, return_inverse=True)
    if len(kinds) < count:
        shown = first_names(kinds)
        needs = f"{count} folds need as many" if fold else f"a split needs {FOLDS}"
        found = counted(len(kinds), "group")
        raise DataError(f"{origin} finds {found} ({shown}): {needs} or more.")
    rows, labels = np.nonzero(members)
    if len(set(zip(groups[rows].tolist(), labels.tolist(), strict=True))) <= members.shape[1]:
        raise DataError(
            f"The groups of {origin} are the classes: each class is in one group, and so in one split alone. "
            "Name the scene, flight or field of a tile."
        )
    if members.sum(0).max() < count:
        raise DataError(f"No class has {count} tiles or more, which a group split needs: add tiles.")


def groups_in_names(names: Sequence[str], pattern: str) -> list[str]:
    """Return the group of each tile that a pattern finds in its name.

    Args:
        names: of the tiles.
        pattern: regular expression; its first parenthesis, or all it matches, is the group of a name such as
            River/scene12_3.png.

    Raises:
        DataError: the pattern finds none in a name, or an empty one.
    """
    compiled = re.compile(pattern)
    found = [compiled.search(name) for name in names]
    groups = [match[min(compiled.groups, 1)] if match else None for match in found]
    if unmatched := [name for name, group in zip(names, groups, strict=True) if not group]:
        raise DataError(
            f"--group-pattern {pattern} finds no group in {len(unmatched):,} of {len(groups):,} tile names, "
            f"such as {printable(unmatched[0])}."
        )
    return [group for group in groups if group]
