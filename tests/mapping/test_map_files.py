"""The files of a map as a GIS reads them, their areas, and full disks."""

import json
import resource
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import shapely
from PIL import Image
from pyproj import Proj
from scenes import mosaic, read_band, write_scene

from orbitune.errors import OrbituneError
from orbitune.mapping.area_of_interest import AreaOfInterest
from orbitune.mapping.areas.class_map import ClassMap
from orbitune.mapping.areas.estimation import estimate_areas
from orbitune.mapping.grid import CellGrid
from orbitune.mapping.job_spec import JobSpec
from orbitune.mapping.map_report import MapMetadata
from orbitune.mapping.outputs.legend import class_colours
from orbitune.mapping.outputs.polygons import write_polygons
from orbitune.mapping.outputs.preview import write_preview
from orbitune.mapping.outputs.rasters import MapRasters
from orbitune.mapping.outputs.sieve import sieve_rasters
from orbitune.mapping.outputs.writer import write_map
from orbitune.mapping.part_store import PartStore
from orbitune.mapping.pipeline import map_scene
from orbitune.mapping.scene.mosaic import SceneSpec
from orbitune.mapping.scene.radiometry import ReflectanceScaling
from orbitune.mapping.scene.reader import Scene

# Square metres of a square unit of UTM 32 at the scene's corner, by the projection's own factors.
ON_THE_GROUND = 1 / Proj("EPSG:32632").get_factors(10.3881, 49.6443).areal_scale
CLASSES = ("Forest", "River & bank", "Highway")


@pytest.fixture
def rasters(tmp_path):
    """Makes finished parts of known codes: two rows of cells of 16 pixels each."""

    def rasters(codes, height=None, width=None, pixel_grid="scene", crs="EPSG:32632"):
        rows, columns = codes.shape
        height, width = height or 16 * rows, width or 16 * columns
        file = write_scene(tmp_path / "scene.tif", np.ones((height, width, 3), np.uint8), crs=crs)
        with Scene(file) as scene:
            grid, native_grid = scene.grid, scene.native_grid
        cells = CellGrid(height, width, 16, 16)
        scaling = ReflectanceScaling(low=(0.0,) * 3, high=(255.0,) * 3, source="")
        scenes = (SceneSpec(str(file), (1, 2, 3), scaling),)
        spec = JobSpec("", None, None, 1, scenes, 10.0, cells, 2, True)
        store = PartStore(tmp_path / "parts")
        for number in range(spec.parts):
            strip = codes[2 * number : 2 * number + 2].astype(np.uint8)
            store.write(number, np.stack([strip, np.full_like(strip, 80), np.ones_like(strip)]))
        metadata = MapMetadata(
            made_by="orbitune",
            model="bundle",
            classes=CLASSES,
            scene="scene.tif",
            pixels=(height, width),
            bands=(1, 2, 3),
            bands_source="given",
            scaling=scaling,
            resolution_metres=10.0,
            stride=16,
            tile=16,
            mode="tiles",
            not_sure=True,
            parts=spec.parts,
        )
        return MapRasters(
            store=store,
            spec=spec,
            grid=grid,
            native_grid=native_grid,
            pixel_grid=pixel_grid,
            metadata=metadata,
            map_file=tmp_path / "m.tif",
            overview=np.full((48, 48, 3), 90, np.uint8),
        )

    return rasters


@pytest.fixture
def written(rasters, tmp_path):
    """As `rasters`, with the map's file."""

    def written(*arguments, **options):
        known = rasters(*arguments, **options)
        write_map(known, tmp_path / "m.tif")
        return known

    return written


KNOWN = np.array([[1, 1, 2], [1, 0, 2], [255, 3, 3]])


@pytest.mark.parametrize("pixel_grid", ["scene", "cells"])
def test_of_cells_that_the_area_of_interest_cuts_the_part_on_the_map_counts(rasters, pixel_grid):
    whole = rasters(KNOWN, height=48, width=40, pixel_grid=pixel_grid)
    area = AreaOfInterest("area.gpkg", shapely.to_wkb(shapely.box(4, 0, 40, 36), hex=True))
    cut = replace(whole, spec=replace(whole.spec, aoi=area))
    hectares = 2.56 * ON_THE_GROUND * np.array([1, 1, 0.5])
    assert np.allclose(whole.cell_hectares(), np.outer(np.ones(3), hectares), rtol=1e-3)
    inside = np.outer([1, 1, 0.25], [0.75, 1, 1]) if pixel_grid == "scene" else 1
    assert np.allclose(cut.cell_hectares(), whole.cell_hectares() * inside)


