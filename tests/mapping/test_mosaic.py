"""Several scenes in one map: overlaps, gaps, projections, and refusals."""

import json

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from rasterio.warp import Resampling, calculate_default_transform, reproject
from scenes import mosaic, read_band, write_scene

from orbitune.mapping.pipeline import map_scene
from orbitune.mapping.scene.mosaic import Mosaic
from orbitune.mapping.scene.reader import Scene

X, Y = 600_000, 5_500_000


@pytest.fixture
def cut(grid, tmp_path):
    """Writes columns `left` to `right` of the scene, 80 pixels high, where they lie."""

    def cut(name, left, right, pixels=None, **profile):
        chosen = (mosaic(grid) if pixels is None else pixels)[:, left:right]
        place = from_origin(X + 10 * left, Y, 10, 10)
        return write_scene(tmp_path / name, chosen, transform=place, **profile)

    return cut


def test_overlapping_scenes_of_one_grid_are_mapped_as_the_whole(draw, scene, cut):
    """The second one begins in the middle of a tile: tiles are made of both."""
    whole = draw(scene, grid="scene", stride=8)
    parts = draw([cut("west.tif", 0, 56), cut("east.tif", 40, 96)], grid="scene", stride=8)
    assert np.array_equal(parts.codes, whole.codes) and np.array_equal(parts.confidence, whole.confidence)
    with rasterio.open(parts.path) as made, rasterio.open(scene) as source:
        assert (made.transform, made.crs) == (source.transform, source.crs)
    assert [each.hectares for each in parts.report.areas] == [each.hectares for each in whole.report.areas]
    metadata = parts.report.metadata
    assert metadata.scene == "west.tif" and [each.scene for each in metadata.other_scenes] == ["east.tif"]


def test_the_grid_of_the_first_is_extended_to_all_sides(draw, cut):
    drawn = draw([cut("east.tif", 48, 96), cut("west.tif", 0, 50)], grid="scene")
    assert drawn.codes.shape == (80, 96) and (drawn.codes > 0).all()
    with rasterio.open(drawn.path) as made:
        assert made.transform == from_origin(X, Y, 10, 10)


def test_where_scenes_overlap_the_first_with_data_counts(draw, grid, cut, tmp_path):
    colours = np.eye(3)[np.array([[0, 1]])] * 120 + 60  # each class is a colour
    fields = np.random.default_rng(0).normal(colours[:, :, None, None], 25, (1, 2, 80, 48, 3))
    one, other = (np.clip(fields[0, n].repeat(2, 1), 1, 254).astype(np.uint8) for n in (0, 1))
    one[:, :32] = 0  # nodata
    scenes = [cut("one.tif", 0, 64, one, nodata=0), cut("other.tif", 0, 96, other, nodata=0)]
    first, second = draw(scenes, not_sure=False).codes, draw(scenes[::-1], not_sure=False).codes
    alone = draw(scenes[1], not_sure=False).codes
    assert np.array_equal(first[:, :2], alone[:, :2]) and np.array_equal(first[:, 4:], alone[:, 4:])
    assert (first[:, 2:4] != alone[:, 2:4]).all()
    assert np.array_equal(second, alone)


def test_each_pixel_is_of_the_first_scene_with_data(grid, cut):
    gap = mosaic(grid).clip(1)
    gap[:20] = 0
    scenes = [Scene(cut("west.tif", 0, 56, gap, nodata=0)), Scene(cut("east.tif", 40, 80))]
    with Mosaic(scenes, resolution=10) as both:
        owners = both.read_owners(0, 0, height=80, width=80)
    expected = np.zeros((80, 80), int)
    expected[:, 56:] = expected[:20, 40:] = 1
    expected[:20, :40] = -1
    assert np.array_equal(owners, expected)


def test_a_gap_between_scenes_holds_nothing(draw, cut):
    codes = draw([cut("west.tif", 0, 32), cut("east.tif", 64, 96)], grid="scene").codes
    assert (codes[:, 32:64] == 0).all() and (codes[:, :32] > 0).all() and (codes[:, 64:] > 0).all()


