"""Maps of a model that gives a tile several labels: a band for each class."""

import json
import shutil
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import rasterio
from PIL import Image
from scenes import mosaic, write_scene

from orbitune import Classifier
from orbitune.errors import OrbituneError
from orbitune.mapping.adaptation.adapt import adapt
from orbitune.mapping.areas.class_map import ClassMap
from orbitune.mapping.pipeline import map_scene

SIDE = 32  # of the tiles


@pytest.fixture(scope="module")
def quilt(label_set_run):
    """uint8 (3, 4, 32, 32, 3): training tiles, but one of a chessboard, which is like none of them."""
    files = sorted((label_set_run.parent / "tiles").glob("*.png"))[:12]
    grid = np.stack([np.asarray(Image.open(file)) for file in files]).reshape(3, 4, SIDE, SIDE, 3).copy()
    grid[1, 2] = 250 * (np.indices((SIDE, SIDE)).sum(0) % 2)[..., None]
    return grid


@pytest.fixture(scope="module")
def scene(quilt, tmp_path_factory):
    return write_scene(tmp_path_factory.mktemp("scene") / "scene.tif", mosaic(quilt))


def draw(bundle, scene, folder, **options):
    """Map a scene; return the report, and the bands of percentages and of labels."""
    outputs = {"map": folder / "map.tif", "labels": folder / "labels.tif"}
    report = map_scene(bundle.folder, scene, outputs=outputs, progress=False, **options)
    bands = []
    for path in outputs.values():
        with rasterio.open(path) as file:
            bands.append(file.read())
    return report, *bands


@pytest.fixture(scope="module")
def drawn(label_set_bundle, scene, tmp_path_factory):
    folder = tmp_path_factory.mktemp("map")
    return folder, *draw(label_set_bundle, scene, folder, grid="cells")


def test_cells_have_the_probabilities_and_labels_of_predict(drawn, quilt, label_set_bundle):
    _, _, percent, labels = drawn
    classifier = Classifier.from_pretrained(label_set_bundle.folder)
    flat = quilt.reshape(12, SIDE, SIDE, 3)
    predictions = list(classifier.predict(list(flat)))
    sure = np.array([each.sure for each in predictions])
    assert not sure[6] and sure.any()
    expected = 100 * classifier.predict_proba(flat).T
    assert np.abs(percent[:3].reshape(3, 12)[:, sure] - expected[:, sure]).max() < 0.6
    names = [[name for name, _ in each.labels] for each in predictions]
    decided = np.array([[own in each for each in names] for own in classifier.classes])
    assert np.array_equal(labels[:3].reshape(3, 12)[:, sure], decided[:, sure])
    assert {count for count, is_sure in zip(decided.sum(0), sure, strict=True) if is_sure} > {1}


def test_a_cell_that_is_not_sure_has_no_classes_and_a_band_of_its_own(drawn):
    _, report, percent, labels = drawn
    assert (percent[:, 1, 2] == [255, 255, 255, 100]).all() and (labels[:, 1, 2] == [255, 255, 255, 1]).all()
    known = labels[3] == 0
    assert (percent[3][known] == 0).all() and (percent[:3, known] <= 100).all()
    assert report.metadata.quality.classified == known.mean()


def test_the_files_name_their_bands_and_state_thresholds_and_nodata(drawn, label_set_bundle):
    folder, *_ = drawn
    for name in ("map.tif", "labels.tif"):
        with rasterio.open(folder / name) as file:
            assert file.descriptions == (*label_set_bundle.classes, "not sure")
            assert file.nodata == 255 and file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert rasterio.enums.ColorInterp.red not in file.colorinterp
            stated = json.loads(file.tags()["THRESHOLDS"])
            assert [*stated.values()] == list(label_set_bundle.decision.thresholds)
            assert json.loads(file.tags()["ORBITUNE"])["thresholds"] == [*stated.values()]
    styles = [ET.parse(folder / f"{name}.qml").find("pipe/rasterrenderer") for name in ("map", "labels")]
    assert [each.get("type") for each in styles] == ["singlebandpseudocolor", "paletted"]
    assert [each.get("label") for each in styles[1].iter("paletteEntry")] == ["no class_0", "class_0"]