def test_a_patch_whose_part_in_the_area_of_interest_is_small_is_sieved(rasters):
    known = rasters(np.array([[1, 1, 1], [1, 2, 2], [1, 1, 1]]))
    area = AreaOfInterest("area.gpkg", shapely.to_wkb(shapely.box(0, 0, 26, 48), hex=True))
    cut = replace(known, spec=replace(known.spec, aoi=area))
    assert (sieve_rasters(cut, 2.0).sieved == 1).all() and (
        sieve_rasters(known, 2.0).sieved[1, 1:] == 2
    ).all()


def test_a_map_is_on_the_grid_of_its_scene(rasters, tmp_path):
    write_map(rasters(KNOWN, height=44, width=40), tmp_path / "m.tif")
    with rasterio.open(tmp_path / "m.tif") as file, rasterio.open(tmp_path / "scene.tif") as scene:
        assert (file.shape, file.crs, file.transform) == (scene.shape, scene.crs, scene.transform)
        assert np.array_equal(file.read(1), KNOWN.repeat(16, 0).repeat(16, 1)[:44, :40])


def test_a_map_of_cells_has_a_pixel_for_each_and_begins_where_the_scene_does(rasters, tmp_path):
    write_map(rasters(KNOWN, height=44, width=40, pixel_grid="cells"), tmp_path / "m.tif")
    with rasterio.open(tmp_path / "m.tif") as file:
        assert np.array_equal(file.read(1), KNOWN)
        assert file.res == (160, 160)
        assert (file.bounds.left, file.bounds.top) == (600_000, 5_500_000)


