"""The tiles on which methods disagree most are found, named and drawn."""

import numpy as np
import pytest
from PIL import Image
from studies import run_record

from orbitune.data.tileset import load_tiles
from orbitune.study.disagreements import MAX_TILES, find_disagreements, select_disputed

COUNT = 60


@pytest.fixture(scope="module")
def tiles():
    return load_tiles(f"synthetic:{COUNT}")


def run(folder, tiles, method, wrong, seed=0):
    """A finished run on all tiles, which predicts the next class for these."""
    predicted = tiles.labels.copy()
    predicted[wrong] = (predicted[wrong] + 1) % len(tiles.classes)
    logits = np.eye(len(tiles.classes), dtype=np.float32)[predicted]
    return run_record(folder, method, {"test": logits}, seed=seed, split="random", labels=tiles.labels)


def test_tiles_that_half_of_the_methods_get_right_come_first_and_those_on_which_all_agree_never():
    labels = np.zeros(5, np.int64)
    predicted = np.array([[0, 1, 0, 1, 0], [0, 1, 0, 1, 1], [0, 1, 1, 1, 1], [0, 1, 0, 2, 0]])
    assert select_disputed(predicted, labels).tolist() == [4, 2, 3]


def test_of_many_equally_disputed_tiles_the_same_are_shown_each_time_and_not_of_one_class_alone():
    labels = np.repeat([0, 1, 2], 100)
    predicted = np.stack([labels, (labels + 1) % 3])
    chosen = select_disputed(predicted, labels)
    assert len(set(chosen.tolist())) == MAX_TILES
    assert set(labels[chosen]) == {0, 1, 2}
    assert select_disputed(predicted, labels).tolist() == chosen.tolist()


def test_the_sheet_shows_the_tiles_in_the_order_of_the_list(tiles, tmp_path):
    wrong = [3, 8, 10, 14, 21, 30, 33, 40, 41, 50]
    runs = [
        run(tmp_path, tiles, "full", []),
        run(tmp_path, tiles, "lora", wrong),
        run(tmp_path, tiles, "lora", [0, 1, 2], seed=1),  # the first seed alone is looked at
    ]
    found = find_disagreements(runs, tmp_path, split="random", tiles=tiles)
    assert (found.split, found.columns) == ("random", 8)
    rows = [tiles.names.index(tile.name) for tile in found.tiles]
    assert sorted(rows) == wrong
    for row, tile in zip(rows, found.tiles, strict=True):
        label = tiles.classes[tiles.labels[row]]
        other = tiles.classes[(tiles.labels[row] + 1) % len(tiles.classes)]
        assert tile.model_dump() == {
            **{"name": tiles.names[row], "label": label},
            **{"predicted": {"full": label, "lora": other}},
        }
    sheet, (height, width) = np.array(Image.open(tmp_path / found.image)), found.tile_size
    assert sheet.shape == (2 * height, 8 * width, 3)
    for place, row in enumerate(rows):
        top, left = place // 8 * height, place % 8 * width
        np.testing.assert_array_equal(sheet[top : top + height, left : left + width], tiles.tiles[row])
    assert (sheet[height:, 2 * width :] == 255).all()


def test_methods_that_agree_on_every_tile_have_no_sheet(tiles, tmp_path):
    runs = [run(tmp_path, tiles, method, [1, 2]) for method in ("full", "lora")]
    assert find_disagreements(runs, tmp_path, split="random", tiles=tiles) is None
    assert not (tmp_path / "tiles").exists()
