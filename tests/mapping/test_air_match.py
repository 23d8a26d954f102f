"""Match of a scene's air to that of the training tiles."""

import numpy as np
import pytest

from orbitune.data.sensor.atmosphere import Atmosphere
from orbitune.mapping.scene.air_match import match_air
from orbitune.mapping.scene.radiometry import ReflectanceScaling

RGB = (664.6, 559.8, 492.4)
WHITE = 0.275
DIGITAL_NUMBERS = ReflectanceScaling(low=(0.0,) * 3, high=(2750.0,) * 3, source="default")
AIR = Atmosphere.at(RGB)


@pytest.fixture
def surface():
    """Reflectance at the surface, float (3, 50, 50): dark water, and land ten times as bright."""
    random = np.random.default_rng(0)
    return random.uniform(0.01, 0.02, (3, 50, 50)) * np.where(np.arange(50) < 25, 1, 10)


def dark_of(reflectance):
    return np.percentile(reflectance.reshape(3, -1), 1, axis=1) / WHITE * 255


def test_a_surface_product_gets_the_air_of_the_training_tiles(surface):
    seen = AIR.path[:, None, None] + AIR.transmittance[:, None, None] * surface
    matched = match_air(
        DIGITAL_NUMBERS,
        np.ma.masked_array(surface * 10_000),
        wavelengths=RGB,
        dark=dark_of(seen),
        white=WHITE,
    )
    expected = DIGITAL_NUMBERS(seen * 10_000).astype(int)
    assert np.abs(matched(surface * 10_000).astype(int) - expected).max() <= 1
    assert "100% of a clear atmosphere" in matched.source


def test_a_scene_with_the_air_of_the_training_tiles_stays_as_it_is(surface):
    sample = np.ma.masked_array(surface * 10_000)
    matched = match_air(DIGITAL_NUMBERS, sample, wavelengths=RGB, dark=dark_of(surface), white=WHITE)
    assert matched is DIGITAL_NUMBERS


def test_pixels_without_data_do_not_count(surface):
    numbers = surface * 10_000
    mask = np.zeros(numbers.shape, bool)
    numbers[:, :, 25:], mask[:, :, 25:] = 0, True
    seen = AIR.path[:, None, None] + AIR.transmittance[:, None, None] * surface[:, :, :25]
    settings = {"wavelengths": RGB, "dark": dark_of(seen), "white": WHITE}
    masked = match_air(DIGITAL_NUMBERS, np.ma.masked_array(numbers, mask), **settings)
    cut = match_air(DIGITAL_NUMBERS, np.ma.masked_array(surface[:, :, :25] * 10_000), **settings)
    assert masked == cut


def test_a_scene_without_data_stays_as_it_is():
    empty = np.ma.masked_all((3, 4, 4))
    settings = {"wavelengths": RGB, "dark": (20.0, 30.0, 50.0), "white": WHITE}
    assert match_air(DIGITAL_NUMBERS, empty, **settings) is DIGITAL_NUMBERS
