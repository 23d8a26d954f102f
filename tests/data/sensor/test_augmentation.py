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


def test_haze_falls_from_blue_to_red_and_unknown_bands_have_none():
    red, green, blue, other = SensorAugmentation.haze_of((*RGB, None))
    assert 0 == other < red < green < blue == 1


def test_values_of_16_bits_keep_their_range():
    tiles = torch.randint(500, 12000, (8, 16, 16, 4), dtype=torch.int32)
    views = SensorAugmentation((1.0, 0.6, 0.3, 0.0), white=9000, largest=65535)(tiles)
    assert views.dtype == torch.int32
    assert 255 < views.max() <= 65535
    assert views.min() >= 0
