"""Colours of map classes: conventional for known land covers, else distinct."""

from orbitune.mapping.grid import NODATA, NOT_SURE

Colour = tuple[int, int, int]

# The first entry with a word that the class name contains applies.
_CONVENTIONAL: tuple[tuple[tuple[str, ...], Colour], ...] = (
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
_DISTINCT: tuple[Colour, ...] = tuple(
    (round(255 * r), round(255 * g), round(255 * b))
    for r, g, b in (
        (0.90, 0.62, 0.00), (0.34, 0.71, 0.91), (0.00, 0.62, 0.45), (0.94, 0.89, 0.26),
        (0.00, 0.45, 0.70), (0.84, 0.37, 0.00), (0.80, 0.47, 0.65),
    )
)  # fmt: skip
_NOT_SURE_COLOUR, _NODATA_COLOUR = (200, 200, 200), (255, 255, 255)


def class_colours(classes: tuple[str, ...]) -> dict[int, Colour]:
    """Return the colour of each code of a map.

    Args:
        classes: class names, of the codes from 1 on.

    Returns:
        Red, green and blue, 0..255, by code. Classes share a colour only if there are more than colours.
    """
    found: dict[int, Colour] = {}
    for code, name in enumerate(classes, 1):
        plain = name.lower().replace("permanentcrop", "permanent")
        known = next(
            (colour for words, colour in _CONVENTIONAL if any(word in plain for word in words)), None
        )
        if known is not None and known not in found.values():
            found[code] = known
    free = [colour for colour in distinct_colours() if colour not in found.values()]
    rest = [code for code in range(1, len(classes) + 1) if code not in found]
    found.update({code: free[n % len(free)] for n, code in enumerate(rest)})
    return {NODATA: _NODATA_COLOUR, **dict(sorted(found.items())), NOT_SURE: _NOT_SURE_COLOUR}


def distinct_colours() -> list[Colour]:
    """Return colours without a meaning, the easiest to tell apart first."""
    return [*_DISTINCT, *_colour_cube()]


def _colour_cube() -> list[Colour]:
    """Return more colours, for data sets with many classes."""
    steps = (40, 100, 160, 220)
    return [(r, g, b) for b in steps for r in steps for g in steps if len({r, g, b}) > 1]
