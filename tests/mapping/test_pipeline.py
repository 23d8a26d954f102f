"""What a map says of a scene whose tiles are known."""

import json
import zipfile

import numpy as np
import pytest
from scenes import mosaic, write_scene


def test_at_the_stride_of_a_tile_every_cell_has_its_tiles_own_label(draw, scene, grid, ask):
    drawn = draw(scene)
    codes, percent = ask(grid.reshape(-1, 16, 16, 3))
    assert np.array_equal(drawn.codes, codes.reshape(5, 6))
    assert set(codes) >= {1, 2, 3}
    assert np.allclose(drawn.confidence, percent.reshape(5, 6), atol=3)  # bf16, batches of another size


def test_at_a_smaller_stride_a_cell_has_the_label_of_the_tile_around_it(draw, scene, grid, ask):
    drawn = draw(scene, stride=8)
    assert drawn.codes.shape == (10, 12)
    pixels = mosaic(grid)
    inner = [(row, column) for row in range(1, 9) for column in range(1, 11)]
    around = [pixels[8 * r - 4 : 8 * r + 12, 8 * c - 4 : 8 * c + 12] for r, c in inner]
    codes, _ = ask(around)
    assert np.mean(drawn.codes[1:9, 1:11].ravel() == codes) > 0.97  # the last bits decide what is a tie


def test_json_holds_the_facts_the_areas_and_the_agreement(orbitune, bundle, fields, tmp_path):
    options = ("--out", tmp_path / "m.tif", "--stride", 8, "--mode", "dense", "--json")
    code, out, _ = orbitune("map", bundle.folder, fields, *options)
    report = json.loads(out)
    assert code == 0 and report["metadata"]["agreement"] == report["agreement"]
    assert [row["name"] for row in report["areas"]] == ["class_0", "class_1", "class_2", "not sure"]
    assert sum(row["fraction"] for row in report["areas"]) == pytest.approx(1)
    code, out, _ = orbitune("map", bundle.folder, fields, *options[:-1], "--quiet")
    found = report["agreement"]
    assert f"same label as tile by tile at {found['fraction']:.1%} of {found['cells']} cells" in out


def test_a_map_of_the_command_line_is_that_of_python(draw, scene, bundle, orbitune, tmp_path):
    drawn = draw(scene, grid="scene")
    code, out, error = orbitune("map", bundle.folder, scene, "--out", tmp_path / "cli.tif")
    assert (code, "scaling: " in error) == (0, True)
    assert "class_1" in out and "not sure" in out and f"saved {tmp_path / 'cli.tif'}" in out
    saved = out.partition("saved ")[2].splitlines()[0].split(", ")
    assert sorted(saved) == sorted(str(path) for path in tmp_path.iterdir() if path.name.startswith("cli"))
    assert (tmp_path / "cli.tif").read_bytes() == drawn.path.read_bytes()


def test_what_is_unlike_the_training_tiles_is_not_sure_unless_that_is_switched_off(draw, grid, tmp_path):
    pixels = mosaic(grid)
    pixels[:16, :16] = np.indices((16, 16)).sum(0)[..., None] % 2 * 250
    scene = write_scene(tmp_path / "s.tif", pixels)
    assert draw(scene).codes[0, 0] == 255
    assert draw(scene, not_sure=False).codes[0, 0] in (1, 2, 3)
    assert draw(scene).confidence[0, 0] == 0


def test_a_run_without_a_bundle_maps_and_warns_that_every_cell_gets_a_class(orbitune, run, scene, tmp_path):
    code, _, error = orbitune("map", run, scene, "--out", tmp_path / "m.tif", "--quiet")
    assert code == 0
    assert "warning: this model has no out-of-distribution detector" in error
    assert orbitune("map", run, scene, "--out", tmp_path / "m.tif", "--quiet", "--no-not-sure")[2] == ""


def test_a_scene_whose_sides_are_no_multiple_of_the_stride_is_mapped_to_its_edges(draw, grid, tmp_path):
    scene = write_scene(tmp_path / "s.tif", mosaic(grid)[:75, :90])
    whole = draw(scene, grid="scene")
    assert whole.codes.shape == (75, 90)
    cells = draw(scene)
    assert cells.codes.shape == (5, 6) and (cells.codes > 0).all()
    assert np.array_equal(whole.codes, cells.codes.repeat(16, 0).repeat(16, 1)[:75, :90])


