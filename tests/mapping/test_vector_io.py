"""Vector files that a map reads: choice of the layer, and refusals."""

import zipfile

import numpy as np
import pyogrio
import pytest
import shapely
from scenes import write_scene

from orbitune.errors import DataError
from orbitune.mapping.vector_io import POINTS, POLYGONS, read_vector

BOX, POINT = shapely.box(0, 0, 10, 10), shapely.Point(5, 5)


def write(path, *shapes, layer="a", kind="Polygon", append=False, crs="EPSG:32632"):
    """Write shapes with a number each as a layer of a GeoPackage."""
    pyogrio.raw.write(
        path,
        shapely.to_wkb(np.array(shapes, object)),
        [np.arange(len(shapes))],
        ["number"],
        geometry_type=kind,
        crs=crs,
        layer=layer,
        append=append,
    )
    return path


def test_the_layer_is_the_only_one_of_the_expected_kind(tmp_path):
    path = write(tmp_path / "a.gpkg", POINT, POINT, layer="places", kind="Point")
    write(path, BOX, layer="fields", append=True)
    assert list(read_vector(path, POLYGONS).geometries) == [BOX]
    layer = read_vector(path, POINTS)
    assert list(layer.geometries) == [POINT, POINT] and layer.fields["number"].tolist() == [0, 1]
    with pytest.raises(DataError, match=r"several layers of points or polygons \(places, fields\): save"):
        read_vector(path, (*POINTS, *POLYGONS))


@pytest.mark.parametrize(("kinds", "kind", "shape"), [(POINTS, "Point", POINT), (POLYGONS, "Polygon", BOX)])
def test_several_layers_of_the_expected_kind_are_named(tmp_path, kinds, kind, shape):
    path = write(tmp_path / "a.gpkg", shape, layer="one", kind=kind)
    write(path, shape, layer="two", kind=kind, append=True)
    with pytest.raises(DataError, match=r"a\.gpkg has several layers of po\w+ \(one, two\): save the one to"):
        read_vector(path, kinds)


def test_a_multi_point_of_one_is_a_point(tmp_path):
    path = write(tmp_path / "a.gpkg", shapely.MultiPoint([POINT]), kind="MultiPoint")
    assert list(read_vector(path, POINTS).geometries) == [POINT]
    several = write(tmp_path / "b.gpkg", shapely.MultiPoint([(1, 1), (2, 2)]), kind="MultiPoint")
    with pytest.raises(DataError, match=r"b\.gpkg holds MultiPoint: expected points alone\.$"):
        read_vector(several, POINTS)


def test_features_of_other_kinds_are_one_line(tmp_path):
    mixed = write(tmp_path / "mixed.gpkg", BOX, POINT, kind="Unknown")
    with pytest.raises(DataError, match=r"mixed\.gpkg holds Point and Polygon: expected polygons alone\.$"):
        read_vector(mixed, POLYGONS)
    with pytest.raises(DataError, match=r"^There are no points in .*fields\.gpkg\.$"):
        read_vector(write(tmp_path / "fields.gpkg", BOX), POINTS)
    with pytest.raises(DataError, match=r"^There are no polygons in .*empty\.gpkg\.$"):
        read_vector(write(tmp_path / "empty.gpkg", shapely.Polygon()), POLYGONS)


def test_a_file_in_an_archive_is_read(tmp_path):
    write(tmp_path / "inner.gpkg", BOX)
    with zipfile.ZipFile(tmp_path / "fields.zip", "w") as archive:
        archive.write(tmp_path / "inner.gpkg", "inner.gpkg")
    for name in ("fields.zip!inner.gpkg", "fields.zip!/inner.gpkg"):
        assert list(read_vector(tmp_path / name, POLYGONS).geometries) == [BOX]
    assert list(read_vector(f"/vsizip/{tmp_path}/fields.zip/inner.gpkg", POLYGONS).geometries) == [BOX]
    with pytest.raises(DataError, match=r"^There is no file .*absent\.zip!inner\.gpkg\.$"):
        read_vector(tmp_path / "absent.zip!inner.gpkg", POLYGONS)


def test_a_connection_string_is_left_to_gdal(tmp_path):
    write(tmp_path / "inner.gpkg", BOX)
    assert list(read_vector(f"GPKG:{tmp_path}/inner.gpkg:a", POLYGONS).geometries) == [BOX]


def test_what_cannot_be_read_is_one_line(tmp_path):
    with pytest.raises(DataError, match=r"^There is no file .*absent\.gpkg\.$"):
        read_vector(tmp_path / "absent.gpkg", POINTS)
    (tmp_path / "broken.geojson").write_text('{"type": "FeatureCollection", "features": [')
    with pytest.raises(DataError, match=r"^Cannot read .*broken\.geojson: Failed to read GeoJSON data"):
        read_vector(tmp_path / "broken.geojson", POINTS)


@pytest.mark.parametrize("name", ["text.gpkg", "folder", "scene.tif"])
def test_what_is_no_vector_file_is_told_what_one_is(tmp_path, name):
    (tmp_path / "text.gpkg").write_text("no package")
    (tmp_path / "folder").mkdir()
    write_scene(tmp_path / "scene.tif", np.zeros((16, 16, 3), np.uint8))
    with pytest.raises(DataError) as caught:
        read_vector(tmp_path / name, POINTS)
    reason = "it is no vector file, such as GeoPackage or GeoJSON"
    assert str(caught.value) == f"Cannot read {tmp_path / name}: {reason}."


def test_a_local_system_is_refused_when_the_file_is_read(tmp_path):
    path = write(tmp_path / "local.gpkg", BOX, crs='LOCAL_CS["x",UNIT["metre",1]]')
    with pytest.raises(DataError, match=r"has no coordinate reference system that can be projected: set it"):
        read_vector(path, POLYGONS)


def test_coordinates_of_another_planet_are_one_line(tmp_path):
    layer = read_vector(write(tmp_path / "mars.gpkg", BOX, crs="IAU_2015:49900"), POLYGONS)
    with pytest.raises(DataError, match=r"^Cannot project .*mars\.gpkg to the raster: .*\. Save it in the"):
        layer.project("EPSG:32632")


def test_a_table_of_coordinates_is_told_how_it_becomes_points(tmp_path):
    (tmp_path / "points.csv").write_text("lon,lat\n7.5,46.5\n")
    with pytest.raises(DataError, match=r"^There are no points in .*points\.csv, which is a table.*ogr2ogr"):
        read_vector(tmp_path / "points.csv", POINTS)
    options = {"X_POSSIBLE_NAMES": "lon", "Y_POSSIBLE_NAMES": "lat"}  # of the command that the line names
    assert pyogrio.read_info(tmp_path / "points.csv", **options)["geometry_type"] == "Point"
