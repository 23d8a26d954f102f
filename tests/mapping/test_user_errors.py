"""Mistakes of users and defects of scenes: one line, exit code 2, no file."""

import json
import os
import re
import shutil

import numpy as np
import pyogrio.raw
import pytest
import rasterio
import shapely
from scenes import mosaic, read_band, write_scene

from orbitune.errors import DataError
from orbitune.inference.bundle import Bundle
from orbitune.mapping.options import MapOptions
from orbitune.mapping.pipeline import map_scene
from orbitune.mapping.scene_inputs import enough


@pytest.fixture
def refused(orbitune, bundle, tmp_path):
    """Runs a map that must fail; its error."""

    def refused(scene, *options, source=None, out="map.tif"):
        before = set(tmp_path.iterdir())
        options = ("--out", tmp_path / out, "--quiet", *options)
        code, printed, error = orbitune("map", source or bundle.folder, scene, *options)
        assert (code, printed) == (2, ""), error
        [line] = error.splitlines()
        assert line.startswith("error: ")
        left = {path for path in set(tmp_path.iterdir()) - before if not path.name.endswith(".parts")}
        assert left == set()
        return line

    return refused


def test_a_jpeg_2000_in_ycc_is_no_scene_in_rgb(refused, tmp_path):
    pixels = np.full((32, 32, 3), 90, np.uint8)
    scene = write_scene(tmp_path / "scene.jp2", pixels, driver="JP2OpenJPEG")
    grey, ycc = (b"colr" + bytes([1, 0, 0, 0, 0, 0, space]) for space in (17, 18))
    scene.write_bytes(scene.read_bytes().replace(grey, ycc))
    assert refused(scene).endswith("has colours in sYCC: save it as RGB, or choose --bands by number.")


def test_a_geotiff_in_cmyk_of_16_bits_is_no_scene_in_rgb(refused, tmp_path):
    scene = write_scene(tmp_path / "scene.tif", np.full((32, 32, 4), 90, np.uint16), photometric="cmyk")
    assert refused(scene).endswith("has colours in CMYK: save it as RGB, or choose --bands by number.")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--bands", "1,2,7"], "has no band 7: it has red, green, blue."),
        (["--bands", "0,1,2"], "has no band 0"),
        (["--bands", "red,all"], "--bands all takes every band: give it alone."),
        (["--bands", "1,2"], "--bands names 2 bands, and the model reads 3: red, green, blue."),
        (
            ["--bands", "red,,blue"],
            "--bands takes names or numbers of bands, such as B04,B03,B02 or 3,2,1, not",
        ),
        (["--bands", "red,green,nir"], "has no band nir: it has red, green, blue."),
        (["--stride", "5"], "--stride must be one of 16, 8, 4, 2 pixels for tiles of 16 pixels, not 5."),
        (["--stride", "1"], "--stride must be one of 16, 8, 4, 2 pixels"),
        (["--stride", "0"], "--stride must be one of 16, 8, 4, 2 pixels"),
        (["--stride", "32"], "--stride must be one of 16, 8, 4, 2 pixels"),
        (["--scale", "9:1"], "--scale takes LOW:HIGH in the units of the file, such as 0:2750"),
        (["--resolution", "0"], "--resolution takes metres per pixel, such as 10, not 0."),
        (["--resolution", "-10"], "--resolution takes metres per pixel, such as 10, not -10."),
        (["--resolution", "nan"], "--resolution takes metres per pixel"),
        (["--mode", "quick"], "Unknown --mode 'quick'. Choose from: auto, tiles, dense."),
        (["--field", "kind"], "--field kind is of reference points: give their file with --reference."),
        (["--grid", "rows"], "Unknown --grid 'rows'. Choose from: scene, cells."),
        (["--executor", "dask"], "Unknown --executor 'dask'. Choose from: local, ray."),
        (["--memory-budget", "800MB"], "This scene needs a --memory-budget of 1.0GB at least."),
        (["--memory-budget", "much"], "--memory-budget takes bytes such as 1.5GB, not 'much'."),
    ],
)
def test_an_invalid_option_is_one_line_with_the_valid_values(refused, scene, options, message):
    assert message in refused(scene, *options)


def test_the_memory_budget_that_a_refusal_names_is_enough(refused, bundle, scene, tmp_path):
    named = re.search(r"budget of (\S+) at least", refused(scene, "--memory-budget", "800MB"))[1]
    map_scene(bundle.folder, scene, outputs=tmp_path / "map.tif", memory_budget=named, progress=False)
    assert [enough(size) for size in (900_000_000, 900_000_001)] == ["0.9GB", "1.0GB"]


