"""Changed near-duplicates across splits are found; merely similar tiles are not."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from orbitune.data.leakage.near_duplicates import find_near_duplicates
from orbitune.data.splits import split_tiles
from orbitune.data.tileset import TileSet, load_tiles


@pytest.fixture(scope="module")
def synthetic():
    return load_tiles("synthetic:300")


def with_copies(tiles: TileSet, change) -> tuple[TileSet, dict[str, np.ndarray]]:
    """Tiles of train, validation and test, which also has ten changed training tiles."""
    copies = np.stack([change(tile) for tile in tiles.read(np.arange(10))])
    splits = {
        "train": np.arange(180),
        "validation": np.arange(180, 240),
        "test": np.arange(240, 310),
    }
    planted = replace(
        tiles,
        tiles=np.concatenate([tiles.read(np.arange(300)), copies]),
        labels=np.concatenate([tiles.labels, tiles.labels[:10]]),
        names=(*tiles.names, *(f"copy_{row}" for row in range(10))),
    )
    return planted, splits


def brightened(tile: np.ndarray, gain: float) -> np.ndarray:
    return np.clip(tile * gain + 0.5, 0, 255).astype(np.uint8)


def jpeg(tile: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(tile).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


TURNS = [(turns, flip) for turns in range(4) for flip in (False, True)]
CHANGES = {
    **{
        f"turned {turns} flipped {flip}": lambda tile, t=turns, f=flip: np.rot90(tile[::-1] if f else tile, t)
        for turns, flip in TURNS
    },
    "1 % brighter": lambda tile: brightened(tile, 1.01),
    "10 % brighter": lambda tile: brightened(tile, 1.1),
    "JPEG 75": lambda tile: jpeg(tile, 75),
    "JPEG 50": lambda tile: jpeg(tile, 50),
    "turned, 5 % darker, JPEG 75": lambda tile: jpeg(brightened(np.rot90(tile), 0.95), 75),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_training_tile_planted_in_the_test_split_is_found(synthetic, change):
    tiles, splits = with_copies(synthetic, change)
    by_splits = {near.splits: near for near in find_near_duplicates(tiles, splits)}
    near = by_splits["train", "test"]
    assert {(one, other) for one, other, _ in near.pairs} == {
        (synthetic.names[row], f"copy_{row}") for row in range(10)
    }
    assert near.count == 10 and near.tiles == 70
    assert by_splits["train", "validation"].count == by_splits["validation", "test"].count == 0


def test_identical_tiles_are_counted_apart_and_have_distance_zero(synthetic):
    tiles, splits = with_copies(synthetic, lambda tile: tile)
    near = find_near_duplicates(tiles, splits)[1]
    assert near.identical == 10 and {distance for *_, distance in near.pairs} == {0.0}
    assert near.describe().startswith(
        "10 of 70 test tiles are near-duplicates of train tiles (10 identical), such as copy_"
    )


def test_clean_synthetic_tiles_raise_no_alarm(synthetic):
    splits, _ = split_tiles(synthetic, None, seed=42)
    found = find_near_duplicates(synthetic, splits)
    assert [near.splits for near in found] == [
        ("train", "validation"),
        ("train", "test"),
        ("validation", "test"),
    ]
    assert all(near.count == 0 and near.pairs == [] for near in found)
    assert found[1].describe() == "no test tile is a near-duplicate of a train tile"


def test_tiles_of_one_colour_are_duplicates_only_if_they_are_identical(synthetic):
    pixels = np.repeat(np.arange(0, 60, 10, dtype=np.uint8), 64 * 64 * 3).reshape(6, 64, 64, 3)
    pixels[5] = pixels[0]
    tiles = replace(synthetic, tiles=pixels, labels=np.zeros(6, np.int64), names=tuple("abcdef"))
    [near] = find_near_duplicates(tiles, {"train": np.arange(3), "test": np.arange(3, 6)})
    assert near.pairs == [("a", "f", 0.0)] and near.identical == 1


def test_the_same_shape_in_other_colours_is_not_a_duplicate(synthetic):
    tiles, splits = with_copies(synthetic, lambda tile: brightened(tile, 1.3))
    assert find_near_duplicates(tiles, splits)[1].count == 0


def test_oblong_tiles_smaller_than_the_grid_are_compared_too(synthetic):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 12, 9, 3), np.uint8)
    pixels[30] = pixels[3, ::-1]
    tiles = replace(synthetic, tiles=pixels, labels=np.zeros(40, np.int64), names=synthetic.names[:40])
    [near] = find_near_duplicates(tiles, {"train": np.arange(20), "test": np.arange(20, 40)})
    assert [pair[:2] for pair in near.pairs] == [(tiles.names[3], tiles.names[30])]


def test_what_is_found_is_ready_for_json(synthetic):
    tiles, splits = with_copies(synthetic, lambda tile: jpeg(tile, 75))
    found = [each.to_json() for each in find_near_duplicates(tiles, splits)]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.shared
@pytest.mark.slow
def test_eurosats_random_split_has_near_duplicates_and_its_published_spatial_split_has_none(shared):
    tiles = load_tiles(str(shared / "eurosat"))
    random, spatial = (
        find_near_duplicates(tiles, split_tiles(tiles, None, seed=0, split=split)[0])
        for split in ("default", "spatial")
    )
    assert [pair[:2] for near in random for pair in near.pairs] == [
        ("River_1680.jpg", "River_111.jpg"),
        ("River_492.jpg", "River_597.jpg"),
    ]
    assert sum(near.count for near in spatial) == 0
