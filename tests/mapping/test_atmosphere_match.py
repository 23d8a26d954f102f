"""Match of a scene's atmosphere to that of the training tiles."""

import json
import shutil

import numpy as np
import pytest
import rasterio
from scenes import write_scene

from orbitune.data.sensor.atmosphere import Atmosphere
from orbitune.mapping.pipeline import map_scene
from orbitune.mapping.scene.atmosphere_match import match_atmosphere
from orbitune.mapping.scene.radiometry import ReflectanceScaling

RGB = (664.6, 559.8, 492.4)
WHITE = 0.275
DIGITAL_NUMBERS = ReflectanceScaling(low=(0.0,) * 3, high=(2750.0,) * 3, source="default")
AIR = Atmosphere.at(RGB)


@pytest.fixture
def surface():
    """Surface reflectance, float (3, 50, 50): dark water and bright land."""
    random = np.random.default_rng(0)
    return random.uniform(0.01, 0.02, (3, 50, 50)) * np.where(np.arange(50) < 25, 1, 10)


def dark_of(reflectance):
    return np.percentile(reflectance.reshape(3, -1), 1, axis=1) / WHITE * 255


def test_a_surface_product_gets_the_air_of_the_training_tiles(surface):
    seen = AIR.path[:, None, None] + AIR.transmittance[:, None, None] * surface
    matched = match_atmosphere(
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
    matched = match_atmosphere(DIGITAL_NUMBERS, sample, wavelengths=RGB, dark=dark_of(surface), white=WHITE)
    assert matched is DIGITAL_NUMBERS


def test_pixels_without_data_do_not_count(surface):
    numbers = surface * 10_000
    mask = np.zeros(numbers.shape, bool)
    numbers[:, :, 25:], mask[:, :, 25:] = 0, True
    seen = AIR.path[:, None, None] + AIR.transmittance[:, None, None] * surface[:, :, :25]
    settings = {"wavelengths": RGB, "dark": dark_of(seen), "white": WHITE}
    masked = match_atmosphere(DIGITAL_NUMBERS, np.ma.masked_array(numbers, mask), **settings)
    cut = match_atmosphere(DIGITAL_NUMBERS, np.ma.masked_array(surface[:, :, :25] * 10_000), **settings)
    assert masked == cut


def test_a_scene_without_data_stays_as_it_is():
    empty = np.ma.masked_all((3, 4, 4))
    settings = {"wavelengths": RGB, "dark": (20.0, 30.0, 50.0), "white": WHITE}
    assert match_atmosphere(DIGITAL_NUMBERS, empty, **settings) is DIGITAL_NUMBERS


# --- `--scale` --------------------------------------------------------------------------------------------


@pytest.fixture
def hazy_bundle(bundle, tmp_path):
    """The bundle, with tiles whose darkest pixels are those of EuroSAT."""
    folder = shutil.copytree(bundle.folder, tmp_path / "hazy")
    stored = json.loads((folder / "orbitune.json").read_text())
    stored["data"]["statistics"]["low"] = [23.0, 43.0, 66.0]
    (folder / "orbitune.json").write_text(json.dumps(stored))
    return folder


@pytest.fixture
def airless(tmp_path, surface):
    """A scene of surface reflectance in digital numbers, 100 x 100 pixels."""
    numbers = (np.tile(surface, (1, 2, 2)) * 10_000).round().astype(np.uint16)
    return write_scene(tmp_path / "airless.tif", numbers.transpose(1, 2, 0))


def test_match_is_the_default_and_none_keeps_the_air_of_the_scene(hazy_bundle, airless, tmp_path):
    default, match, none = (
        map_scene(hazy_bundle, airless, outputs=tmp_path / f"{number}.tif", progress=False, **options)
        for number, options in enumerate(({}, {"scale": "match"}, {"scale": "none"}))
    )
    assert default == match and default.metadata.scale == "match"
    assert "of a clear atmosphere added" in match.metadata.scaling.source
    scaling = none.metadata.scaling
    assert (scaling.low, scaling.high) == ((0.0,) * 3, (2750.0,) * 3)
    assert scaling.source == "reflectance 0 to 0.275"
    assert none.metadata.encoding == match.metadata.encoding


@pytest.mark.parametrize("scale", ["match", "none", "0:2750"])
def test_the_scale_is_stored_in_the_tags(orbitune, bundle, airless, tmp_path, scale):
    code, out, _ = orbitune(
        "map", bundle.folder, airless, "-o", tmp_path / "m.tif", "--scale", scale, "--json"
    )
    with rasterio.open(tmp_path / "m.tif") as file:
        tags = json.loads(file.tags()["ORBITUNE"])
    assert code == 0 and tags["scale"] == json.loads(out)["metadata"]["scale"] == scale


def test_bands_beyond_the_visible_get_their_own_air_and_unknown_ones_none(surface):
    """Blue, near infrared, and an index: the amount is told by blue alone."""
    lengths = (492.4, 832.8, None)
    air = Atmosphere.at((492.4, 832.8, np.inf))
    assert air.path[0] > 5 * air.path[1] and (air.path[2], air.transmittance[2]) == (0, 1)
    seen = air.path[:, None, None] + air.transmittance[:, None, None] * surface
    numbers = ReflectanceScaling(low=(0.0,) * 3, high=(10_000.0,) * 3, source="default", top=10_000)
    dark = np.percentile(seen.reshape(3, -1), 1, axis=1) * 10_000
    dark[1:] = 9000  # what other bands hold does not count
    sample = np.ma.masked_array(surface * 10_000)
    matched = match_atmosphere(numbers, sample, wavelengths=lengths, dark=dark, white=1.0)
    assert np.abs(matched(surface * 10_000).astype(int) - numbers(seen * 10_000).astype(int)).max() <= 1
    assert match_atmosphere(numbers, sample, wavelengths=(832.8, None, None), dark=dark, white=1.0) is numbers
