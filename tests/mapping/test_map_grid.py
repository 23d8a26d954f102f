"""Cells, the tiles around them, and how much of them must be there."""

import numpy as np
import pytest

from orbitune.mapping.grid import NODATA, NOT_SURE, CellGrid, PixelWindow, encode_cells, select_cells

TILE, STRIDE = 8, 4


def part(valid):
    """Of 4 x 5 cells; every pixel has its own values."""
    cells = CellGrid(16, 20, STRIDE, TILE)
    pixels = np.random.default_rng(0).integers(0, 255, (*valid.shape, 3), np.uint8)
    return PixelWindow(pixels, valid, cells)


def everything():
    return np.ones((4 * STRIDE + 4, 5 * STRIDE + 4), bool)


def test_the_last_cells_may_reach_beyond_the_scene():
    cells = CellGrid(height=17, width=20, stride=4, tile=8)
    assert (cells.rows, cells.columns, cells.margin) == (5, 5, 2)


def test_a_window_is_all_that_the_tiles_of_its_cells_see():
    cells = CellGrid(height=100, width=100, stride=4, tile=8)
    assert cells.window(0, 0, rows=1, columns=1) == (-2, -2, 8, 8)
    assert cells.window(2, 3, rows=2, columns=5) == (6, 10, 12, 24)


def test_a_tile_has_its_cell_in_the_middle():
    whole = part(everything())
    assert whole.tile_coverage.shape == whole.cell_coverage.shape == (4, 5)
    [tile] = whole.tiles(np.array([[1, 2]]))
    assert np.array_equal(tile, whole.pixels[4:12, 8:16])


def test_a_cell_is_asked_for_where_nine_tenths_of_its_tile_and_half_of_itself_are_there():
    valid = np.random.default_rng(0).random(everything().shape) > 0.1
    valid[10:14, 14:18] = np.arange(4) >= 3
    tops, lefts = range(0, 16, 4), range(0, 20, 4)
    tiles = np.array([[valid[y : y + 8, x : x + 8].mean() for x in lefts] for y in tops])
    own = np.array([[valid[y + 2 : y + 6, x + 2 : x + 6].mean() for x in lefts] for y in tops])
    found = select_cells(part(valid))
    assert 0 < len(found) < 20
    assert np.array_equal(found, np.argwhere((tiles >= 0.9) & (own >= 0.5)))


def test_gaps_of_a_tile_have_the_mean_of_the_rest():
    valid = everything()
    valid[4:6, 8:16] = False
    holed = part(valid)
    [tile] = holed.tiles(np.array([[1, 2]]))
    rest = holed.pixels[6:12, 8:16]
    assert np.array_equal(tile[2:], rest)
    assert (tile[:2] == rest.reshape(-1, 3).mean(0).astype(np.uint8)).all()
    assert np.array_equal(holed.filled()[valid], holed.pixels[valid])


@pytest.mark.parametrize(
    ("rows_missing", "code"), [(0, "class"), (2, "not sure"), (4, "not sure"), (5, "nothing")]
)
def test_a_tile_partly_there_is_not_sure_and_one_hardly_there_is_nothing(rows_missing, code):
    valid = everything()
    valid[:rows_missing] = False  # of the 8 rows of the first tiles, whose cells are rows 2 to 5
    holed = part(valid)
    where = select_cells(holed)
    answers = np.tile(np.array([0.1, 0.7, 0.2, 0.0], np.float32), (len(where), 1))
    codes, confidence = encode_cells(holed, where, predicted=answers)
    expected = {"class": (2, 70), "not sure": (NOT_SURE, 0), "nothing": (NODATA, 0)}[code]
    assert {(*pair,) for pair in zip(codes[0].tolist(), confidence[0].tolist(), strict=True)} == {expected}
    assert (codes[2:] == 2).all() and (confidence[2:] == 70).all()


def test_what_is_most_probably_like_no_training_tile_has_no_class():
    answers = np.tile(np.array([0.3, 0.2, 0.5], np.float32), (20, 1))
    answers[0] = (0.6, 0.1, 0.3)
    whole = part(everything())
    codes, confidence = encode_cells(whole, select_cells(whole), predicted=answers)
    assert codes[0, 0] == 1 and confidence[0, 0] == 60
    assert (codes.ravel()[1:] == NOT_SURE).all() and (confidence.ravel()[1:] == 0).all()
