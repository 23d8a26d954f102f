"""A split's checks: near-duplicates, and baselines of colour and coordinates."""

import json

import numpy as np
import pytest
from PIL import Image
from samples import backbone_folder, tile_folder

from orbitune import Recipe
from orbitune.study.findings import LeakageChecks
from orbitune.study.leakage_checks import check_leakage
from orbitune.training.setup import prepare_training


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return str(backbone_folder(tmp_path_factory.mktemp("inputs") / "backbone"))


def job_on(folder, backbone, **settings):
    return prepare_training(Recipe(data=str(folder), backbone=backbone, **settings), progress=False)


def georeference(folder, *names):
    """Make these tiles GeoTIFFs; the classes lie a degree apart."""
    rasterio = pytest.importorskip("rasterio", reason="needs the extra geo")
    for name in names:
        png = folder / name
        pixels, label = np.array(Image.open(png)), int(png.parent.name[-1])
        place = rasterio.transform.from_origin(10 + label, 50, 1e-4, 1e-4)
        shape = {"width": 16, "height": 16, "count": 3, "dtype": "uint8"}
        with rasterio.open(
            png.with_suffix(".tif"), "w", "GTiff", crs="EPSG:4326", transform=place, **shape
        ) as file:
            file.write(pixels.transpose(2, 0, 1))
        png.unlink()


def names_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))


def test_copies_across_splits_are_counted_and_three_are_named(backbone, tmp_path):
    tiles = tile_folder(tmp_path / "tiles")
    for row in range(20):
        source = tiles / "class_0" / f"tile_0_{row}.png"
        (tiles / "class_0" / f"copy_{row}.png").write_bytes(source.read_bytes())
    found = check_leakage(job_on(tiles, backbone), "default", folder=tmp_path)
    leak = found.leaks[1]
    assert (found.split, leak.splits) == ("default", ["train", "test"])
    assert leak.count == leak.identical > 3 == len(leak.pairs)
    assert f"{leak.count} of {leak.tiles} test tiles are near-duplicates" in leak.sentence


def test_classes_that_differ_in_colour_are_found_by_the_colour_baseline(backbone, tmp_path):
    found = check_leakage(job_on(tile_folder(tmp_path / "tiles"), backbone), "default", folder=tmp_path)
    [colours] = found.baselines
    assert colours.name == "colour statistics"
    assert colours.test.accuracy > 0.9 > 0.4 > colours.chance
    assert found.no_coordinates is None


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform", "ignore:Use `@` matmul")
def test_coordinates_are_a_baseline_where_all_tiles_have_some_else_the_reason_is_given(backbone, tmp_path):
    tiles = tile_folder(tmp_path / "tiles", each=6)
    georeference(tiles, *names_in(tiles)[1:])
    found = check_leakage(job_on(tiles, backbone), "default", folder=tmp_path / "study")
    assert [baseline.name for baseline in found.baselines] == ["colour statistics"]
    assert "1 of 18 tiles has no coordinates" in found.no_coordinates
    georeference(tiles, *names_in(tiles))
    found = check_leakage(job_on(tiles, backbone), "default", folder=tmp_path / "study")
    assert [baseline.name for baseline in found.baselines] == ["colour statistics", "coordinates"]
    assert "the split leaks location" in found.baselines[1].sentence


def test_checks_are_kept_for_the_same_tiles_and_split_alone(backbone, tmp_path):
    job = job_on(tile_folder(tmp_path / "tiles"), backbone)
    first = check_leakage(job, "default", folder=tmp_path)
    file = tmp_path / "leakage_checks.json"
    written = file.stat().st_mtime_ns
    assert check_leakage(job, "default", folder=tmp_path) == first
    assert file.stat().st_mtime_ns == written
    other = job_on(tmp_path / "tiles", backbone, split="random", split_seed=7)
    check_leakage(other, "random", folder=tmp_path)
    assert len(LeakageChecks.read(file).checks) == 2


def test_checks_that_version_0_1_stored_are_taken_over_and_its_file_is_removed(backbone, tmp_path):
    job = job_on(tile_folder(tmp_path / "tiles"), backbone)
    check_leakage(job, "default", folder=tmp_path)
    file, older = tmp_path / "leakage_checks.json", tmp_path / "alarms.json"
    text = json.dumps(json.loads(file.read_text())["checks"])
    older.write_text(text.replace("colour statistics alone", "stored: colour statistics alone"))
    file.unlink()
    found = check_leakage(job, "default", folder=tmp_path)
    assert found.baselines[0].sentence.startswith("stored: ")
    assert not older.exists()
    assert check_leakage(job, "default", folder=tmp_path) == found


@pytest.mark.parametrize("text", ["{", "[]", "1", "KEPT: 3", "KEPT: {}", "\xff", '{"a": NaN}'])
def test_checks_whose_file_is_damaged_are_measured_again(backbone, tmp_path, text):
    job = job_on(tile_folder(tmp_path / "tiles"), backbone)
    first = check_leakage(job, "default", folder=tmp_path)
    file = tmp_path / "leakage_checks.json"
    [key] = LeakageChecks.read(file).checks
    if text.startswith("KEPT"):
        text = f'{{"{key}": {text[6:]}}}'
    file.write_text(text, encoding="latin-1")
    assert check_leakage(job, "default", folder=tmp_path) == first
    assert list(LeakageChecks.read(file).checks) == [key]
