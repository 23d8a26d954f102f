"""STAC items as scenes: local and served, in the forms of known catalogues."""

import json

import numpy as np
import pytest
import rasterio
from range_server import serve_folder
from rasterio.transform import from_origin
from scenes import write_scene

from orbitune.errors import DataError
from orbitune.mapping.scene.reader import Scene

SIDE = 1024
PLACE = {"crs": "EPSG:32632", "transform": from_origin(324_640, 5_194_500, 10, 10)}
COG = "image/tiff; application=geotiff; profile=cloud-optimized"
EARTH_SEARCH = {"B02": "blue", "B03": "green", "B04": "red", "B08": "nir"}


@pytest.fixture(scope="module")
def bands(shared, tmp_path_factory):
    """A folder of COGs of 1024 x 1024 pixels, L2A with baseline 04.00."""
    with rasterio.open(shared / "scenes/switzerland_vaumarcus_offset1000/concise.tif") as file:
        pixels = file.read()
    folder = tmp_path_factory.mktemp("stac")
    for name, band in zip(EARTH_SEARCH, pixels, strict=True):
        large = np.pad(band, ((0, SIDE - band.shape[0]), (0, SIDE - band.shape[1])), mode="symmetric")
        write_scene(
            folder / f"{name}.tif", large[..., None], driver="COG", compress="deflate", blocksize=128, **PLACE
        )
    return folder


def earth_search(applied, prefix=""):
    """An Earth Search v1 item, which states an offset even where there is none."""
    assets = {
        colour: {
            "href": f"{prefix}{name}.tif",
            "type": COG,
            "eo:bands": [{"name": colour, "common_name": colour}],
            "raster:bands": [{"nodata": 0, "data_type": "uint16", "scale": 0.0001, "offset": -0.1}],
            "roles": ["data", "reflectance"],
        }
        for name, colour in EARTH_SEARCH.items()
    }
    jp2 = {f"{key}-jp2": {**asset, "href": "none.jp2", "type": "image/jp2"} for key, asset in assets.items()}
    visual = {"href": "TCI.tif", "type": COG, "roles": ["visual"], "eo:bands": [{"name": "red"}] * 3}
    mask = {"href": "SCL.tif", "type": COG, "roles": ["data"]}
    facts = {"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": applied}
    return item({**jp2, "visual": visual, "scl": mask, **assets}, facts, collection="sentinel-2-l2a")


def planetary_computer(baseline):
    """A Planetary Computer item: offset and scale follow from the baseline alone."""
    assets = {
        name: {"href": f"./{name}.tif", "type": COG, "eo:bands": [{"name": name, "common_name": colour}]}
        for name, colour in EARTH_SEARCH.items()
    }
    return item(assets, {"s2:processing_baseline": baseline, "s2:product_type": "S2MSI2A"})


def stac_1_1():
    """An item of STAC 1.1, whose bands state scale and offset themselves."""
    assets = {
        colour: {
            "href": f"{name}.tif",
            "type": COG,
            "bands": [{"name": name, "eo:common_name": colour, "raster:scale": 1e-4, "raster:offset": -0.1}],
        }
        for name, colour in EARTH_SEARCH.items()
    }
    return item(assets, {"processing:level": "L2A"})


def item(assets, facts, **more):
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": "x",
        "properties": facts,
        "assets": assets,
        **more,
    }


def write_item(folder, content, name="item.json"):
    (folder / name).write_text(json.dumps(content))
    return folder / name


@pytest.mark.parametrize(
    ("content", "offset", "source"),
    [
        (earth_search(False), -0.1, "raster:bands of the STAC item"),
        (earth_search(True), 0.0, "boa_offset_applied of the STAC item"),
        (planetary_computer("04.00"), -0.1, "processing baseline 04.00 of the STAC item"),
        (planetary_computer("03.01"), 0.0, "processing baseline 03.01 of the STAC item"),
        (stac_1_1(), -0.1, "raster:bands of the STAC item"),
    ],
)
def test_an_item_states_bands_level_scale_and_offset(bands, content, offset, source):
    with Scene(write_item(bands, content)) as scene:
        encoding = scene.recognise_encoding(scene.sample())
        assert scene.selection.names == ("B04", "B03", "B02")
        assert [file.name for file in scene.files] == ["B02.tif", "B03.tif", "B04.tif"]
    assert encoding.offset == pytest.approx((offset,) * 3) and encoding.scale == pytest.approx((1e-4,) * 3)
    assert (encoding.certainty, encoding.level, encoding.evidence) == ("stated", "L2A", (source,))


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"scale": 0, "offset": 0}, "a scale of 0 and an offset of 0 for band B04, which is not a scale"),
        ({"scale": -1e-4}, "a scale of -0.0001 and an offset of 0 for band B04"),
        ({"scale": 1e-4}, "a scale or an offset for some of its bands, and none for band B03"),
    ],
)
def test_an_item_that_states_no_scale_or_that_of_a_single_band_is_one_line(bands, stated, message):
    content = planetary_computer(None)
    content["assets"]["B04"]["raster:bands"] = [stated]
    with Scene(write_item(bands, content)) as scene, pytest.raises(DataError, match=message):
        scene.recognise_encoding(scene.sample())


