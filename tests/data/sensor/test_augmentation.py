"""Views of tiles as other sensors show them."""

import numpy as np
import pytest
import torch

from orbitune.data.sensor.augmentation import SensorAugmentation

RGB = (664.6, 559.8, 492.4)


@pytest.fixture
def tiles():
    rng = np.random.default_rng(0)
    ramp = np.linspace(40, 120, 32)[None, :, None, None] + rng.normal(0, 8, (64, 32, 32, 3))
    return torch.from_numpy(ramp.round().clip(0, 255).astype(np.uint8))


def test_a_view_keeps_shape_and_dtype(tiles):
    augmentation = SensorAugmentation(SensorAugmentation.haze_of(RGB))
    assert augmentation(tiles).shape == tiles.shape
    assert augmentation(tiles).dtype == torch.uint8


def test_the_same_seed_gives_the_same_views(tiles):
    augmentation = SensorAugmentation(SensorAugmentation.haze_of(RGB))
    torch.manual_seed(3)
    once = augmentation(tiles)
    torch.manual_seed(3)
    assert torch.equal(augmentation(tiles), once)


def test_views_differ_in_brightness_by_more_than_the_tiles_do(tiles):
    views = SensorAugmentation(SensorAugmentation.haze_of(RGB))(tiles).float()
    assert views.mean((1, 2, 3)).std() > 5 * tiles.float().mean((1, 2, 3)).std()


def test_windows_are_resized_so_that_the_ground_is_magnified(tiles):
    # The ramp runs over 80 values from side to side: a window of it shows fewer.
    views = SensorAugmentation((0.0, 0.0, 0.0))(tiles).float().mean((2, 3))
    spans = views[:, -4:].mean(1) - views[:, :4].mean(1)
    assert spans.min() < 35 < spans.max()


@pytest.fixture
def flat():
    return torch.full((400, 16, 16, 3), 128, dtype=torch.uint8)


def thick_haze(views):
    return views.mean((1, 2, 3)) > 195


def strong_noise(views):
    lines = views.amax((2, 3)).amin(1), views.amax((1, 3)).amin(1)
    return (views.std((1, 2)).amin(1) > 12) & (torch.minimum(*lines) > 0)


def stripe(views):
    rows, columns = views.amax((2, 3)) == 0, views.amax((1, 3)) == 0
    return rows.any(1) | columns.any(1)


@pytest.mark.parametrize("shows", [thick_haze, strong_noise, stripe])
def test_some_views_to_train_on_are_corrupted_and_none_that_stand_for_a_usable_scene(flat, shows):
    augmentation = SensorAugmentation((0.0, 0.0, 0.0))
    torch.manual_seed(0)
    assert 0.01 < shows(augmentation(flat).float()).float().mean() < 0.2
    assert not shows(augmentation.usable_views(flat).float()).any()


def test_a_view_is_corrupted_in_one_way_at_most_so_that_its_class_can_be_told(flat):
    torch.manual_seed(0)
    views = SensorAugmentation((0.0, 0.0, 0.0))(flat).float()
    ways = torch.stack([thick_haze(views), strong_noise(views), stripe(views)])
    assert ways.sum(0).max() == 1


def test_haze_falls_from_blue_to_red_and_unknown_bands_have_none():
    red, green, blue, other = SensorAugmentation.haze_of((*RGB, None))
    assert 0 == other < red < green < blue == 1


def test_values_of_16_bits_keep_their_range():
    tiles = torch.randint(500, 12000, (8, 16, 16, 4), dtype=torch.int32)
    views = SensorAugmentation((1.0, 0.6, 0.3, 0.0), white=9000, largest=65535)(tiles)
    assert views.dtype == torch.int32
    assert 255 < views.max() <= 65535
    assert views.min() >= 0


@pytest.fixture
def four():
    """Four tiles of one value each, 0, 1, 2 and 3 times 60, in this order sixty times."""
    values = 60 * torch.arange(4, dtype=torch.uint8).view(1, 4, 1, 1, 1)
    return values.expand(60, 4, 16, 16, 3).reshape(240, 16, 16, 3)


@pytest.fixture
def no_radiometry(monkeypatch):
    monkeypatch.setattr("orbitune.data.sensor.augmentation._RADIOMETRY", 0.0)


def test_the_fractions_of_a_patch_are_those_of_its_pixels(four, no_radiometry):
    torch.manual_seed(0)
    mosaics, fractions = SensorAugmentation((0.0, 0.0, 0.0)).usable_mosaics(four, 4)
    assert mosaics.shape == (60, 16, 16, 3) and fractions.shape == (60, 16, 4)
    patches = mosaics[..., 0].view(60, 4, 4, 4, 4).transpose(2, 3).reshape(60, 16, 16)
    counted = torch.stack([(patches == 60 * tile).float().mean(-1) for tile in range(4)], -1)
    assert torch.allclose(fractions, counted, atol=1e-6)


def test_half_of_the_mosaics_show_a_single_tile(four):
    torch.manual_seed(0)
    _, fractions = SensorAugmentation((0.0, 0.0, 0.0)).usable_mosaics(four.repeat(10, 1, 1, 1), 4)
    single = (fractions.mean(1).amax(-1) == 1).float().mean()
    assert 0.45 < single < 0.6


def test_the_same_seed_gives_the_same_mosaics(tiles):
    augmentation = SensorAugmentation(SensorAugmentation.haze_of(RGB))
    torch.manual_seed(3)
    once = augmentation.usable_mosaics(tiles, 4)
    torch.manual_seed(3)
    again = augmentation.usable_mosaics(tiles, 4)
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
