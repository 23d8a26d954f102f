"""The app's maps: from a GeoTIFF to a map and its files, and refusals."""

import re
import shutil
import sqlite3
import sys
import zipfile

import numpy as np
import pytest

from orbitune.errors import DataError, OrbituneError
from orbitune.mapping.map_report import MapMetadata, MapReport
from orbitune.mapping.options import MapOptions
from orbitune.serving import map_function, point_uploads, uploads
from orbitune.serving.map_function import map_upload, parse_options
from orbitune.serving.map_viewer import write_view
from orbitune.serving.storage import Storage

rasterio = pytest.importorskip("rasterio", reason="needs orbitune[geo]")
pytest.importorskip("pyogrio", reason="needs orbitune[geo]")

PLACED = {"crs": "EPSG:32632", "transform": rasterio.transform.from_origin(6e5, 5.2e6, 10, 10)}


def write_scene(path, side=64, **profile):
    """Stripes in the colours of the three classes, with the noise of their tiles."""
    random = np.random.default_rng(0)
    colours = np.eye(3)[np.arange(side) * 3 // side] * 120 + 60
    pixels = np.clip(random.normal(colours, 40, (side, side, 3)), 0, 255).astype(np.uint8)
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", **PLACED, **profile}
    with rasterio.open(path, "w", height=side, width=side, **profile) as file:
        file.write(pixels[..., [0, 1, 2]].transpose(2, 0, 1)[: profile["count"]])
    return path


@pytest.fixture
def scene(tmp_path):
    return write_scene(tmp_path / "stripes.tif")


def ignore(done, parts):
    """Take the progress of a map."""


def upload(service, path, storage, options=None, points=None):
    model, options = service.get_model(None), options or MapOptions()
    return map_upload(model, path, options=options, points=points, storage=storage, on_progress=ignore)


def refusal(service, path, storage, options=None, points=None):
    """Return the refusal of an upload; check that nothing of it is left."""
    with pytest.raises(OrbituneError) as told:
        upload(service, path, storage, options, points)
    assert not [*storage.results.iterdir(), *storage.work.iterdir()]
    assert str(path.parent) not in str(told.value) and "\n" not in str(told.value)
    return str(told.value)


@pytest.fixture
def storage():
    storage = Storage()
    yield storage
    storage.close()


def test_a_client_gets_the_viewer_the_areas_and_all_files(address, tmp_path):
    """Stripes of two tiles each, so that most cells have a class."""
    from gradio_client import Client, handle_file

    scene = write_scene(tmp_path / "stripes.tif", side=96)

    viewer, words, table, download = Client(address, verbose=False).predict(
        handle_file(scene), "1,2,3", "", 16, "bundle", api_name="/map"
    )
    assert re.search(r'<iframe src="map/[0-9a-f]{32}/"', viewer)
    assert "labels: every 16 pixels" in words
    assert all(f"</svg>class_{number}</th>" in table for number in range(3))
    assert re.search(r"<td>\d+<small>\d+ to \d+</small></td>", table)
    with zipfile.ZipFile(download["value"] if isinstance(download, dict) else download) as packed:
        assert packed.namelist() == [
            "confidence.tif",
            "landcover.gpkg",
            "landcover.qml",
            "landcover.tif",
            "landcover.tif.aux.xml",
            "preview.png",
        ]


@pytest.fixture
def points(tmp_path):
    """Sixty labelled points, twenty in each stripe of 96 pixels, a GeoPackage."""
    import pyogrio.raw
    import shapely

    random = np.random.default_rng(0)
    stripe = np.arange(60) % 3
    columns, rows = stripe * 32 + random.uniform(0, 32, 60), random.uniform(0, 96, 60)
    shapes = shapely.to_wkb(shapely.points(6e5 + 10 * columns, 5.2e6 - 10 * rows))
    labels = np.array([f"class_{number}" for number in stripe], object)
    path = tmp_path / "points.gpkg"
    pyogrio.raw.write(path, shapes, [labels], ["true_class"], geometry_type="Point", crs="EPSG:32632")
    return path


def test_reference_points_give_areas_and_accuracies(address, points, tmp_path):
    from gradio_client import Client, handle_file

    scene = write_scene(tmp_path / "stripes.tif", side=96)

    _, words, table, _ = Client(address, verbose=False).predict(
        handle_file(scene), "1,2,3", "", 16, "bundle", handle_file(points), api_name="/map"
    )
    assert re.search(
        r"overall accuracy \d+\.\d% ± \d+\.\d% \(standard error\), from \d+ reference points", words
    )
    heads = re.findall(r'<th scope="col">(.*?)</th>', table)
    columns = [re.sub("<small>.*", "", head) for head in heads]
    assert columns[-3:] == ["estimate from reference points", "user's accuracy", "producer's accuracy"]


def test_points_that_do_not_fit_the_map_leave_it_without_their_estimate(service, points, storage, tmp_path):
    with sqlite3.connect(points) as database:
        database.create_function("ST_IsEmpty", 1, lambda shape: 0)  # which the triggers of the index call
        for name in ("MinX", "MaxX", "MinY", "MaxY"):
            database.create_function(f"ST_{name}", 1, lambda shape: 0)
        database.execute("DELETE FROM points WHERE true_class != 'class_0'")
    database.close()
    made = upload(service, write_scene(tmp_path / "stripes.tif", side=96), storage, points=points)
    assert "- **Warning:** Too few labelled points in classes of the map" in made.notes()
    assert made.archive.is_file() and "reference points" not in made.area_table()


def test_bands_that_nothing_names_are_a_warning_in_the_words_of_the_page(service, storage, tmp_path):
    made = upload(service, write_scene(tmp_path / "stripes.tif", photometric="minisblack"), storage)
    warning = next(line for line in made.notes().splitlines() if "states which bands are red" in line)
    assert warning.startswith("- **Warning:** nothing in stripes.tif")
    assert "check the colours, or give Bands, such as 3,2,1" in warning


def add_view(database):
    database.execute(
        "CREATE VIEW endless AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x FROM n) SELECT * FROM n"
    )


def add_generated_column(database):
    database.execute("ALTER TABLE points ADD COLUMN heavy AS/**/(zeroblob(1000000000))")


def add_virtual_table(database):
    database.execute('CREATE VIRTUAL TABLE "found using rtree(" USING fts5(words)')


def hide_view(database):
    add_view(database)
    database.execute("PRAGMA writable_schema = 1")
    database.execute("UPDATE sqlite_master SET type = 'VIEW' WHERE name = 'endless'")


@pytest.mark.parametrize("change", [add_view, hide_view, add_generated_column, add_virtual_table])
def test_a_geopackage_that_runs_code_when_it_is_read_is_refused(service, scene, points, storage, change):
    with sqlite3.connect(points) as database:
        change(database)
    database.close()
    said = refusal(service, scene, storage, points=points)
    assert said == "points.gpkg has more than plain tables: save the points as a new GeoPackage."


def test_a_stored_number_of_points_is_not_believed(service, points, storage, tmp_path):
    with sqlite3.connect(points) as database:
        database.execute("UPDATE gpkg_ogr_contents SET feature_count = 100000000000")
    database.close()
    made = upload(service, write_scene(tmp_path / "stripes.tif", side=96), storage, points=points)
    assert made.report.reference.points == 60


def test_points_beside_the_scene_leave_the_map_and_no_folder_is_named(service, points, storage, tmp_path):
    elsewhere = rasterio.transform.from_origin(7e5, 5.2e6, 10, 10)
    made = upload(service, write_scene(tmp_path / "far.tif", transform=elsewhere), storage, points=points)
    assert "- **Warning:** No point of points.gpkg" in made.notes()
    assert str(tmp_path) not in made.notes() and str(storage.folder) not in made.notes()


def test_other_files_than_a_geopackage_are_refused_as_points(service, scene, points, storage):
    points.write_text('{"type": "FeatureCollection", "features": []}')
    said = refusal(service, scene, storage, points=points)
    assert said == "points.gpkg is not a GeoPackage, or is damaged."


def test_too_many_bytes_of_points_are_refused(service, scene, points, storage, monkeypatch):
    monkeypatch.setattr(point_uploads, "MAX_POINTS_BYTES", 1000)
    said = refusal(service, scene, storage, points=points)
    assert "at most 0.0 are taken" in said


def test_points_without_the_class_are_refused_in_the_words_of_the_page(service, scene, points, storage):
    with sqlite3.connect(points) as database:
        database.execute("ALTER TABLE points RENAME COLUMN true_class TO class")
    database.close()
    said = refusal(service, scene, storage, points=points)
    assert said == "points.gpkg has no field true_class; its fields are: class."


def test_a_client_gets_one_line_with_the_error(address, scene):
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    scene.write_bytes(b"hello")
    with pytest.raises(AppError, match=r"stripes\.tif is not a GeoTIFF, or is damaged"):
        Client(address, verbose=False).predict(handle_file(scene), api_name="/map")


def test_a_stride_that_takes_the_servers_time_is_refused(address, scene):
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError, match=r"The stride must be one of \d+"):
        Client(address, verbose=False).predict(handle_file(scene), "", "", 1, "bundle", api_name="/map")