def test_a_map_is_a_cloud_optimised_geotiff_with_nodata_and_colours(rasters, tmp_path):
    write_map(rasters(np.tile(KNOWN, (14, 14))), tmp_path / "m.tif")
    with rasterio.open(tmp_path / "m.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.overviews(1) == [2]
        assert (file.nodata, file.dtypes) == (0, ("uint8",))
        colormap = file.colormap(1)
    for code, colour in class_colours(CLASSES).items():
        assert code == 0 or colormap[code] == (*colour, 255)
    assert colormap[0][3] == 0


def test_names_of_the_codes_are_in_the_tags_and_where_gdal_reads_categories(rasters, tmp_path):
    import xml.etree.ElementTree as ET

    known = rasters(KNOWN)
    write_map(known, tmp_path / "m.tif")
    with rasterio.open(tmp_path / "m.tif") as file:
        tags = file.tags()
    names = {"0": "no data", "1": "Forest", "2": "River & bank", "3": "Highway", "255": "not sure"}
    assert json.loads(tags["CLASSES"]) == names
    assert MapMetadata.model_validate_json(tags["ORBITUNE"]) == known.metadata
    categories = [each.text or "" for each in ET.parse(tmp_path / "m.tif.aux.xml").iter("Category")]
    assert len(categories) == 256
    assert {str(code): name for code, name in enumerate(categories) if name} == names


def test_classes_of_land_cover_have_their_usual_colours_and_no_two_the_same():
    names = ("Forest", "SeaLake", "River", "Highway", "PermanentCrop", "AnnualCrop", *map(str, range(40)))
    table = class_colours(names)
    assert len(set(table.values())) == len(names) + 2
    green, blue = table[1], table[2]
    assert max(green) == green[1] and max(blue) == blue[2]


def test_the_metadata_of_a_map_are_in_its_tags(draw, scene):
    drawn = draw(scene)
    with rasterio.open(drawn.path) as file:
        tag = file.tags()["ORBITUNE"]
    assert MapMetadata.model_validate_json(tag) == drawn.report.metadata
    stored = json.loads(tag)
    assert (stored["scene"], stored["stride"], stored["classes"][0]) == ("scene.tif", 16, "class_0")
    assert stored["format"] == 1


def test_hectares_are_those_of_known_squares(written):
    known = written(KNOWN, height=44, width=40)
    report = estimate_areas(ClassMap.open(known.map_file))
    rows = {row.name: row.hectares for row in report.areas}
    square = 0.16 * 0.16 * 100 * ON_THE_GROUND
    assert rows["Forest"] == pytest.approx(3 * square, rel=1e-5)
    assert rows["River & bank"] == pytest.approx(2 * square / 2, rel=1e-5)  # half is outside
    assert rows["Highway"] == pytest.approx(square * 12 / 16 * 1.5, rel=1e-5)
    assert rows["not sure"] == pytest.approx(square * 12 / 16, rel=1e-5)
    assert sum(row.fraction for row in estimate_areas(ClassMap.open(known.map_file)).areas) == pytest.approx(
        1
    )


def test_polygons_have_the_area_of_the_map_and_its_projection(written, tmp_path):
    import pyogrio
    import shapely

    codes = np.random.default_rng(0).choice([0, 1, 2, 3, 255], (20, 30))
    known = written(codes)
    write_polygons(known, tmp_path / "p.gpkg")
    meta, _, geometries, fields = pyogrio.raw.read(tmp_path / "p.gpkg")
    assert list(meta["fields"]) == ["code", "class", "hectares"] and meta["crs"] == "EPSG:32632"
    code, name, hectares = fields
    names = {1: "Forest", 2: "River & bank", 3: "Highway", 255: "not sure"}
    assert [names[each] for each in code] == list(name)
    for row in estimate_areas(ClassMap.open(known.map_file)).areas:
        assert hectares[name == row.name].sum() == pytest.approx(row.hectares)
    assert np.allclose(shapely.area(shapely.from_wkb(geometries)) / 1e4 * ON_THE_GROUND, hectares, rtol=1e-4)


def test_the_same_polygons_have_the_same_bytes_whenever_they_are_written(written, tmp_path):
    known = written(KNOWN)
    for name in ("a.gpkg", "b.gpkg"):
        write_polygons(known, tmp_path / name)
    assert (tmp_path / "a.gpkg").read_bytes() == (tmp_path / "b.gpkg").read_bytes()


def test_hectares_of_polygons_in_degrees_are_on_the_ground(draw, bundle, grid, tmp_path):
    import pyogrio

    step = 10 / 111_320
    place = rasterio.transform.from_origin(11, 0.004, step, step)
    file = write_scene(tmp_path / "s.tif", mosaic(grid), crs="EPSG:4326", transform=place)
    outputs = {"map": tmp_path / "m.tif", "polygons": tmp_path / "p.gpkg", "preview": tmp_path / "v.png"}
    report = map_scene(bundle.folder, file, outputs=outputs, progress=False)
    hectares = pyogrio.raw.read(outputs["polygons"])[3][2]
    assert hectares.sum() == pytest.approx(sum(row.hectares for row in report.areas))
    assert hectares.sum() == pytest.approx(80 * 96 / 100, rel=0.01)


def test_a_map_without_any_cell_has_no_polygons(written, tmp_path):
    import pyogrio

    known = written(np.zeros((2, 2)))
    write_polygons(known, tmp_path / "p.gpkg")
    assert pyogrio.read_info(tmp_path / "p.gpkg")["features"] == 0


def test_a_preview_shows_the_scene_the_classes_and_their_legend(rasters, tmp_path):
    write_preview(rasters(KNOWN), tmp_path / "v.png")
    picture = Image.open(tmp_path / "v.png")
    assert picture.format == "PNG"
    counts = {colour: count for count, colour in picture.convert("RGB").getcolors(1 << 20)}
    table = class_colours(CLASSES)
    assert counts[(90, 90, 90)] > 10_000  # the scene
    large = {code: counts.get(colour, 0) for code, colour in table.items()}
    assert large[1] > large[2] > large[255] > 1000
    bottom = picture.convert("RGB").crop((0, picture.height - 60, *picture.size)).getcolors(1 << 20)
    assert {table[code] for code in (1, 2, 3, 255)} <= {colour for _, colour in bottom}


@contextmanager
def disk_of(size):
    """No file can grow beyond so many bytes: writing fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("kind", ["map", "polygons", "preview"])
def test_on_a_full_disk_a_file_is_whole_or_absent(rasters, tmp_path, kind):
    """Every limit below what is needed is one clear error and leaves nothing."""
    known = rasters(np.random.default_rng(0).integers(0, 4, (100, 100)), pixel_grid="cells")
    write_map(known, tmp_path / "m.tif")
    write, name = {
        "map": (write_map, "m.tif"),
        "polygons": (write_polygons, "p.gpkg"),
        "preview": (write_preview, "v.png"),
    }[kind]
    place = tmp_path / "out"
    write(known, place / name)
    size = (place / name).stat().st_size
    for file in place.iterdir():
        file.unlink()
    for limit in (0, 500, size // 3, 2 * size // 3, size - 1):
        error = None
        with disk_of(limit):
            try:
                write(known, place / name)
            except OrbituneError as raised:
                error = str(raised)
        assert error and error.startswith(f"Cannot write {place / name}"), limit
        assert len(error.splitlines()) == 1 and list(place.iterdir()) == [], limit
    write(known, place / name)
    assert (place / name).stat().st_size == size
    if kind == "map":
        assert (read_band(place / name) == known.codes()).all()