def test_hectares_are_those_of_the_cells_with_a_class_and_called_uncorrected(drawn):
    _, report, _, labels = drawn
    counts = (labels == 1).sum((1, 2))
    hectares = (SIDE * 10) ** 2 / 1e4
    assert [area.name for area in report.areas] == ["class_0", "class_1", "class_2", "not sure"]
    assert [area.hectares for area in report.areas] == pytest.approx(counts * hectares, rel=2e-3)
    assert [area.fraction for area in report.areas] == pytest.approx(counts / 12, rel=1e-3)
    assert all(area.estimated_hectares is None for area in report.areas)
    assert "not corrected for its errors" in report.notes[-1] and "do not add up" in report.notes[0]


def test_pixels_without_data_have_none_in_any_band(quilt, label_set_bundle, tmp_path):
    pixels = mosaic(quilt).clip(1)
    pixels[:8, :40] = 0
    scene = write_scene(tmp_path / "gap.tif", pixels, nodata=0)
    report, percent, labels = draw(label_set_bundle, scene, tmp_path)
    assert percent.shape == labels.shape == (4, 96, 128)
    assert (percent[:, :8, :40] == 255).all() and (labels[:, :8, :40] == 255).all()
    assert (labels[3, 8:] != 255).all()
    assert sum(area.fraction for area in report.areas) > 1  # cells have several classes


def test_without_not_sure_each_cell_has_its_classes(label_set_bundle, scene, tmp_path):
    report, percent, labels = draw(label_set_bundle, scene, tmp_path, grid="cells", not_sure=False)
    assert len(percent) == len(labels) == 3 and percent.max() <= 100 and labels.max() == 1
    assert report.metadata.quality.classified == 1


def test_an_interrupted_map_resumes_to_the_same_bytes(label_set_bundle, scene, tmp_path, interrupt, orbitune):
    names = [f"{name}.{ending}" for name in ("map", "labels") for ending in ("tif", "qml")]
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    stopped.mkdir()
    outputs = {name: stopped / f"{name}.tif" for name in ("map", "labels")}
    interrupt(scene, outputs, parts=3, source=label_set_bundle.folder, stride=8)
    shutil.copytree(stopped, whole)
    for part in (whole / ".map.tif.parts").glob("*.npy"):
        part.unlink()  # what is left states the kernel of attention, which must be the same
    for folder in (stopped, whole):
        files = ("--out", folder / "map.tif", "--labels", folder / "labels.tif")
        code, out, error = orbitune("map", label_set_bundle.folder, scene, *files, "--stride", 8)
        assert code == 0 and "class_1" in out and "tile by tile" in error
        assert ("going on after 3 of 6 parts" in error) == (folder == stopped)
    assert all((stopped / name).read_bytes() == (whole / name).read_bytes() for name in names)


def test_the_preview_has_a_panel_for_each_class(label_set_bundle, scene, tmp_path):
    outputs = {"map": tmp_path / "map.tif", "preview": tmp_path / "preview.png"}
    map_scene(label_set_bundle.folder, scene, outputs=outputs, progress=False)
    assert Image.open(outputs["preview"]).size[0] > 1000


REFUSED = {
    "--polygons x.gpkg": "Files of --polygons know one label a tile, and bundle has several.",
    "--confidence x.tif": "Files of --confidence know one label",
    "--min-area 1": "Patches of a minimum area (--min-area) know one label",
    "--mode dense": "Dense maps (--mode dense) know one label",
}


@pytest.mark.parametrize(("asked", "message"), REFUSED.items(), ids=REFUSED)
def test_what_needs_one_label_a_cell_is_refused_in_one_line(
    asked, message, label_set_bundle, scene, tmp_path, orbitune
):
    words = [tmp_path / word if word.startswith("x.") else word for word in asked.split()]
    code, _, error = orbitune("map", label_set_bundle.folder, scene, "--out", tmp_path / "m.tif", *words)
    assert code == 2 and message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_labels_of_a_model_of_one_label_are_refused(bundle, scene, tmp_path, orbitune):
    files = ("--out", tmp_path / "map.tif", "--labels", tmp_path / "labels.tif")
    code, _, error = orbitune("map", bundle.folder, scene, *files)
    assert code == 2 and "--labels is for models that give a tile several labels" in error


@pytest.mark.parametrize("name", ["map.tif", "labels.tif"])
def test_a_finished_map_is_refused_where_one_label_a_pixel_is_needed(drawn, name):
    with pytest.raises(OrbituneError, match=r"has several labels a pixel; areas, samples, zones and compar"):
        ClassMap.open(drawn[0] / name)


def test_adaptation_is_refused_before_the_points_are_read(label_set_bundle, scene, tmp_path):
    with pytest.raises(OrbituneError, match="Adaptations know one label a tile"):
        adapt(label_set_bundle.folder, scene, points=tmp_path / "none.gpkg", out=tmp_path / "out")
