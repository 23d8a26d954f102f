"""The viewer's tiles are the files' pixels, and it works under its policy."""

import json
import re
import urllib.error
import urllib.request

import numpy as np
import pytest
from browser import open_browser
from served_app import serving

from orbitune.serving.service import PredictionService

rasterio = pytest.importorskip("rasterio", reason="needs orbitune[geo]")
pytest.importorskip("pyogrio", reason="needs orbitune[geo]")

HEIGHT, WIDTH = 300, 610


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Stripes of the three classes, 300 x 610 pixels of 8 m, one corner empty."""
    colours = np.eye(3)[np.arange(WIDTH) * 3 // WIDTH] * 120 + 60
    pixels = np.random.default_rng(0).normal(colours, 40, (HEIGHT, WIDTH, 3)).clip(0, 254).astype(np.uint8)
    pixels[:40, :40] = 255
    path = tmp_path_factory.mktemp("viewer") / "stripes.tif"
    place = rasterio.transform.from_origin(6e5, 5.2e6, 8, 8)
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "crs": "EPSG:32632", "transform": place}
    with rasterio.open(path, "w", height=HEIGHT, width=WIDTH, **profile) as file:
        file.write(pixels.transpose(2, 0, 1))
    return path


@pytest.fixture(scope="module")
def made(address, scene, tmp_path_factory):
    """The address of a map's viewer, and its codes and percentages."""
    import zipfile

    from gradio_client import Client, handle_file

    client = Client(address, verbose=False)
    viewer, _, _, download = client.predict(handle_file(scene), "", "", 16, "bundle", api_name="/map")
    folder = tmp_path_factory.mktemp("files")
    with zipfile.ZipFile(download["value"] if isinstance(download, dict) else download) as packed:
        packed.extractall(folder)
    bands = []
    for name in ("landcover.tif", "confidence.tif"):
        with rasterio.open(folder / name) as file:
            bands.append(file.read(1))
    return f"{address}/" + re.search('src="(map/[0-9a-f]{32}/)"', viewer)[1], np.stack(bands)


def get(url):
    with urllib.request.urlopen(url) as answer:
        return answer.read(), answer.headers


def status(url):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url)
    return refused.value.code


def labels(url):
    """Codes and percentages of a tile, uint8 (2, 256, 256)."""
    import gzip

    content, headers = get(url)
    assert headers["content-encoding"] == "gzip"
    return np.frombuffer(gzip.decompress(content), np.uint8).reshape(2, 256, 256)


def test_tiles_of_the_last_zoom_are_the_pixels_of_the_files(made):
    url, bands = made
    facts = json.loads(get(f"{url}map.json")[0])
    assert (facts["width"], facts["height"], facts["zoom"]) == (WIDTH, HEIGHT, 2)
    whole = np.zeros((2, 512, 768), np.uint8)
    for y in range(2):
        for x in range(3):
            whole[:, 256 * y : 256 * y + 256, 256 * x : 256 * x + 256] = labels(f"{url}labels/2/{x}/{y}.bin")
    assert np.array_equal(whole[:, :HEIGHT, :WIDTH], bands)
    assert not whole[:, HEIGHT:].any() and not whole[..., WIDTH:].any()
    assert (bands[0, :40, :40] == 0).all() and (bands[0, 40:] > 0).all()


def test_tiles_of_smaller_zooms_cover_the_same_ground(made):
    url, bands = made
    rows, columns = HEIGHT // 4, WIDTH // 4
    small = labels(f"{url}labels/0/0/0.bin")[0]
    assert (small[:rows, :columns] == bands[0, 2::4, 2::4][:rows, :columns]).mean() > 0.95


def test_tiles_of_the_scene_are_pictures_that_are_clear_where_it_has_no_data(made):
    import io

    from PIL import Image

    content, headers = get(f"{made[0]}scene/2/0/0.webp")
    assert headers["content-type"] == "image/webp"
    picture = np.asarray(Image.open(io.BytesIO(content)).convert("RGBA"))
    assert picture.shape == (256, 256, 4)
    assert (picture[:40, :40, 3] == 0).all() and (picture[41:, :, 3] == 255).all()
    assert picture[100:, :200, :3].mean((0, 1)).argmax() == 0  # the first class is red


def test_the_legend_has_the_codes_names_and_areas_of_the_map(made):
    url, bands = made
    codes = json.loads(get(f"{url}map.json")[0])["codes"]
    assert [each["name"] for each in codes] == ["class_0", "class_1", "class_2", "not sure"]
    for each in codes:
        assert each["hectares"] == pytest.approx((bands[0] == each["code"]).sum() * 64 / 1e4, rel=0.01)


