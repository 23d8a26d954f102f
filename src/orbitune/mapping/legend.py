"""Colours of classes: those that land-cover maps have, by words in the names, else distinct ones."""

from orbitune.mapping.grid import NODATA, UNSURE

Colour = tuple[int, int, int]

# The first word that a name contains decides.
_KNOWN: tuple[tuple[tuple[str, ...], Colour], ...] = (
    (("sea", "lake", "ocean"), (35, 110, 190)),
    (("river", "water"), (100, 180, 230)),
    (("forest", "tree"), (30, 110, 50)),
    (("annual", "crop"), (240, 200, 90)),
    (("permanent", "orchard", "vineyard"), (200, 130, 60)),
    (("pasture", "meadow"), (170, 210, 100)),
    (("grass", "herb", "shrub", "vegetation"), (115, 170, 85)),
    (("highway", "road"), (90, 90, 90)),
    (("industr",), (150, 80, 170)),
    (("resident", "urban", "built", "city"), (215, 60, 60)),
    (("beach", "sand", "bare", "desert"), (225, 205, 165)),
    (("snow", "ice", "glacier"), (235, 245, 250)),
    (("wetland", "marsh", "swamp"), (90, 150, 140)),
)
_OTHERS: tuple[Colour, ...] = tuple(
    (round(255 * r), round(255 * g), round(255 * b))
    for r, g, b in (
        (0.90, 0.62, 0.00), (0.34, 0.71, 0.91), (0.00, 0.62, 0.45), (0.94, 0.89, 0.26),
        (0.00, 0.45, 0.70), (0.84, 0.37, 0.00), (0.80, 0.47, 0.65),
    )
)  # fmt: skip
_NOT_SURE, _NOTHING = (200, 200, 200), (255, 255, 255)


def colours(classes: tuple[str, ...]) -> dict[int, Colour]:
    """Red, green and blue, 0..255, of each code of a map; no two classes share one while there are enough."""
    found: dict[int, Colour] = {}
    for code, name in enumerate(classes, 1):
        plain = name.lower().replace("permanentcrop", "permanent")
        known = next((colour for words, colour in _KNOWN if any(word in plain for word in words)), None)
        if known is not None and known not in found.values():
            found[code] = known
    free = [colour for colour in (*_OTHERS, *_grid()) if colour not in found.values()]
    rest = [code for code in range(1, len(classes) + 1) if code not in found]
    found.update({code: free[n % len(free)] for n, code in enumerate(rest)})
    return {NODATA: _NOTHING, **dict(sorted(found.items())), UNSURE: _NOT_SURE}


def _grid() -> list[Colour]:
    """A colour cube, for the many classes of a few data sets."""
    steps = (40, 100, 160, 220)
    return [(r, g, b) for b in steps for r in steps for g in steps if len({r, g, b}) > 1]