@pytest.mark.parametrize(
    ("dtype", "value", "profile"),
    [
        (np.uint8, 0, {"nodata": 0}),
        (np.uint8, 255, {}),  # saturated
        (np.uint16, 65535, {}),
        (np.float32, np.nan, {}),
        (np.float32, -9999, {"nodata": -9999}),
    ],
)
def test_nodata_has_no_class(draw, grid, tmp_path, dtype, value, profile):
    pixels = mosaic(grid).astype(dtype)
    pixels[:32, :32] = value  # four tiles
    pixels[32:48, :7] = value  # most of a tile is there
    pixels[48:64, :9] = value  # most of a tile is not
    pixels[64:65, :4] = value  # a corner
    drawn = draw(write_scene(tmp_path / "s.tif", pixels, **profile), scale="0:255")
    assert (drawn.codes[:2, :2] == 0).all() and (drawn.confidence[:2, :2] == 0).all()
    assert drawn.codes[2, 0] == 255 and drawn.codes[3, 0] == 0
    assert (drawn.codes[:, 2:] > 0).all() and drawn.codes[4, 0] != 0


def test_a_gap_within_a_cell_that_has_a_class_has_none(draw, grid, tmp_path):
    pixels = mosaic(grid)
    pixels[30:, 40:42] = 255
    gap = (pixels == 255).all(2)
    codes = draw(write_scene(tmp_path / "s.tif", pixels), grid="scene", not_sure=False).codes
    assert (codes[gap] == 0).all() and (codes[~gap] > 0).all()


def test_a_pixel_that_is_nodata_in_one_band_only_is_there(draw, grid, tmp_path):
    pixels = mosaic(grid)
    pixels[:16, :16, 2] = 0
    drawn = draw(write_scene(tmp_path / "s.tif", pixels, nodata=0), not_sure=False)
    assert drawn.codes[0, 0] in (1, 2, 3)


def test_a_scene_of_nodata_gives_a_map_of_nodata_with_a_note(draw, tmp_path):
    drawn = draw(write_scene(tmp_path / "s.tif", np.zeros((40, 40, 3), np.uint8), nodata=0))
    assert (drawn.codes == 0).all()
    assert drawn.report.warnings == ("there is nothing but nodata in this scene",)
    assert all(row.hectares == row.fraction == 0 for row in drawn.report.areas)


def test_bands_are_read_in_the_given_order(draw, scene_codes, grid, tmp_path):
    turned = np.concatenate([np.zeros((80, 96, 1), np.uint8), mosaic(grid)[..., ::-1]], -1)
    drawn = draw(write_scene(tmp_path / "s.tif", turned), bands=(4, 3, 2))
    assert np.array_equal(drawn.codes, scene_codes)


def test_bands_far_from_the_training_tiles_are_warned_of(draw, scene, grid, tmp_path):
    assert draw(scene).report.warnings == ()
    bright = np.clip(mosaic(grid) / 20 + 240, 0, 254).astype(np.uint8)
    warnings = draw(write_scene(tmp_path / "s.tif", bright)).report.warnings
    assert len(warnings) == 4
    assert warnings[-1].startswith("this map is not usable: only 0% of the cells have a class")
    assert warnings[0].startswith("red is 24") and warnings[0].endswith("check --bands and --scale")


def test_a_map_that_is_not_usable_expects_nothing_of_its_few_classes(draw, grid, tmp_path):
    pixels = mosaic(grid)
    pixels[:64] = np.indices((64, 96)).sum(0)[..., None] % 2 * 250
    report = draw(write_scene(tmp_path / "s.tif", pixels)).report
    quality = report.metadata.quality
    assert 0 < quality.classified < 0.5 and quality.expected_accuracy is None
    assert (
        report.remarks()[0]
        == f"{quality.classified:.0%} of the cells have an answer; the others are not sure"
    )
    assert report.warnings[-1].startswith("this map is not usable")


def test_a_dense_map_of_large_fields_agrees_with_the_map_tile_by_tile(draw, fields):
    dense, single = (draw(fields, stride=8, mode=mode, not_sure=False) for mode in ("dense", "tiles"))
    assert dense.codes.shape == (24, 24)
    inner = np.ix_(*2 * [[n for n in range(1, 23) if n not in (11, 12)]])  # away from the borders
    assert np.mean(dense.codes[inner] == single.codes[inner]) > 0.9
    agreement = dense.report.agreement
    assert agreement.cells > 150 and agreement.fraction > 0.8
    assert single.report.agreement is None


@pytest.mark.parametrize("stride", [4, 2])
def test_small_strides_are_dense_by_themselves(draw, fields, stride):
    drawn = draw(fields, stride=stride, not_sure=False)
    assert drawn.codes.shape == (192 // stride, 192 // stride)
    assert drawn.report.metadata.mode == "dense" and drawn.report.agreement.fraction > 0.8
    assert drawn.said[-1] == f"labels: every {stride} pixels, dense (tiles share tokens)"


def test_a_scene_is_mapped_inside_its_archive(draw, scene, tmp_path, monkeypatch, scene_codes):
    with zipfile.ZipFile(tmp_path / "scenes.zip", "w") as archive:
        archive.write(scene, "scene.tif")
    monkeypatch.chdir(tmp_path)
    assert np.array_equal(draw("/vsizip/scenes.zip/scene.tif").codes, scene_codes)
