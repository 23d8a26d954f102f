"""The sieve: small patches take the class around them, and nothing else changes."""

import json

import numpy as np
import pytest
from scenes import read_band

from orbitune.mapping.outputs.sieve import sieve

HECTARE = 0.16 * 0.16 * 100  # of a cell of 16 pixels of 10 m


def sieved(codes, least, hectares=None):
    codes = np.array(codes, np.uint8)
    return sieve(codes, np.ones(codes.shape) if hectares is None else hectares, min_hectares=least)


def patches(codes):
    """Area in cells of each patch of a class, by plain flood fill."""
    left = {tuple(cell) for cell in np.argwhere((codes > 0) & (codes < 255))}
    while left:
        stack, size = [left.pop()], 0
        while stack:
            row, column = stack.pop()
            size += 1
            for near in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
                if near in left and codes[near] == codes[row, column]:
                    left.remove(near)
                    stack.append(near)
        yield size


def test_a_speck_takes_the_class_that_it_borders_longest():
    codes, record = sieved([[1, 1, 1, 2], [1, 3, 2, 2], [1, 1, 1, 2]], 2)
    assert codes.tolist() == [[1, 1, 1, 2], [1, 1, 2, 2], [1, 1, 1, 2]]
    assert (record.patches, record.hectares, record.remaining) == (1, 1, 0)


def test_a_patch_of_the_minimum_stays_and_diagonal_cells_are_no_patch():
    kept = [[1, 1, 1, 1], [1, 2, 2, 1], [1, 1, 1, 1]]
    assert sieved(kept, 2)[0].tolist() == kept
    assert (sieved([[1, 1, 1, 1], [1, 2, 1, 1], [1, 1, 2, 1], [1, 1, 1, 1]], 2)[0] == 1).all()


def test_not_sure_and_nodata_neither_grow_nor_shrink():
    before = np.array([[0, 0, 0, 1], [0, 2, 255, 1], [255, 255, 1, 1]], np.uint8)
    after, record = sieved(before, 4)
    assert np.array_equal(after, before) and record.patches == 0
    assert record.remaining == 1  # the 2, which no class surrounds


def test_what_is_small_everywhere_grows_to_the_minimum():
    """A checkerboard whose patches are single cells; GDAL's sieve keeps it."""
    board = np.indices((9, 9)).sum(0) % 2 + 1
    codes, record = sieved(board, 4)
    assert min(patches(codes)) >= 4 and record.remaining == 0


@pytest.mark.parametrize("least", [2, 5, 12])
def test_no_smaller_patch_remains_on_a_noisy_map(least):
    random = np.random.default_rng(0)
    codes = random.integers(1, 4, (40, 50)).astype(np.uint8)
    codes[random.random((40, 50)) < 0.05] = 255
    after, record = sieved(codes, least)
    small = sum(size < least for size in patches(after))
    assert small == record.remaining <= 3
    assert np.array_equal(after == 255, codes == 255)
    assert record.hectares >= (after != codes).sum()  # some cells change and change back


def test_areas_are_those_on_the_ground():
    codes = np.array([[1, 1, 1], [1, 2, 1], [1, 1, 1]], np.uint8)
    large = np.full((3, 3), 0.6)
    assert sieved(codes, 0.5, large)[0][1, 1] == 2 and sieved(codes, 0.7, large)[0][1, 1] == 1


def test_a_sieved_map_its_confidence_and_its_report_agree(draw, scene):
    options = {"stride": 8, "not_sure": False}
    plain, done = draw(scene, **options), draw(scene, **options, min_area=5 * HECTARE / 4)
    changed = done.codes != plain.codes
    assert changed.any() and (done.confidence[changed] == 0).all()
    assert np.array_equal(done.confidence[~changed], plain.confidence[~changed])
    record = done.report.metadata.sieve
    assert sum(size < 5 for size in patches(done.codes)) == record.remaining
    assert any(f"sieve: {record.patches} patches below" in line for line in done.said)
    assert plain.report.metadata.sieve is None


def test_the_command_line_sieves_and_reports_it(orbitune, bundle, scene, tmp_path):
    options = ("-o", tmp_path / "m.tif", "--stride", 8, "--grid", "cells", "--min-area", 3.2, "--json")
    code, out, _ = orbitune("map", bundle.folder, scene, *options, "--no-not-sure")
    report = json.loads(out)["metadata"]["sieve"]
    assert code == 0 and report["min_hectares"] == 3.2 and report["patches"] > 0
    assert sum(size < 5 for size in patches(read_band(tmp_path / "m.tif"))) == report["remaining"]


@pytest.mark.parametrize("least", ["0", "-1", "nan", "inf"])
def test_an_area_that_makes_no_sense_is_one_line(orbitune, bundle, scene, tmp_path, least):
    code, _, error = orbitune("map", bundle.folder, scene, "-o", tmp_path / "m.tif", "--min-area", least)
    assert code == 2 and f"--min-area takes hectares, such as 0.5, not {least}." in error
