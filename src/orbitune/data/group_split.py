"""Group split: tiles of one scene, flight or field go to one split as a whole.

Tiles that were cut from one scene look alike, so a random split overestimates the accuracy on another scene
(Roberts et al. 2017, Ecography 40:913).
"""

import re

import numpy as np

from orbitune.data.spatial_blocks import FOLDS, assign_groups, has_right_sizes
from orbitune.data.tileset import TileSet
from orbitune.errors import DataError, printable


def split_by_groups(
    tiles: TileSet, pattern: str, *, seed: int
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Split tiles by the group in their names, near 60/20/20 and nearly stratified.

    Args:
        tiles: the tiles.
        pattern: regular expression; its first parenthesis, or all it matches, is the group of a name such as
            River/scene12_3.png.
        seed: of the assignment of groups.

    Returns:
        Indices by split, and notes for the user.

    Raises:
        DataError: the pattern finds no group in a name, or there are too few groups or tiles.
    """
    names = _group_names(tiles, pattern)
    kinds, groups = np.unique(names, return_inverse=True)
    if len(kinds) < FOLDS:
        shown = ", ".join(printable(kind) for kind in kinds)
        raise DataError(
            f"--group-pattern {pattern} finds {len(kinds)} groups ({shown}): a split needs {FOLDS} or more."
        )
    if tiles.membership.sum(0).max() < FOLDS:
        raise DataError(f"No class has {FOLDS} tiles or more, which a group split needs: add tiles.")
    splits = assign_groups(tiles.membership, groups, seed=seed)
    fractions = "/".join(f"{len(splits[name]) / len(names):.1%}" for name in ("train", "validation", "test"))
    notes = [
        f"group split: {len(kinds):,} groups of tiles, each whole in one split, {fractions}, stratified as "
        f"groups allow, with seed {seed}"
    ]
    if not has_right_sizes(splits):
        notes.append(
            f"warning: the group split is {fractions} instead of 60/20/20, as the groups are few or of "
            "unequal size: use a --group-pattern that finds smaller groups, or lists with --split-files"
        )
    return splits, tuple(notes)


def _group_names(tiles: TileSet, pattern: str) -> list[str]:
    """Return the group of each tile.

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