def test_one_asset_of_several_bands_is_read_by_their_names(bands, tmp_path):
    with rasterio.open(bands / "B08.tif") as file:
        pixels = np.stack([file.read(1) + n for n in range(4)], -1)[:64, :64]
    write_scene(tmp_path / "all.tif", pixels, **PLACE)
    stated = [{"name": name} for name in EARTH_SEARCH]
    asset = {"data": {"href": "all.tif", "type": COG, "eo:bands": stated}}
    with Scene(write_item(tmp_path, item(asset, {})), ["B08", "red"]) as scene:
        assert np.array_equal(scene.sample(), pixels[..., [3, 2]].transpose(2, 0, 1))


@pytest.mark.parametrize("prefix", ["", "{address}/"])
def test_a_served_item_is_read_by_window(bands, tmp_path, prefix):
    log = tmp_path / "served.txt"
    with serve_folder(bands, log) as address:
        write_item(bands, earth_search(False, prefix.format(address=address)), "served.json")
        with Scene(f"{address}/served.json") as scene, Scene(write_item(bands, earth_search(False))) as local:
            scaling = _scaling(scene)
            window = {"height": 100, "width": 100, "scaling": scaling}
            served = scene.read_window(512, 512, **window)[0]
            assert np.array_equal(served, local.read_window(512, 512, **window)[0])
            assert scene.files == []
    answers = [line.split() for line in log.read_text().splitlines()]
    read = sum(int(size) for path, size in answers if path.endswith(".tif"))
    assert 0 < read < sum((bands / f"{name}.tif").stat().st_size for name in ("B02", "B03", "B04")) / 2


def _scaling(scene):
    from orbitune.mapping.scene.radiometry import ReflectanceScaling

    return ReflectanceScaling(low=(1000.0,) * 3, high=(3750.0,) * 3, source="")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no STAC item: "),
        ("[]", "is no STAC item but other JSON: name an item."),
        (json.dumps({"type": "Collection"}), "is no STAC item but Collection: name an item."),
        (json.dumps(item({}, {})), "has no raster of a band among its assets."),
        (
            json.dumps(item({"B04": {"href": "none.tif", "type": COG}}, {})),
            ": it has B04.",
        ),
    ],
)
def test_an_item_that_cannot_be_read_is_one_line(tmp_path, content, message):
    (tmp_path / "item.json").write_text(content)
    with pytest.raises(DataError) as refused:
        Scene(tmp_path / "item.json")
    assert message in str(refused.value) and "\n" not in str(refused.value)


RED = {"href": "B04.tif", "type": COG}


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"assets": None}, "assets is missing"),
        ({"assets": []}, "assets must be an object, not []"),
        ({"assets": {"red": "B04.tif"}}, "assets.red must be an object, not 'B04.tif'"),
        ({"assets": {"red": {"type": COG}}}, "assets.red.href is missing"),
        ({"assets": {"red": {"href": 3}}}, "assets.red.href must be text, not 3"),
        ({"assets": {"red": {**RED, "type": 3}}}, "assets.red.type must be text, not 3"),
        ({"assets": {"red": {**RED, "roles": "data"}}}, "assets.red.roles must be a list, not 'data'"),
        ({"assets": {"red": {**RED, "eo:bands": "x"}}}, "assets.red.eo:bands must be a list, not 'x'"),
        ({"assets": {"red": {**RED, "bands": ["x"]}}}, "assets.red.bands must be an object, not 'x'"),
        (
            {"assets": {"red": {**RED, "bands": [{"name": 4}]}}},
            "the name of a band of assets.red must be text, not 4",
        ),
        (
            {"assets": {"red": {**RED, "raster:bands": [{"scale": "a"}]}}},
            "assets.red.scale must be a number, not 'a'",
        ),
        ({"assets": {"red": {**RED, "nodata": []}}}, "assets.red.nodata must be a number, not []"),
        ({"properties": None}, "properties is missing"),
        ({"properties": [1]}, "properties must be an object, not [1]"),
        (
            {"properties": {"s2:processing_baseline": "abc"}},
            "properties.s2:processing_baseline must be a number, not 'abc'",
        ),
    ],
)
def test_a_field_that_is_missing_or_wrong_is_named(tmp_path, changed, fault):
    path = write_item(tmp_path, {**item({"red": RED}, {}), **changed})
    with pytest.raises(DataError) as refused:
        Scene(path)
    assert str(refused.value) == f"Cannot read the STAC item {path}: {fault}. Correct it, or get it again."


def test_an_asset_or_an_item_that_is_not_there_is_one_line(bands, tmp_path):
    content = item({name: {"href": f"{name}.tif", "type": COG} for name in ("B02", "B03", "B04")}, {})
    with pytest.raises(DataError, match=r"^Cannot open .*B0\d\.tif: "):
        Scene(write_item(tmp_path, content))
    with pytest.raises(DataError, match=r"^Cannot read http://127\.0\.0\.1:9/item\.json: "):
        Scene("http://127.0.0.1:9/item.json")
    with (
        serve_folder(bands, tmp_path / "served.txt") as address,
        pytest.raises(DataError, match="HTTP Error 404"),
    ):
        Scene(f"{address}/none.json")
