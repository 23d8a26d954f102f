"""Synthetic tiles of ten land-cover classes, like Sentinel-2 at 10 m.

Colours of different classes overlap, and roads and rivers are drawn over other classes, so that the class
depends on a tile's structure rather than its mean colour.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.ndimage import gaussian_filter

CLASSES: tuple[str, ...] = (
    "AnnualCrop",
    "Forest",
    "HerbaceousVegetation",
    "Highway",
    "Industrial",
    "Pasture",
    "PermanentCrop",
    "Residential",
    "River",
    "SeaLake",
)
SIZE = 64
DEFAULT_COUNT = 1000
VERSION = 1  # to be raised when a tile of the same seed and index changes

Rng = np.random.Generator
Array = np.ndarray

_Y, _X = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
_FREQUENCY = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None]) * SIZE
_FREQUENCY[0, 0] = np.inf  # no constant component
_PARCELS = 16  # parcels are numbered modulo 16 in each direction, more than a tile holds

# Mean colours (red, green, blue), estimated from EuroSAT by eye; brightness and hue vary around them.
_PALETTE = {
    "asphalt": (106, 107, 115),
    "concrete": (150, 144, 142),
    "dry": (126, 112, 104),
    "forest": (44, 68, 74),
    "grass": (60, 92, 84),
    "lake": (48, 78, 96),
    "metal": (196, 198, 205),
    "olive": (92, 98, 86),
    "sea": (32, 50, 84),
    "shrub": (58, 74, 74),
    "soil": (152, 118, 106),
    "straw": (186, 152, 124),
    "tile": (148, 108, 98),
    "turbid": (112, 118, 104),
}


def generate(count: int, seed: int = 0) -> tuple[Array, Array]:
    """Generate tiles. Tile i depends on `seed` and i alone; its class is i modulo 10.

    Args:
        count: number of tiles, 0 or more.
        seed: 0 or more.

    Returns:
        Tiles, uint8 (count, 64, 64, 3), RGB; labels, int64 (count,), indices into CLASSES.
    """
    tiles = np.empty((count, SIZE, SIZE, 3), np.uint8)
    labels = np.arange(count, dtype=np.int64) % len(CLASSES)
    for index, label in enumerate(labels):
        rng = np.random.default_rng((seed, index))
        tiles[index] = _sense(rng, _DRAW[CLASSES[label]](rng))
    return tiles, labels


# --- building blocks: arrays are (64, 64), colours (64, 64, 3) from 0 to 255


def _relief(rng: Rng, slope: float) -> Array:
    """Return standardised fractal noise; a slope of 0.3 is gritty, 3 smooth."""
    real, imaginary = rng.standard_normal((2, *_FREQUENCY.shape))
    field = np.fft.irfft2((real + 1j * imaginary) * _FREQUENCY**-slope, (SIZE, SIZE))
    return field / field.std()


def _frame(rng: Rng, warp: float) -> tuple[Array, Array]:
    """Return randomly rotated coordinates, distorted by about `warp` pixels."""
    angle = rng.uniform(0, 2 * np.pi)
    u = np.cos(angle) * _X + np.sin(angle) * _Y
    v = np.cos(angle) * _Y - np.sin(angle) * _X
    return u + warp * _relief(rng, 2.5), v + warp * _relief(rng, 2.5)


def _colours(rng: Rng, names: Sequence[str] | Array, *, count: int, spread: float = 0.12) -> Array:
    """Return random colours (count, 3) around named ones."""
    means = np.array([_PALETTE[name] for name in names], float)[rng.integers(len(names), size=count)]
    brightness = 1 + spread * rng.standard_normal((count, 1))
    return means * brightness + 4 * rng.standard_normal((count, 3))


def _over(land: Array, mask: Array, *, colour: Array) -> Array:
    """Return the land with a colour laid over it where the mask is 1."""
    return land + mask[..., None] * (colour - land)


def _parcels(rng: Rng, frame: tuple[Array, Array], *, size: float, stretch: float) -> tuple[Array, Array]:
    """Divide the plane into parcels `size` wide, about `stretch` times as long.

    Returns:
        The index of each pixel's parcel, 0 to 255, and its distance to the parcel's border in pixels.
    """
    u, v = frame
    strip, across = np.divmod(u + rng.uniform(0, size), size)
    strip = strip.astype(int) % _PARCELS
    length = (size * stretch * rng.uniform(0.6, 1.5, _PARCELS))[strip]
    parcel, along = np.divmod(v + rng.uniform(0, SIZE, _PARCELS)[strip], length)
    border = np.minimum.reduce([across, size - across, along, length - along])
    return strip * _PARCELS + parcel.astype(int) % _PARCELS, border


def _line(rng: Rng, bend: float, *, reach: float = 14) -> Array:
    """Return the distance in pixels to a winding line near the centre."""
    u, v = _frame(rng, 0.5)
    period, phase = rng.uniform(50, 130), rng.uniform(0, 2 * np.pi)
    wave = 2 * np.pi * u / period + phase
    steepness = bend * 2 * np.pi / period * np.cos(wave)
    return np.abs(v - rng.uniform(-reach, reach) - bend * np.sin(wave)) / np.hypot(1, steepness)


def _band(distance: Array, width: float) -> Array:
    """Return 1 within `width` / 2 pixels of a line, 0 outside, with a soft edge."""
    return np.clip(width / 2 - distance + 0.5, 0, 1)


def _texture(rng: Rng, slope: float, *, strength: float) -> Array:
    """Return a factor (64, 64, 1) around 1 that roughens a surface."""
    return 1 + strength * _relief(rng, slope)[..., None]


def _track(rng: Rng, land: Array) -> Array:
    """Draw a narrow farm track or lane."""
    colour = _colours(rng, ("straw", "concrete", "asphalt"), count=1)
    line = _line(rng, rng.uniform(0, 10), reach=30)
    return _over(land, 0.7 * _band(line, rng.uniform(0.6, 1.6)), colour=colour)


def _farmstead(rng: Rng, land: Array) -> Array:
    """Draw a few roofs somewhere on the land."""
    number, border = _parcels(rng, _frame(rng, 0), size=rng.uniform(4, 7), stretch=1.3)
    centre = rng.uniform(-28, 28, 2)
    near = np.hypot(_X - centre[0], _Y - centre[1]) < rng.uniform(4, 9)
    roofs = _colours(rng, ("tile", "metal", "concrete"), count=_PARCELS**2)[number]
    return _over(land, near * (border > 1) * 0.8, colour=roofs)


def _cluttered(rng: Rng, land: Array) -> Array:
    """Draw a track or farmstead now and then."""
    for clutter in (_track, _farmstead):
        if rng.random() < 0.35:
            land = clutter(rng, land)
    return land


# --- one drawing per class


def _annual_crop(rng: Rng) -> Array:
    """Draw fields of annual crops."""
    u, v = _frame(rng, 0.6)
    number, border = _parcels(rng, (u, v), size=rng.uniform(16, 40), stretch=rng.uniform(1, 2))
    names = rng.choice(("soil", "straw", "dry", "grass", "olive", "forest"), 3)
    land = _colours(rng, names, count=_PARCELS**2)[number]
    furrows = np.sin(2 * np.pi * v / rng.uniform(2.5, 5)) * rng.uniform(0, 0.05, _PARCELS**2)[number]
    land = land * (1 + furrows[..., None]) * _texture(rng, 1.5, strength=0.04)
    land = _over(
        land, _band(border, 1.0) * rng.uniform(0, 0.5), colour=_colours(rng, ("forest", "straw"), count=1)
    )
    return _cluttered(rng, land)


def _permanent_crop(rng: Rng) -> Array:
    """Draw orchards or vineyards in rows."""
    u, v = _frame(rng, 1.0)
    number, border = _parcels(rng, (u, v), size=rng.uniform(10, 24), stretch=rng.uniform(1, 2))
    names = rng.choice(("soil", "straw", "dry", "olive", "grass"), 3)
    land = _colours(rng, names, count=_PARCELS**2)[number] * _texture(rng, 1, strength=0.06)
    period = rng.uniform(3.2, 5.5)
    rows = np.cos(2 * np.pi * v / period)
    dots = rows + np.where(rng.random(_PARCELS**2) < 0.6, 1, 0)[number] * np.cos(2 * np.pi * u / period)
    planted = (rng.random(_PARCELS**2) < 0.8)[number] * (border > 1)
    land = _over(
        land, planted * np.clip(dots, 0, 1) * rng.uniform(0.3, 0.7), colour=_colours(rng, ("shrub",), count=1)
    )
    return _cluttered(rng, land)


def _pasture(rng: Rng) -> Array:
    """Draw pastures with hedges."""
    number, border = _parcels(rng, _frame(rng, 2.5), size=rng.uniform(14, 36), stretch=rng.uniform(0.8, 1.6))
    names = rng.choice(("grass", "grass", "grass", "olive", "dry"), 3)
    land = _colours(rng, names, count=_PARCELS**2, spread=0.08)[number] * _texture(rng, 1.8, strength=0.07)
    hedges = _band(border, rng.uniform(1, 2.2)) * (_relief(rng, 1) > -0.8) * rng.uniform(0.3, 0.8)
    land = _over(land, hedges, colour=_colours(rng, ("forest", "shrub"), count=1))
    return _cluttered(rng, land)


def _forest(rng: Rng) -> Array:
    """Draw a forest canopy."""
    canopy = _relief(rng, rng.uniform(0.3, 1.0))
    shade = 1 + rng.uniform(0.05, 0.14) * canopy + 0.08 * _relief(rng, 2.2)
    land = _colours(rng, ("forest", "forest", "grass"), count=1, spread=0.2) * shade[..., None]
    clearing = _relief(rng, 2) > rng.uniform(1.3, 3.5)
    return _cluttered(
        rng, _over(land, clearing * 0.7, colour=_colours(rng, ("grass", "dry", "olive"), count=1))
    )


def _herbaceous(rng: Rng) -> Array:
    """Draw herbaceous vegetation with shrubs."""
    cover = np.clip(0.5 + 0.45 * _relief(rng, rng.uniform(1.2, 1.9)), 0, 1)
    low, high = _colours(rng, rng.choice(("dry", "olive", "shrub", "soil", "straw"), 2), count=2)
    land = _over(np.broadcast_to(low, (SIZE, SIZE, 3)), cover, colour=high)
    hills = _relief(rng, 2)
    land = land * (1 + rng.uniform(0.1, 0.5) * (hills - np.roll(hills, (1, 1), (0, 1)))[..., None])
    shrubs = _relief(rng, 0.4) > rng.uniform(1, 2.5)
    return _cluttered(
        rng, _over(land, shrubs * 0.5, colour=_colours(rng, ("shrub", "forest", "straw"), count=1))
    )


def _industrial(rng: Rng) -> Array:
    """Draw industrial buildings."""
    land = _colours(rng, ("asphalt", "concrete", "olive", "grass"), count=1) * _texture(rng, 1, strength=0.08)
    number, border = _parcels(rng, _frame(rng, 0.3), size=rng.uniform(8, 15), stretch=rng.uniform(0.8, 1.8))
    materials = ("metal", "metal", "concrete", "asphalt", "tile")
    roofs = _colours(rng, materials, count=_PARCELS**2, spread=0.18)[number]
    built = (rng.random(_PARCELS**2) < rng.uniform(0.5, 0.85))[number]
    land = _over(land, built * np.clip(border - rng.uniform(0.8, 2), 0, 1), colour=roofs)
    return _track(rng, land * _texture(rng, 0.5, strength=0.05))


def _residential(rng: Rng) -> Array:
    """Draw houses along streets."""
    u, v = _frame(rng, 1.0)
    land = _colours(rng, ("grass", "olive", "dry", "concrete"), count=1) * _texture(rng, 0.8, strength=0.12)
    number, border = _parcels(rng, (u, v), size=rng.uniform(3.2, 5.5), stretch=rng.uniform(0.9, 1.6))
    materials = ("tile", "tile", "concrete", "asphalt", "metal")
    roofs = _colours(rng, materials, count=_PARCELS**2, spread=0.15)[number]
    built = (rng.random(_PARCELS**2) < rng.uniform(0.55, 0.9))[number]
    land = _over(land, built * np.clip(border - 0.4, 0, 1) * 0.9, colour=roofs)
    _, street = _parcels(rng, (u, v), size=rng.uniform(12, 20), stretch=rng.uniform(1, 2))
    return _over(land, _band(street, 1.6) * 0.7, colour=_colours(rng, ("asphalt", "concrete"), count=1))


def _highway(rng: Rng) -> Array:
    """Draw a highway across other land."""
    land = _DRAW[str(rng.choice(_LAND))](rng)
    asphalt = _colours(rng, ("asphalt", "concrete"), count=1)
    verge = _colours(rng, ("olive", "dry", "grass"), count=1)
    for _ in range(rng.integers(1, 3)):
        line, width = _line(rng, rng.uniform(0, 8)), rng.uniform(2.5, 5)
        land = _over(land, _band(line, width + 3) * 0.6, colour=verge)
        land = _over(land, _band(line, width), colour=asphalt)
        land = _over(land, _band(line, 0.6) * 0.5 * (width > 4), colour=verge)
    return land


def _river(rng: Rng) -> Array:
    """Draw a river across other land."""
    land = _DRAW[str(rng.choice(_LAND))](rng)
    line, width = _line(rng, rng.uniform(2, 22)), rng.uniform(6, 24)
    line = line + 0.8 * _relief(rng, 1.5)
    land = _over(
        land, _band(line, width + rng.uniform(2, 8)) * 0.7, colour=_colours(rng, ("forest", "olive"), count=1)
    )
    return _over(land, _band(line, width), colour=_water(rng))


def _sea_lake(rng: Rng) -> Array:
    """Draw open water, sometimes with a shore."""
    water = _water(rng)
    if rng.random() < 0.4:
        u, _ = _frame(rng, 3)
        land = _DRAW[str(rng.choice(_LAND))](rng)
        return _over(water, np.clip(u - rng.uniform(8, 26), 0, 1), colour=land)
    return water


def _water(rng: Rng) -> Array:
    """Return a water surface."""
    colour = _colours(rng, ("sea", "lake", "lake", "lake", "turbid"), count=1, spread=0.2)
    ripples = rng.uniform(0, 0.04) * _relief(rng, rng.uniform(0.1, 1.5))
    return colour * (1 + ripples + rng.uniform(0, 0.12) * _relief(rng, 3))[..., None]


_DRAW: dict[str, Callable[[Rng], Array]] = {
    "AnnualCrop": _annual_crop,
    "Forest": _forest,
    "HerbaceousVegetation": _herbaceous,
    "Highway": _highway,
    "Industrial": _industrial,
    "Pasture": _pasture,
    "PermanentCrop": _permanent_crop,
    "Residential": _residential,
    "River": _river,
    "SeaLake": _sea_lake,
}
_LAND = ("AnnualCrop", "Forest", "HerbaceousVegetation", "Pasture", "PermanentCrop", "Residential")


# --- atmosphere and sensor


def _sense(rng: Rng, land: Array) -> Array:
    """Return the tile as a satellite sees it, uint8, with haze, blur and noise."""
    if rng.random() < 0.25:
        land = _cloud(rng, land)
    land = land * rng.uniform(0.75, 1.25) * rng.uniform(0.95, 1.05, 3)
    haze = rng.uniform(0, 0.25) if rng.random() < 0.9 else rng.uniform(0.4, 0.6)
    land = land + haze * (np.array((85, 110, 165)) - land)
    land = gaussian_filter(land, (0.55, 0.55, 0))
    land = land + rng.uniform(0.5, 3) * rng.standard_normal(land.shape)
    return np.clip(land, 0, 255).astype(np.uint8)


def _cloud(rng: Rng, land: Array) -> Array:
    """Cover a small part of the land with a cloud or its shadow."""
    x, y = rng.uniform(-30, 30, 2)
    radius = rng.uniform(3, 8) * (1 + 0.4 * _relief(rng, 2))
    mask = np.clip((radius - np.hypot(_X - x, _Y - y)) / 3, 0, 0.85)
    return _over(land, mask, colour=np.full(3, rng.choice((40.0, 225.0))))