def test_nothing_of_a_map_remains_but_archive_and_viewer(service, scene, storage, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    done = upload(service, scene, storage)
    assert not list((tmp_path / "temporary").iterdir())
    left = {path for path in storage.folder.rglob("*") if path.is_file()}
    names = {"landcover.zip", "map.json", "scene.tif", "classes.tif", "probability.tif"}
    assert left == {done.archive.parent / name for name in names}


def test_a_map_is_made_though_others_upload_all_that_may_be_stored(service, scene, storage, monkeypatch):
    """Files are deleted meanwhile, but neither its scene nor its parts."""
    monkeypatch.setattr("orbitune.serving.storage.MAX_STORED_BYTES", 0)
    model, sent = service.get_model(None), storage.new_upload_path("stripes.tif")
    shutil.copy(scene, sent)

    class Crowded:
        bundle = model.bundle

        def map_scene(self, scene, outputs, *, options, log, on_progress):
            def crowd(line):
                storage.delete_expired(incoming=1 << 30)
                log(line)

            done = model.map_scene(scene, outputs, options=options, log=crowd, on_progress=on_progress)
            storage.delete_expired(incoming=1 << 30)
            return done

    done = map_upload(Crowded(), sent, options=MapOptions(), storage=storage, on_progress=ignore)
    assert done.archive.exists()


def test_the_progress_is_reported_part_by_part(service, scene, storage):
    heard = []
    map_upload(
        service.get_model(None),
        scene,
        options=MapOptions(stride=8),
        storage=storage,
        on_progress=lambda *counts: heard.append(counts),
    )
    parts = heard[0][1]
    assert parts > 1 and heard == [(done, parts) for done in range(1, parts + 1)]


def test_a_damaged_file_is_refused(service, scene, storage):
    whole = scene.read_bytes()
    scene.write_bytes(whole[:5000])
    assert refusal(service, scene, storage).startswith("stripes.tif is damaged")
    scene.write_bytes(whole[:100])
    assert refusal(service, scene, storage).startswith("stripes.tif is not a GeoTIFF, or is damaged")


def test_other_formats_than_geotiff_are_refused_whatever_the_suffix(service, scene, storage):
    """A VRT would have the server read files that it names."""
    from rasterio.shutil import copy

    with rasterio.open(scene) as file:
        copy(file, scene.with_name("other.tif"), driver="VRT")
    assert refusal(service, scene.with_name("other.tif"), storage).startswith("other.tif is not a GeoTIFF")


def test_nor_is_it_opened_later_by_another_driver(service, scene, storage, monkeypatch):
    """Each time that the file is opened, not only where it is checked first."""
    from rasterio.shutil import copy

    other = scene.with_name("other.tif")
    with rasterio.open(scene) as file:
        copy(file, other, driver="VRT")
    monkeypatch.setattr(map_function, "check_scene", lambda *_: None)
    assert refusal(service, other, storage).startswith("Cannot open other.tif")
    metadata = MapMetadata.model_construct(bands=(1, 2, 3), resolution_metres=10.0)
    report = MapReport.model_construct(metadata=metadata)
    with pytest.raises(DataError):
        write_view(storage.results, other, outputs={}, report=report, driver=uploads.SCENE_DRIVER)


@pytest.mark.parametrize(
    "place",
    [
        {"crs": None},
        {"crs": 'LOCAL_CS["a drawing",UNIT["metre",1]]'},
        {"transform": rasterio.Affine(0, 0, 6e5, 0, 0, 5.2e6)},
        {"transform": rasterio.Affine(float("nan"), 0, 6e5, 0, -10, 5.2e6)},
    ],
)
def test_a_scene_without_a_place_on_earth_is_refused(service, tmp_path, storage, place):
    scene = write_scene(tmp_path / "lost.tif", **place)
    assert refusal(service, scene, storage).startswith("lost.tif has no georeference")


def test_too_many_pixels_are_refused_by_the_header(service, tmp_path, storage):
    sparse = {"sparse_ok": True, "tiled": True, "compress": "deflate", **PLACED}
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "height": 6000, "width": 6000, **sparse}
    rasterio.open(tmp_path / "wide.tif", "w", **profile).close()
    assert "36,000,000 pixels" in refusal(service, tmp_path / "wide.tif", storage)
    coarse = rasterio.transform.from_origin(6e5, 5.2e6, 1000, 1000)
    assert "40,960,000 pixels" in refusal(
        service, write_scene(tmp_path / "coarse.tif", transform=coarse), storage
    )


def test_too_many_bytes_are_refused_by_the_header(service, scene, storage, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_SCENE_BYTES", 1000)
    assert "unpacks to" in refusal(service, scene, storage)


def test_messages_name_the_fields_of_the_page(service, scene, storage):
    message = refusal(service, scene, storage, MapOptions(bands=(1, 2, 4)))
    assert message == "stripes.tif has no band 4: it has red, green, blue."
    with pytest.raises(OrbituneError, match=r"^Scale takes LOW:HIGH .* or one of match and none"):
        parse_options("", "x", stride=None)


def api_names(app):
    """What Gradio's clients may call."""
    (pages,) = [route.app for route in app.routes if hasattr(getattr(route, "app", None), "get_blocks")]
    return pages.get_blocks().get_api_info()["named_endpoints"]


def test_without_rasterio_there_is_no_such_function(service, monkeypatch):
    from orbitune.serving.app import create_app

    assert "/map" in api_names(create_app(service))
    monkeypatch.setitem(sys.modules, "pyproj", None)
    assert "/map" not in api_names(create_app(service))
