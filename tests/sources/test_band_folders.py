"""Tiles with one file per band, as in BigEarthNet."""

import json

import numpy as np
import pytest
from band_tiles import write_bands
from image_files import jp2, write

from orbitune.data.tileset import load_tiles
from orbitune.errors import DataError

rasterio = pytest.importorskip("rasterio")
from rasterio.transform import from_origin  # noqa: E402


def write_patch(folder, name, value=1000, labels=None, **changes):
    """Write a patch with B04 at 10 m, B8A at 20 m and B01 at 60 m."""
    for band, metres in (("B04", 10), ("B8A", 20), ("B01", 60)):
        side = 240 // metres
        pixels = np.full((1, side, side), value + metres, np.uint16)
        place = {"transform": from_origin(600_000, 5_500_000, metres, metres), **changes.get(band, {})}
        write_bands(folder / name / f"{name}_{band}.tif", pixels, **place)
    if labels is not None:
        (folder / name / f"{name}_labels_metadata.json").write_text(json.dumps({"labels": labels}))


@pytest.fixture
def folder(tmp_path):
    for number, labels in enumerate((["Forest"], ["Sea", "Beach"], ["Forest", "Sea"])):
        write_patch(tmp_path / "patches", f"patch_{number}", 1000 * (number + 1), labels)
    return tmp_path / "patches"


def test_bands_are_resampled_to_the_finest(folder):
    tiles = load_tiles(str(folder), progress=False)
    assert tiles.bands == ("B01", "B04", "B8A") and tiles.tiles.shape == (3, 24, 24, 3)
    assert tiles.tiles[1, 0, 0].tolist() == [2060, 2010, 2020]
    assert tiles.names == ("patch_0", "patch_1", "patch_2")


def test_bands_may_be_files_of_jpeg_2000(tmp_path):
    for number, name in enumerate(("Forest", "Sea")):
        for band in ("B04", "B08"):
            write(tmp_path / name / "patch" / f"{band}.jp2", jp2(np.full((1, 16, 16), number, np.uint16)))
    tiles = load_tiles(str(tmp_path), progress=False)
    assert tiles.bands == ("B04", "B08") and tiles.tiles.shape == (2, 16, 16, 2)


@pytest.mark.parametrize("other", ["patch_TCI.jp2", "patch_B02.jp2", "patch.j2k"])
def test_a_file_of_jpeg_2000_beside_the_bands_is_no_band(folder, other):
    before = load_tiles(str(folder), progress=False)
    for patch in list(folder.iterdir()):
        write(patch / other, jp2(np.zeros((3, 16, 16), np.uint8)))
    after = load_tiles(str(folder), progress=False)
    assert after.bands == before.bands and np.array_equal(after.tiles, before.tiles)


def test_all_labels_of_the_json_files_count(folder):
    write_patch(folder, "patch_3", 4000, [])
    tiles = load_tiles(str(folder), progress=False)
    assert tiles.classes == ("Beach", "Forest", "Sea") and tiles.multi_label
    assert tiles.labels.tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 1], [0, 0, 0]]
    assert "several labels a tile: 1.2 on average, at most 2; 1 tile has none" in tiles.notes


def test_patches_with_one_label_each_stay_a_task_of_one_label(tmp_path):
    for number, label in enumerate(("Forest", "Sea", "Forest")):
        write_patch(tmp_path, f"patch_{number}", 1000 * (number + 1), [label])
    tiles = load_tiles(str(tmp_path), progress=False)
    assert not tiles.multi_label and tiles.labels.tolist() == [0, 1, 0]


def test_a_patch_without_a_json_file_is_a_bad_tile_and_not_one_without_labels(folder):
    (folder / "patch_1" / "patch_1_labels_metadata.json").unlink()
    with pytest.raises(DataError, match="patch_1 has no label or labels in a JSON file"):
        load_tiles(str(folder), progress=False)


def test_labels_come_from_a_table_beside_the_tiles(folder):
    rows = ["file_name,cover", "patch_0,wood", "patch_1,water", "patch_2,wood"]
    (folder / "metadata.csv").write_text("\n".join(rows))
    from orbitune.sources.manifest import ColumnSelection

    tiles = load_tiles(str(folder), progress=False, selection=ColumnSelection(label_column="cover"))
    assert tiles.classes == ("water", "wood") and tiles.labels.tolist() == [1, 0, 1]


def test_labels_come_from_a_list_of_folders(folder):
    (folder / "list.csv").write_text("path,label\npatch_0,wood\npatch_2,water\n")
    tiles = load_tiles(str(folder / "list.csv"), progress=False)
    assert tiles.classes == ("water", "wood") and tiles.tiles[1, 0, 0].tolist() == [3060, 3010, 3020]


def test_labels_come_from_class_folders(tmp_path):
    write_patch(tmp_path / "d" / "wood", "a", 1000)
    write_patch(tmp_path / "d" / "water", "b", 2000)
    tiles = load_tiles(str(tmp_path / "d"), progress=False)
    assert tiles.classes == ("water", "wood") and tiles.names == ("water/b", "wood/a")


def test_another_entry_of_the_json_file_is_chosen(folder):
    from orbitune.sources.manifest import ColumnSelection

    with pytest.raises(DataError, match="None of the 3 tiles has a label"):
        load_tiles(str(folder), progress=False, selection=ColumnSelection(label_column="cover"))


def test_bands_of_another_area_are_named(folder):
    moved = {"transform": from_origin(700_000, 5_500_000, 20, 20)}
    write_patch(folder, "patch_1", 1000, ["Sea"], B8A=moved)
    with pytest.raises(DataError, match="patch_1 has the bands B8A and B04 of different areas or CRS"):
        load_tiles(str(folder), progress=False)


def test_a_tile_that_lacks_a_band_is_named(folder):
    (folder / "patch_2" / "patch_2_B8A.tif").unlink()
    with pytest.raises(DataError, match="patch_2 has 2 bands, and other tiles 3"):
        load_tiles(str(folder), progress=False)


def test_a_changed_band_is_read_again(folder):
    before = load_tiles(str(folder), progress=False)
    write_patch(folder, "patch_1", 5000, ["Sea"])
    after = load_tiles(str(folder), progress=False)
    assert before.fingerprint != after.fingerprint and after.tiles[1, 0, 0, 0] == 5060


def test_patches_of_bigearthnet(shared):
    tiles = load_tiles(str(shared / "scenes" / "bigearthnet_tiny"), progress=False)
    assert tiles.tiles.shape == (11, 120, 120, 6) and tiles.tiles.dtype == np.uint16
    assert tiles.bands == ("B02", "B03", "B04", "B08", "B11", "B12")
    assert tiles.labels.shape == (11, 9) and tiles.labels.sum() == 29
    assert np.array(tiles.classes)[tiles.labels[0] > 0].tolist() == ["Non-irrigated arable land", "Pastures"]
    name = tiles.names[0]
    place = shared / "scenes" / "bigearthnet_tiny" / name
    with rasterio.open(place / f"{name}_B08.tif") as file:
        np.testing.assert_array_equal(tiles.tiles[0, ..., 3], file.read(1))
    with rasterio.open(place / f"{name}_B11.tif") as file:
        coarse = tiles.tiles[0, ..., 4].reshape(60, 2, 60, 2).mean((1, 3))
        assert abs(coarse - file.read(1)).mean() < 60  # of values about 2,000
