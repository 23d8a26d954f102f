"""Corruptions follow their models, get worse with severity, and are reproducible."""

import numpy as np
import pytest

from orbitune.data.sensor.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from orbitune.data.synthetic import generate

KINDS = list(CORRUPTIONS)


@pytest.fixture(scope="module")
def tiles() -> np.ndarray:
    return generate(20, seed=3)[0]


def grey(value: int, count: int = 1, size: int = 64) -> np.ndarray:
    return np.full((count, size, size, 3), value, np.uint8)


def distance(changed: np.ndarray, tiles: np.ndarray) -> float:
    return float(np.abs(changed.astype(float) - tiles).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_every_corruption_gives_tiles_that_get_worse_with_severity(kind, tiles):
    changed = [corrupt(tiles, kind, severity=severity) for severity in SEVERITIES]
    assert all(each.dtype == np.uint8 and each.shape == tiles.shape for each in changed)
    distances = [distance(each, tiles) for each in changed]
    assert distances[0] > 0
    assert distances == sorted(distances) and len(set(distances)) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_the_batch_size_does_not_change_a_tiles_result(kind, tiles):
    whole = corrupt(tiles, kind, severity=3, seed=1)
    parts = [
        corrupt(tiles[start : start + 7], kind, severity=3, seed=1, first=start) for start in range(0, 20, 7)
    ]
    assert (np.concatenate(parts) == whole).all()


@pytest.mark.parametrize(
    "kind", ["sensor noise", "brightness", "missing stripe", "offset", "band gain", "gamma"]
)
def test_another_seed_draws_another_corruption(kind, tiles):
    assert (corrupt(tiles, kind, severity=3, seed=0) != corrupt(tiles, kind, severity=3, seed=1)).any()


@pytest.mark.parametrize("kind", KINDS)
def test_the_given_tiles_stay_as_they_were(kind, tiles):
    before = tiles.copy()
    corrupt(tiles, kind, severity=5)
    assert (tiles == before).all()


@pytest.mark.parametrize("kind", KINDS)
def test_tiles_need_not_be_square_or_large(kind):
    assert corrupt(np.full((2, 5, 9, 3), 100, np.uint8), kind, severity=5).shape == (2, 5, 9, 3)


def test_haze_takes_contrast_and_draws_towards_the_airlight(tiles):
    hazy = corrupt(tiles, "haze", severity=4)  # 60 % of the ground's light is lost
    assert hazy.std(axis=(1, 2)) == pytest.approx(0.4 * tiles.std(axis=(1, 2)), abs=0.5)
    assert hazy[..., 2].min() >= 0.6 * 0.90 * 255 - 1


def test_noise_is_poissons_and_grows_with_the_light():
    for value in (20, 200):
        noisy = corrupt(grey(value, 4), "sensor noise", severity=2).astype(
            float
        )  # 400 electrons at full scale
        electrons = value / 255 * 400  # at full scale
        assert noisy.mean() == pytest.approx(value, abs=0.5)
        assert noisy.std() == pytest.approx(np.sqrt(electrons + 2**2) / 400 * 255, rel=0.05)


def test_blur_spreads_a_point_as_a_gaussian_and_mixes_no_colours():
    point = grey(0)
    point[0, 32, 32, 0] = 255
    blurred = corrupt(point, "blur", severity=3)[0].astype(float)  # one pixel of standard deviation
    assert blurred[32, 32, 0] == pytest.approx(255 / (2 * np.pi), abs=1.5)
    assert blurred[32, 33, 0] / blurred[32, 32, 0] == pytest.approx(np.exp(-0.5), abs=0.02)
    assert blurred[..., 1:].max() == 0


def test_brightness_multiplies_or_divides_a_whole_tile():
    changed = corrupt(grey(100, 30), "brightness", severity=5)
    assert {int(tile.max()) for tile in changed} == {50, 200}
    assert all(tile.min() == tile.max() for tile in changed)


def test_a_missing_stripe_is_black_lines_side_by_side():
    changed = corrupt(grey(100, 30), "missing stripe", severity=4)[..., 0] == 0
    rows, columns = changed.all(axis=2), changed.all(axis=1)
    assert (np.maximum(rows.sum(axis=1), columns.sum(axis=1)) == 13).all()  # 20 % of 64
    assert 0 < rows.any(axis=1).sum() < 30  # rows in some tiles, columns in others
    for lines in np.where(rows.any(axis=1)[:, None], rows, columns):
        assert np.flatnonzero(lines).tolist() == list(range(lines.argmax(), lines.argmax() + 13))


def test_an_offset_is_added_to_a_whole_tile_or_taken_from_it():
    changed = corrupt(grey(100, 30), "offset", severity=3)
    assert {int(tile.max()) for tile in changed} == {100 - round(0.08 * 255), 100 + round(0.08 * 255)}
    assert all(tile.min() == tile.max() for tile in changed)


def test_each_band_has_a_gain_of_its_own_within_the_level():
    changed = corrupt(grey(100, 30), "band gain", severity=5).reshape(30, -1, 3)
    assert (changed.min(1) == changed.max(1)).all()
    gains = changed[:, 0] / 100
    assert gains.min() < 0.8 and gains.max() > 1.3 and gains.min() > 1 / 1.61 and gains.max() < 1.61
    assert gains.std(1).min() > 0


def test_gamma_keeps_black_and_white_and_moves_what_is_between():
    ends = np.concatenate([grey(0, 5), grey(255, 5)])
    assert (corrupt(ends, "gamma", severity=5) == ends).all()
    middle = {int(tile.max()) for tile in corrupt(grey(128, 30), "gamma", severity=5)}  # 2 or 1/2
    assert middle == {round(255 * (128 / 255) ** 2), round(255 * (128 / 255) ** 0.5)}


def test_resampling_keeps_the_mean_and_takes_what_is_finer_than_its_pixels(tiles):
    coarse = corrupt(tiles, "resampling", severity=5)  # four times as large
    assert coarse.mean((1, 2)) == pytest.approx(tiles.mean((1, 2)), abs=2)
    stripes = grey(0)
    stripes[:, ::2] = 200
    assert corrupt(stripes, "resampling", severity=3)[0, 8:-8].std() < 5
    wide = grey(0)
    wide[:, :32] = 200
    assert distance(corrupt(wide, "resampling", severity=3), wide) < 4