def test_a_string_is_not_a_boolean_in_python():
    with pytest.raises(DataError, match="not_sure is True or False, not 'off'"):
        MapOptions(not_sure="off")


def test_bands_are_numbers_in_python():
    with pytest.raises(DataError, match="bands are names or numbers"):
        MapOptions(bands="3,2,1")


def test_an_invalid_scene_is_one_line(refused, tmp_path, grid):
    assert "Cannot open" in refused(tmp_path / "none.tif")
    (tmp_path / "text.tif").write_text("no raster")
    assert "text.tif' not recognized" in refused(tmp_path / "text.tif")


def test_a_scene_without_georeference_is_one_line_with_the_fix(refused, grid, tmp_path):
    lost = write_scene(tmp_path / "lost.tif", mosaic(grid), crs=None)
    assert "has no georeference: set its CRS and transform first" in refused(lost)


def test_a_scene_smaller_than_a_tile_is_one_line(refused, grid, tmp_path):
    small = write_scene(tmp_path / "small.tif", mosaic(grid)[:15, :40])
    assert "The scene is 40x15 pixels of 10 m, smaller than one tile of 16." in refused(small)
    large = write_scene(tmp_path / "large.tif", mosaic(grid)[:60, :80])
    assert "The scene is 20x15 pixels of 40 m" in refused(large, "--resolution", "40")


@pytest.mark.parametrize("dtype", ["complex64", "complex_int16"])
def test_complex_numbers_are_one_line(refused, grid, tmp_path, dtype):
    strange = write_scene(tmp_path / "radar.tif", mosaic(grid).astype(np.complex64), dtype=dtype)
    assert "are complex numbers: write their amplitudes first." in refused(strange)


def test_a_map_never_replaces_its_scene_or_another_of_its_files(refused, grid, tmp_path):
    scene = write_scene(tmp_path / "scene.tif", mosaic(grid))
    before = scene.read_bytes()
    for options in (["--out", scene], ["--polygons", tmp_path / "map.tif"], ["--preview", scene]):
        assert "must have different names" in refused(scene, *options)
    assert scene.read_bytes() == before


def test_a_map_replaces_no_file_of_its_analysis_and_derived_files_no_output(refused, bundle, grid, tmp_path):
    scene = write_scene(tmp_path / "scene.tif", mosaic(grid))
    earlier, zones = tmp_path / "map.tif", write_zone(tmp_path / "zones.gpkg")
    map_scene(bundle.folder, scene, outputs=earlier, progress=False)
    before = earlier.read_bytes(), zones.read_bytes()
    for options in (
        ["--compare", earlier],
        ["--zones", zones, "--polygons", zones],
        ["--compare", earlier, "--out", tmp_path / "k.tif", "--confidence", tmp_path / "k-change.tif"],
    ):
        assert "must have different names" in refused(scene, *options)
    assert (earlier.read_bytes(), zones.read_bytes()) == before


def test_zones_with_a_field_named_as_a_class_are_refused_before_the_map_is_made(refused, grid, tmp_path):
    scene = write_scene(tmp_path / "scene.tif", mosaic(grid))
    zones = write_zone(tmp_path / "zones.gpkg", field="class_1")
    assert "zones.gpkg already has a field class_1: rename or remove it." in refused(scene, "--zones", zones)


def test_a_folder_that_cannot_be_written_to_is_reported_before_the_work(
    refused, scene, tmp_path, monkeypatch
):
    (tmp_path / "text").touch()
    assert f"text/map.tif: {tmp_path / 'text'} is a file, not a folder." in refused(scene, out="text/map.tif")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    said = refused(scene, out="new/map.tif")
    assert said.endswith(f"new/map.tif: the folder {tmp_path} is not writable.")


def test_a_folder_that_takes_no_files_in_spite_of_its_mode_is_reported_with_the_map(refused, scene):
    assert "Cannot write /proc/map.tif: " in refused(scene, out="/proc/map.tif")


def test_a_name_that_leaves_no_room_for_those_of_files_beside_it_is_one_line(
    refused, bundle, scene, tmp_path
):
    longest = f"{'é' * 121}n.tif"  # 247 bytes
    map_scene(bundle.folder, scene, outputs=tmp_path / longest, progress=False)
    for name, size in ((f"{longest[:-4]}n.tif", 248), (f"{'n' * 300}.tif", 304)):
        said = refused(scene, out=name)
        assert said.endswith(f"{name}: its name has {size} bytes; choose one of at most 247.")
    said = refused(scene, "--compare", tmp_path / longest, out=f"{'n' * 240}.tif")
    assert said.endswith("n-change.tif: its name has 251 bytes; choose one of at most 247.")


