"""Baselines on colours and coordinates are scored like a method."""

import json
from dataclasses import replace

import numpy as np
import pytest

from orbitune.data.splits import split_tiles
from orbitune.data.tileset import TileSet, load_tiles
from orbitune.evaluation.baselines import colour_baseline, colour_statistics, coordinates_baseline


@pytest.fixture(scope="module")
def synthetic() -> TileSet:
    return load_tiles("synthetic:300")


def relabelled(tiles: TileSet, labels: np.ndarray) -> TileSet:
    return replace(
        tiles, labels=labels.astype(np.int64), classes=tuple(f"c{i}" for i in range(labels.max() + 1))
    )


def places(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    return np.column_stack([longitude, latitude, np.full(len(longitude), 640.0)])


def test_colour_statistics_are_numpys_of_each_channel(synthetic):
    statistics = colour_statistics(synthetic).reshape(300, 3, 7)
    pixels = synthetic.read(np.arange(300)).reshape(300, -1, 3)
    np.testing.assert_allclose(statistics[..., 0], pixels.mean(1))
    np.testing.assert_allclose(statistics[..., 1], pixels.std(1))
    levels = np.quantile(pixels, [0.05, 0.25, 0.5, 0.75, 0.95], axis=1, method="inverted_cdf")
    np.testing.assert_array_equal(statistics[..., 2:], np.moveaxis(levels, 0, 2))


def test_the_colour_baseline_separates_classes_that_differ_in_colour(synthetic):
    tiles = relabelled(synthetic, np.argsort(np.argsort(colour_statistics(synthetic)[:, 0])) // 100)
    result = colour_baseline(tiles, split_tiles(tiles, None, seed=0, split="random")[0])
    assert result.test.accuracy > 0.8 and result.test.count == 60
    assert result.chance == pytest.approx(1 / 3)


def test_random_labels_are_not_predicted_by_the_colour_baseline(synthetic):
    tiles = relabelled(synthetic, np.random.default_rng(0).integers(0, 2, 300))
    result = colour_baseline(tiles, split_tiles(tiles, None, seed=0, split="random")[0])
    low, high = result.test.interval
    assert low < 0.5 < high


def test_the_sentences_state_the_accuracy_and_the_chance(synthetic):
    tiles = relabelled(synthetic, np.arange(300) % 3)
    splits, _ = split_tiles(tiles, None, seed=0, split="random")
    result = colour_baseline(tiles, splits)
    reached = f"{100 * result.test.accuracy:.1f} %"
    assert result.sentence == (
        f"colour statistics alone reach {reached} (chance 33.3 %); "
        "only the accuracy above that is due to a method"
    )
    assert json.loads(json.dumps(result.to_json(), allow_nan=False)) == result.to_json()


def test_one_training_tile_of_each_class_is_enough_to_fit_on(synthetic):
    splits, _ = split_tiles(synthetic, None, seed=0)
    few = {**splits, "train": np.array([np.flatnonzero(synthetic.labels == label)[0] for label in range(10)])}
    assert 0 <= colour_baseline(synthetic, few).test.accuracy <= 1
    locations = places(np.arange(300.0) / 100, np.zeros(300))
    assert coordinates_baseline(synthetic, few, locations=locations).test.count == 60


def test_a_random_split_of_clustered_classes_leaks_location(synthetic):
    random = np.random.default_rng(0)
    cluster = np.arange(300) // 10
    tiles = relabelled(synthetic, random.integers(0, 3, 30)[cluster])
    locations = places(*(random.uniform(0, 5, (2, 30))[:, cluster] + random.normal(0, 0.01, (2, 300))))
    result = coordinates_baseline(
        tiles, split_tiles(tiles, None, seed=0, split="random")[0], locations=locations
    )
    assert result.test.accuracy > 0.9
    assert result.sentence.endswith("the split leaks location")


def test_coordinates_that_say_nothing_leak_nothing(synthetic):
    random = np.random.default_rng(0)
    tiles = relabelled(synthetic, random.integers(0, 3, 300))
    locations = places(*random.uniform(0, 5, (2, 300)))
    result = coordinates_baseline(
        tiles, split_tiles(tiles, None, seed=0, split="random")[0], locations=locations
    )
    assert result.sentence.endswith("no more than chance, the split leaks no location")


def test_neighbours_across_the_date_line_are_neighbours(synthetic):
    tiles = relabelled(synthetic, np.arange(300) % 3)
    spread = np.array([179.99, 90.0, 0.0])[np.arange(300) % 3]
    east = np.arange(300) < 150
    longitude = np.where((np.arange(300) % 3 == 0) & east, -179.99, spread)
    splits = {"train": np.flatnonzero(~east), "validation": np.arange(3), "test": np.flatnonzero(east)}
    result = coordinates_baseline(tiles, splits, locations=places(longitude, np.zeros(300)))
    assert result.test.accuracy == 1.0