def warped(path, source, crs):
    """Write a scene in another CRS, nearest neighbour."""
    with rasterio.open(source) as file:
        place, width, height = calculate_default_transform(
            file.crs, crs, file.width, file.height, *file.bounds
        )
        pixels = np.zeros((3, height, width), np.uint8)
        reproject(
            file.read(), pixels, src_transform=file.transform, src_crs=file.crs, dst_transform=place,
            dst_crs=crs, resampling=Resampling.nearest,
        )  # fmt: skip
    return write_scene(path, pixels.transpose(1, 2, 0), crs=crs, transform=place, nodata=0)


def test_a_scene_of_another_utm_zone_comes_onto_the_grid_of_the_first(draw, cut, tmp_path):
    colours = np.eye(3)[np.arange(96) * 3 // 96] * 120 + 60  # a field of each class, side by side
    pixels = np.random.default_rng(0).normal(colours, 25, (80, 96, 3)).clip(1, 254).astype(np.uint8)
    whole = draw(cut("whole.tif", 0, 96, pixels), grid="scene", not_sure=False)
    east = warped(tmp_path / "east33.tif", cut("east.tif", 40, 96, pixels), "EPSG:32633")
    parts = draw([cut("west.tif", 0, 48, pixels), east], grid="scene", not_sure=False)
    with rasterio.open(parts.path) as made:
        assert made.crs == "EPSG:32632" and made.res == (10, 10)
        assert (made.bounds.left, made.bounds.top) == pytest.approx((X, Y), abs=50)
        row, column = made.index(X + 5, Y - 5)
    both = parts.codes[row : row + 80, column : column + 96]
    assert (both > 0).mean() > 0.9  # a cell needs data in half of its pixels
    assert (both == whole.codes).mean() > 0.75  # cells begin at the corner of the mosaic
    assert [both[40, column] for column in (8, 48, 90)] == [whole.codes[40, column] for column in (8, 48, 90)]


def test_each_scene_has_a_scaling_of_its_own(draw, scene, grid, cut):
    numbers = (mosaic(grid) * (2750 / 255)).round().astype(np.uint16)
    whole = draw(scene)
    parts = draw([cut("west.tif", 0, 48), cut("east.tif", 48, 96, numbers)])
    assert (parts.codes == whole.codes).mean() > 0.9
    first, second = parts.report.metadata.scaling, parts.report.metadata.other_scenes[0].scaling
    assert first.high == (255,) * 3 and second.high != first.high
    assert any(line.startswith("east.tif: scaling: ") for line in parts.said)


def test_an_interrupted_mosaic_continues_to_the_same_bytes(bundle, cut, tmp_path, interrupt):
    scenes = [cut("west.tif", 0, 56), cut("east.tif", 40, 96)]
    map_scene(bundle.folder, scenes, outputs=tmp_path / "whole.tif", progress=False)
    interrupt(scenes, tmp_path / "m.tif", parts=1)
    said = []
    map_scene(bundle.folder, scenes, outputs=tmp_path / "m.tif", progress=False, log=said.append)
    assert any(line.startswith("going on after 1 of") for line in said)
    assert (tmp_path / "m.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()


def test_the_command_line_takes_several_scenes(orbitune, bundle, cut, tmp_path):
    scenes = [cut("west.tif", 0, 56), cut("east.tif", 40, 96)]
    code, out, error = orbitune("map", bundle.folder, *scenes, "-o", tmp_path / "m.tif", "--json")
    assert code == 0, error
    report = json.loads(out)
    assert [each["scene"] for each in report["metadata"]["other_scenes"]] == ["east.tif"]
    assert read_band(tmp_path / "m.tif").shape == (80, 96)


def test_scenes_that_cannot_be_one_map_are_one_line(orbitune, bundle, grid, cut, tmp_path):
    def refusal(*scenes):
        code, out, error = orbitune("map", bundle.folder, *scenes, "-o", tmp_path / "m.tif", "--quiet")
        assert (code, out) == (2, "") and len(error.splitlines()) == 1 and not (tmp_path / "m.tif").exists()
        return error

    west, four = cut("west.tif", 0, 48), np.concatenate([mosaic(grid), mosaic(grid)[..., :1]], -1)
    message = refusal(west, cut("four.tif", 48, 96, four))
    assert (
        "west.tif has 3 bands and" in message and "four.tif has 4: scenes of one map need the same" in message
    )
    far = write_scene(tmp_path / "far.tif", mosaic(grid), transform=from_origin(X, Y + 4e6, 10, 10))
    assert "lie too far apart for one map" in refusal(west, far)
    assert "Cannot open" in refusal(west, tmp_path / "none.tif")
