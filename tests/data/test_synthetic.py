"""Synthetic tiles are reproducible, balanced, and told apart by structure."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from orbitune.data.synthetic import CLASSES, SIZE, generate

RADIUS = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None]) * SIZE


@pytest.fixture(scope="module")
def drawn():
    return generate(600, seed=1)


def colour(tiles: np.ndarray) -> np.ndarray:
    """Mean and deviation of each channel: (N, 6)."""
    return np.concatenate([tiles.mean((1, 2)), tiles.std((1, 2))], axis=1)


def structure(tiles: np.ndarray) -> np.ndarray:
    """Mean and peak of eight rings of the grey tile's spectrum: (N, 16)."""
    power = np.abs(np.fft.rfft2(tiles.mean(3))) ** 2
    rings = [power[:, (low < RADIUS) & (low + 4 >= RADIUS)] for low in range(0, SIZE // 2, 4)]
    return np.log1p(np.stack([f(ring, axis=1) for ring in rings for f in (np.mean, np.max)], axis=1))


def accuracy(features: np.ndarray, labels: np.ndarray) -> float:
    """Of a logistic regression trained on the first two thirds, on the rest."""
    cut = len(labels) * 2 // 3
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    return model.fit(features[:cut], labels[:cut]).score(features[cut:], labels[cut:])


def test_shapes_and_types():
    tiles, labels = generate(3)
    assert tiles.shape == (3, 64, 64, 3) and tiles.dtype == np.uint8
    assert labels.shape == (3,) and labels.dtype == np.int64
    assert generate(0)[0].shape == (0, 64, 64, 3)


def test_the_classes_are_eurosats():
    assert len(CLASSES) == 10 and list(CLASSES) == sorted(CLASSES)


def test_the_same_seed_draws_the_same_and_another_seed_something_else():
    first, second, other = generate(20, seed=3)[0], generate(20, seed=3)[0], generate(20, seed=4)[0]
    assert np.array_equal(first, second)
    assert all((a != b).any() for a, b in zip(first, other, strict=True))


def test_a_tile_does_not_depend_on_the_count():
    few, many = generate(12), generate(31)
    assert np.array_equal(few[0], many[0][:12]) and np.array_equal(few[1], many[1][:12])


@pytest.mark.parametrize("count", [30, 37])
def test_the_classes_are_balanced(count):
    tiles_of = np.bincount(generate(count)[1], minlength=10)
    assert tiles_of.max() - tiles_of.min() == (count % 10 > 0)


def test_no_two_tiles_are_equal_and_none_is_flat_or_saturated(drawn):
    tiles, _ = drawn
    assert len({tile.tobytes() for tile in tiles}) == len(tiles)
    assert tiles.std((1, 2)).min() > 0.4
    assert (tiles == 255).mean() < 0.02 and (tiles == 0).mean() < 0.01


def test_colour_alone_does_not_tell_the_class(drawn):
    assert accuracy(colour(drawn[0]), drawn[1]) < 0.6


def test_structure_predicts_better_than_colour(drawn):
    tiles, labels = drawn
    both = accuracy(np.concatenate([colour(tiles), structure(tiles)], axis=1), labels)
    assert both > accuracy(colour(tiles), labels) + 0.1
