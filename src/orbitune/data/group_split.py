"""Group split: tiles of one scene, flight or field go to one split as a whole.

Tiles that were cut from one scene look alike, so a random split overestimates the accuracy on another scene
(Roberts et al. 2017, Ecography 40:913).
"""

import re

import numpy as np

from orbitune.data.spatial_blocks import FOLDS, assign_groups
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
        DataError: a name does not match, or there are too few groups.
    """
    compiled = re.compile(pattern)
    found = [compiled.search(name) for name in tiles.names]
    if unmatched := [name for name, match in zip(tiles.names, found, strict=True) if not match]:
        raise DataError(
            f"{len(unmatched):,} of {len(tiles.names):,} tile names do not match --group-pattern "
            f"{pattern}, such as {printable(unmatched[0])}."
        )
    names = [match[min(compiled.groups, 1)] or "" for match in found if match]
    kinds, groups = np.unique(names, return_inverse=True)
    if len(kinds) < FOLDS or np.bincount(tiles.labels).max() < FOLDS:
        shown = ", ".join(printable(kind) for kind in kinds[:FOLDS])
        raise DataError(
            f"--group-pattern {pattern} finds {len(kinds)} groups ({shown}): a split needs {FOLDS} or more."
        )
    splits = assign_groups(tiles.labels, groups, seed=seed)
    fractions = "/".join(f"{len(splits[name]) / len(names):.1%}" for name in ("train", "validation", "test"))
    notes = [
        f"group split: {len(kinds):,} groups of tiles, each whole in one split, {fractions}, stratified as "
        f"groups allow, with seed {seed}"
    ]
    for name in ("validation", "test"):
        present = np.unique(tiles.labels[splits[name]])
        if absent := [each for label, each in enumerate(tiles.classes) if label not in present]:
            notes.append(f"no {name} tile of {', '.join(map(printable, absent[:10]))}: few groups have it")
    return splits, tuple(notes)
