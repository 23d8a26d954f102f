"""Stratified draws and parts of tiles with several labels.

A stratum for each combination of labels would often hold one tile. Iterative stratification (Sechidis,
Tsoumakas and Vlahavas 2011, doi:10.1007/978-3-642-23808-6_10) distributes the tiles of the rarest label
first, each to the part that lacks most of it.
"""

import numpy as np

from orbitune.data.labels.membership import with_empty


def draw_stratified(members: np.ndarray, number: int, *, seed: int) -> np.ndarray:
    """Draw about `number` tiles with about that fraction of each class, one of each class at least.

    Args:
        members: bool (N, C), classes of each tile; a class with two tiles or more is in both parts as far as
            the combinations allow.
        number: of tiles to draw, 0 < number < N.
        seed: of the draw.

    Returns:
        bool (N,): the tiles drawn.
    """
    generator = np.random.default_rng(seed)
    table = with_empty(members)
    counts = table.sum(0)
    drawn_wanted = np.maximum(counts * (number / len(table)), np.minimum(counts // 2, 1))
    wanted = np.stack([counts - drawn_wanted, drawn_wanted], 1)  # (C, 2): of the rest, and of the draw
    room = np.array([len(table) - number, number], float)
    part = _distribute(table, wanted, room=room, generator=generator)
    _complete(part, table, generator=generator)
    return part == 1


def stratified_parts(members: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """Divide tiles into parts of nearly equal size, each with nearly the same number of each class.

    Combinations of `count` tiles or more are divided evenly too (Szymanski and Kajdanowicz 2017, PMLR 74:22).

    Args:
        members: bool (N, C), classes of each tile.
        count: number of parts.
        seed: of the draw.

    Returns:
        int64 (N,): the part of each tile, from 0.
    """
    _, combination, sizes = np.unique(members, axis=0, return_inverse=True, return_counts=True)
    frequent = combination.ravel()[:, None] == np.flatnonzero(sizes >= count)
    table = np.concatenate([with_empty(members), frequent], 1)
    wanted = np.repeat(table.sum(0)[:, None] / count, count, axis=1)
    room = np.full(count, len(table) / count)
    return _distribute(table, wanted, room=room, generator=np.random.default_rng(seed))


def _distribute(
    table: np.ndarray, wanted: np.ndarray, *, room: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Return the part of each tile, int64 (N,), by iterative stratification.

    Args:
        table: bool (N, C), classes of each tile, one at least.
        wanted: float64 (C, parts), tiles of each class that each part shall have.
        room: float64 (parts,), tiles that each part shall have.
        generator: of the order of tiles.
    """
    part = np.full(len(table), -1)
    order = generator.permutation(len(table))
    left = table.sum(0).astype(float)
    while (left > 0).any():
        rarest = int(np.where(left > 0, left, np.inf).argmin())
        for row in order[table[order, rarest] & (part[order] < 0)]:
            own = table[row]
            # Most wanted of this class; among equals, the part with more room.
            part[row] = chosen = max(range(len(room)), key=lambda p: (wanted[rarest, p], room[p]))
            wanted[own, chosen] -= 1
            room[chosen] -= 1
            left[own] -= 1
    return part


def _complete(part: np.ndarray, table: np.ndarray, *, generator: np.random.Generator) -> None:
    """Move a tile of each class that one part lacks to it, unless the other part would lose a class."""
    for missing, other in ((1, 0), (0, 1)):
        for label in np.flatnonzero(~table[part == missing].any(0)):
            counts = table[part == other].sum(0)
            rows = np.flatnonzero((part == other) & table[:, label])
            spare = [row for row in generator.permutation(rows) if (counts[table[row]] > 1).all()]
            if spare:
                part[spare[0]] = missing