@pytest.mark.parametrize(
    "path",
    ["scene/9/0/0.webp", "scene/2/3/0.webp", "labels/2/0/2.bin", "labels/0/0/1.bin", "scene.tif", "../x/"],
)
def test_what_is_no_tile_is_not_found(made, path):
    assert status(f"{made[0]}{path}") == 404


def test_maps_that_do_not_exist_are_not_found(address):
    assert status(f"{address}/map/{'0' * 32}/") == 404
    assert status(f"{address}/map/{'0' * 32}/map.json") == 404
    assert status(f"{address}/map-assets/license") == 404


def test_only_the_app_may_frame_the_viewer_and_nothing_foreign_is_loaded(made):
    _, headers = get(made[0])
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self';" in policy
    assert "frame-ancestors 'self'" in policy and headers["x-frame-options"] == "SAMEORIGIN"
    assert get(f"{made[0]}map.json")[1]["x-frame-options"] == "DENY"


def test_the_viewer_needs_the_login(bundle):
    with serving(PredictionService({"bundle": bundle.folder}), login=("me", "secret")) as address:
        for path in ("", "map.json", "scene/0/0/0.webp", "labels/0/0/0.bin"):
            assert status(f"{address}/map/{'0' * 32}/{path}") == 401


def map_in_browser(page, address, scene):
    """Upload and map a scene; return the viewer's frame with its first tiles."""
    page.goto(address)
    page.get_by_role("button", name="Map", exact=True).click()
    page.get_by_label("Scene").set_input_files(str(scene))
    page.get_by_role("button", name="Make the map").click()
    frame = page.frame_locator("#viewer iframe")
    frame.locator("body[data-ready]").wait_for(timeout=60_000)
    page.locator("#viewer iframe").scroll_into_view_if_needed()
    frame.locator("canvas.leaflet-tile-loaded").first.wait_for()
    frame.locator("img.leaflet-tile-loaded").first.wait_for()
    return frame


@pytest.mark.browser
def test_a_scene_in_degrees_is_drawn_in_the_proportions_of_the_ground(address, tmp_path):
    colours = np.eye(3)[np.arange(300) * 3 // 300] * 120 + 60  # stripes from west to east, one a class
    pixels = np.random.default_rng(0).normal(colours[:, None], 40, (300, 300, 3)).clip(0, 254)
    place = rasterio.transform.from_origin(10, 60, 1e-4, 1e-4)  # where a degree east is half a degree north
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "crs": "EPSG:4326", "transform": place}
    path = tmp_path / "stripes.tif"
    with rasterio.open(path, "w", height=300, width=300, **profile) as file:
        file.write(pixels.astype(np.uint8).transpose(2, 0, 1))
    with open_browser(1280, 900) as page:
        frame = map_in_browser(page, address, path)
        tile = frame.locator("img.leaflet-tile-loaded").first.bounding_box()
        assert tile["height"] / tile["width"] == pytest.approx(2, abs=0.03)
        box = frame.locator("#map").bounding_box()
        for down, name in ((0.2, "class_0"), (0.9, "class_2")):  # the map fills the height of its frame
            page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + down * box["height"])
            frame.locator("#readout").get_by_text(name).wait_for()


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser_from_upload_to_layers_and_the_class_under_the_pointer(address, scene, width):
    with open_browser(width, 900) as page:
        faults = []
        page.on("console", lambda message: message.type == "error" and faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        frame = map_in_browser(page, address, scene)
        box = frame.locator("#map").bounding_box()
        page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
        readout = frame.locator("#readout")
        readout.get_by_text("class_1").wait_for()
        assert re.fullmatch(r"class_1\d+ %46\.\d{5}° N, 10\.\d{5}° E", readout.inner_text().replace("\n", ""))
        assert frame.locator("#legend li").count() >= 3
        frame.get_by_label("Probability", exact=True).check()
        frame.locator("#layers input[type=range]").nth(1).fill("20")
        assert frame.locator(".leaflet-layer").count() == 3
        before = frame.locator("img.leaflet-tile").first.get_attribute("src")
        frame.locator(".leaflet-control-zoom-in").click()
        frame.locator(f'img.leaflet-tile-loaded:not([src="{before}"])').first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert not [fault for fault in faults if "map" in fault.lower()]