@pytest.mark.parametrize(
    ("option", "ending", "other"),
    [("out", ".tif", ".png"), ("preview", ".png", ".jpg"), ("polygons", ".gpkg", ".shp")],
)
def test_a_file_name_of_another_format_is_one_line(refused, grid, tmp_path, option, ending, other):
    scene = write_scene(tmp_path / "scene.tif", mosaic(grid))
    said = refused(scene, f"--{option}", tmp_path / f"name{other}")
    assert f"name{other}: the file of the " in said and f" ends in {ending}; give it such a name." in said


def write_zone(path, field="id"):
    """Write a box of 40 x 40 pixels of a scene, with a field."""
    zone = shapely.box(600_000, 5_499_600, 600_400, 5_500_000)
    values = [np.array([7])]
    pyogrio.raw.write(
        path, shapely.to_wkb([zone]), values, [field], geometry_type="Polygon", crs="EPSG:32632"
    )
    return path


def test_a_scene_without_data_is_not_mapped_densely(refused, tmp_path):
    scene = write_scene(tmp_path / "scene.tif", np.zeros((64, 64, 3), np.uint8), nodata=0)
    assert "The scene holds no data to map" in refused(scene, "--mode", "dense")


def damage(file):
    """Overwrite some bytes of the middle."""
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = b"\xff" * 2000
    file.write_bytes(content)


def test_a_damaged_block_is_one_line(refused, grid, tmp_path):
    scene = write_scene(tmp_path / "scene.tif", mosaic(grid), compress="deflate")
    damage(scene)
    assert f"{scene} is damaged" in refused(scene)


def test_a_damaged_block_below_sound_overviews_is_reported_with_its_place(refused, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (2400, 64, 3)).astype(np.uint8)
    scene = write_scene(tmp_path / "scene.tif", pixels, compress="deflate", blockysize=16)
    with rasterio.open(scene, "r+") as file:
        file.build_overviews([2], rasterio.enums.Resampling.average)
    content = scene.read_bytes()
    middle = len(content) * 2 // 5
    scene.write_bytes(content[:middle] + b"\xff" * 2000 + content[middle + 2000 :])
    assert "is damaged near row " in refused(scene)


def test_a_scene_mended_after_a_failure_is_mapped(refused, bundle, grid, tmp_path):
    scene = write_scene(tmp_path / "scene.tif", mosaic(grid), compress="deflate")
    whole = scene.read_bytes()
    damage(scene)
    refused(scene)
    scene.write_bytes(whole)
    map_scene(bundle.folder, scene, outputs=tmp_path / "map.tif", progress=False)
    assert (read_band(tmp_path / "map.tif") > 0).all()
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"scene.tif", "map.tif", "map.tif.aux.xml", "map.qml"}


def test_a_model_that_is_none_is_one_line(refused, scene, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty" in refused(scene, source=tmp_path / "empty")


def test_a_folder_in_the_place_of_a_file_is_reported_before_the_work(refused, scene, tmp_path):
    (tmp_path / "maps").mkdir()
    assert "maps is a folder: name a file." in refused(scene, out="maps")


def test_a_device_or_a_pipe_is_not_replaced_by_a_map(refused, scene, tmp_path):
    os.mkfifo(tmp_path / "pipe.tif")
    assert "pipe.tif is not a regular file: name a file." in refused(scene, out="pipe.tif")
    assert (tmp_path / "pipe.tif").is_fifo()


@pytest.mark.parametrize("stride", [4, 2])
def test_a_tile_may_have_more_cells_along_a_side_than_a_window_has_tokens(bundle, tmp_path, stride):
    """A tile of 64 pixels has 16 cells of 4 along a side, and a window 14."""
    large = shutil.copytree(bundle.folder, tmp_path / "bundle")
    facts = json.loads((large / "orbitune.json").read_text())
    facts["data"]["tile_size"] = [64, 64]
    (large / "orbitune.json").write_text(json.dumps(facts))
    assert Bundle.open(large).tile_size == (64, 64)
    pixels = np.random.default_rng(0).integers(0, 250, (130, 140, 3)).astype(np.uint8)
    scene = write_scene(tmp_path / "scene.tif", pixels)
    settings = {"stride": stride, "not_sure": False, "grid": "cells"}
    report = map_scene(large, scene, outputs=tmp_path / "map.tif", progress=False, **settings)
    codes = read_band(tmp_path / "map.tif")
    assert codes.shape == (-(-130 // stride), -(-140 // stride)) and set(np.unique(codes)) <= {1, 2, 3}
    assert report.metadata.mode == "dense" and report.agreement.cells > 100
