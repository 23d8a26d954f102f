"""What `map` measures besides: reference points, an earlier map, and zones."""

import json
import shutil

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely

from orbitune.errors import DataError
from orbitune.mapping.areas.estimation import map_areas
from orbitune.mapping.areas.sampling import draw_sample
from orbitune.mapping.pipeline import map_scene


@pytest.fixture
def labelled(draw, scene, tmp_path):
    """A map, and a sample of it whose labels are the map's own."""
    drawn = draw(scene)
    draw_sample(drawn.path, tmp_path / "points.gpkg", points=20)
    meta, _, geometries, values = pyogrio.raw.read(tmp_path / "points.gpkg", layer="points")
    names = values[list(meta["fields"]).index("map_class")]
    known = np.array([name in drawn.report.metadata.classes for name in names])
    labels = [np.where(known, names, None).astype(object)]
    place = tmp_path / "labelled.gpkg"
    pyogrio.raw.write(place, geometries, labels, ["label"], geometry_type="Point", crs=meta["crs"])
    return drawn, place


def test_map_reports_reference_change_and_zones_as_the_commands_of_their_own_do(
    labelled, draw, scene, tmp_path, orbitune, bundle
):
    drawn, points = labelled
    before = shutil.copy(drawn.path, tmp_path / "before.tif")
    zones = tmp_path / "zones.gpkg"
    box = shapely.box(600_000, 5_499_600, 600_400, 5_500_000)
    pyogrio.raw.write(
        zones, shapely.to_wkb([box]), [np.array([7])], ["id"], geometry_type="Polygon", crs="EPSG:32632"
    )
    extras = ("--reference", points, "--field", "label", "--compare", before, "--zones", zones)
    out = tmp_path / "out.tif"
    code, said, err = orbitune(
        "map", bundle.folder, scene, "-o", out, "--grid", "cells", *extras, "--json", "--quiet"
    )
    assert code == 0, err
    report = json.loads(said)
    assert report["reference"] == map_areas(out, points, field="label").to_json()["reference"]
    assert report["reference"]["overall_accuracy"] == 1
    assert report["change"]["changed_hectares"] == 0 < report["change"]["unchanged_hectares"]
    assert (tmp_path / "out-change.tif").is_file() and (tmp_path / "out-zones.csv").is_file()


def test_unusable_files_are_refused_before_the_map_is_made(labelled, draw, scene):
    with pytest.raises(DataError, match="has no field true_class"):
        draw(scene, reference=labelled[1])
    with pytest.raises(DataError, match="There is no file"):
        draw(scene, zones="absent.gpkg")
    with pytest.raises(DataError, match="Cannot open absent"):
        draw(scene, compare="absent.tif")


@pytest.mark.parametrize("option", ["zones", "reference", "compare"])
def test_files_of_another_place_are_refused_before_the_map_is_made(labelled, bundle, scene, tmp_path, option):
    far = tmp_path / f"far{'.tif' if option == 'compare' else '.gpkg'}"
    if option == "compare":
        shutil.copy(labelled[0].path, far)
        with rasterio.open(far, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
            file.transform = rasterio.Affine(10, 0, 700_000, 0, -10, 5_500_000)
    else:
        shape = shapely.box(700_000, 5_499_600, 700_400, 5_500_000)
        shape = shape if option == "zones" else shape.centroid
        values = [np.array(["class_0"], object)]
        pyogrio.raw.write(
            far,
            shapely.to_wkb([shape]),
            values,
            ["true_class"],
            geometry_type=shape.geom_type,
            crs="EPSG:32632",
        )
    out = tmp_path / "out.tif"
    with pytest.raises(DataError, match=r"far.* (lies in|overlaps|and) the scene"):
        map_scene(bundle.folder, scene, outputs=out, progress=False, **{option: far})
    assert not list(tmp_path.glob("*out*"))
