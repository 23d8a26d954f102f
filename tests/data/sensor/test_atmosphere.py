"""The standard atmosphere."""

import numpy as np
import pytest

from orbitune.data.sensor.atmosphere import Atmosphere

RGB = Atmosphere.at((664.6, 559.8, 492.4))


def test_air_adds_most_to_blue_and_takes_most_from_it():
    # As 6S computes for a clear continental atmosphere over a dark target (Vermote et al. 1997): 0.02 to 0.03
    # in red, 0.04 to 0.05 in green, 0.06 to 0.08 in blue.
    assert np.allclose(RGB.path, [0.025, 0.043, 0.068], atol=0.006)
    assert np.all(np.diff(RGB.path) > 0)
    assert np.all(np.diff(RGB.transmittance) < 0)


@pytest.mark.parametrize("amount", [0.0, 0.4, 1.0])
def test_the_amount_of_air_between_two_images_is_found(amount):
    surface = np.array([0.012, 0.020, 0.015])
    seen = amount * RGB.path + (1 - amount * (1 - RGB.transmittance)) * surface
    assert RGB.amount_between(surface, seen) == pytest.approx(amount, abs=1e-9)


def test_a_scene_brighter_than_the_reference_lacks_no_air():
    assert RGB.amount_between(np.array([0.05, 0.07, 0.09]), np.array([0.025, 0.045, 0.07])) == 0
