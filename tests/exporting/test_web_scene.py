"""The exported page maps a window of a scene as `orbitune map` does."""

import gzip
import re

import numpy as np
import pytest
from browser import accessibility_faults, open_browser
from PIL import Image
from scenes import UTM, mosaic, write_scene
from web_pages import OFFLINE, STARTED, served, visit

from orbitune.exporting.onnx_export import open_session
from orbitune.integrity import read_json
from orbitune.mapping.grid import NODATA, NOT_SURE, encode_cells, select_cells
from orbitune.mapping.map_plan import plan_map
from orbitune.mapping.options import MapOptions
from orbitune.mapping.worker import Worker

pytest.importorskip("rasterio", reason="needs the extra geo")
from rasterio.transform import Affine, from_origin

pytestmark = pytest.mark.browser

TILE = 16
BLOCKS = {"tiled": True, "blockxsize": 32, "blockysize": 32}
READ = """() => {
  const canvas = document.getElementById("labels");
  const { width, height } = canvas;
  return [height, width, ...canvas.getContext("2d").getImageData(0, 0, width, height).data];
}"""


@pytest.fixture(scope="module")
def pixels(tiles):
    """uint8 (80, 96, 3): training tiles, the classes mixed."""
    files = sorted(tiles.rglob("*.png"))
    chosen = np.random.default_rng(0).permutation(len(files))[:30]
    return mosaic(np.stack([np.asarray(Image.open(files[n])) for n in chosen]).reshape(5, 6, TILE, TILE, 3))


def open_scene(page, scene):
    """Give a scene to the page, and wait until it can be mapped."""
    page.set_input_files("#files", scene)
    page.wait_for_selector("#scene-map:enabled")


def map_window(page, folder):
    """Map the window; return the codes that the page paints, and its legend."""
    page.click("#scene-map")
    page.wait_for_selector("#scene-done:not(:empty)")
    height, width, *values = page.evaluate(READ)
    colours = read_json(folder / "model.json")["scene"]
    table = {tuple(colour): code for code, colour in enumerate(colours["colours"], 1)}
    table |= {tuple(colours["not_sure"]): NOT_SURE}
    painted = np.array(values).reshape(height * width, 4)
    codes = [table[tuple(pixel[:3])] if pixel[3] else NODATA for pixel in painted.tolist()]
    return np.array(codes).reshape(height, width), page.inner_text("#legend")


def expected(folder, bundle, scene, tmp_path, **options):
    """The codes of `orbitune map` tile by tile, with the page's graph in place of PyTorch's bf16."""
    paths = {"map": tmp_path / "map.tif"}
    plan = plan_map(bundle.folder, [scene], paths=paths, options=MapOptions(mode="tiles", **options))
    worker = Worker(plan.spec)
    window = worker.read_cells(0, 0, rows=plan.spec.cells.rows, columns=plan.spec.cells.columns)
    worker.close()
    where = select_cells(window)
    session = open_session(gzip.decompress((folder / "model.onnx.gz").read_bytes()))
    known, scores = session.run(["probabilities", "ood_score"], {"tiles": window.tiles(where)})
    outside = scores > read_json(folder / "model.json")["not_sure"]["threshold"]
    predicted = np.column_stack([known * ~outside[:, None], outside])
    return encode_cells(window, where, predicted=predicted)[0]


def scenes(folder, pixels):
    """Scenes of each encoding that the page reads, with gaps, and one whose edge cuts tiles."""
    hole = pixels.copy()
    hole[:30, :40] = 255  # saturated
    numbers = pixels.astype(np.uint16) * 10
    numbers[0, 0] = 5
    return [
        write_scene(folder / "plain.tif", pixels, compress="deflate"),
        write_scene(
            folder / "edge.tif", pixels[:70, :90], tiled=True, blockxsize=32, blockysize=32, compress="lzw"
        ),
        write_scene(folder / "hole.tif", hole, interleave="band"),
        write_scene(folder / "nodata.tif", np.where(hole == 255, 7, np.maximum(hole, 8)), nodata=7),
        write_scene(folder / "numbers.tif", numbers, compress="deflate", predictor=2),
        write_scene(folder / "offset.tif", numbers + 1000),
        write_scene(folder / "floats.tif", (numbers / 10_000).astype(np.float32), compress="deflate"),
    ]


def test_a_window_is_labelled_as_by_orbitune_map(folder, bundle, pixels, tmp_path):
    files = scenes(tmp_path, pixels)
    with open_browser(1280, 900) as page, served(folder) as (address, _):
        errors = visit(page, address)
        for scene in files:
            open_scene(page, scene)
            codes, legend = map_window(page, folder)
            assert codes.tolist() == expected(folder, bundle, scene, tmp_path).tolist(), scene.name
            shares = [float(found) for found in re.findall(r"([\d.]+) %", legend)]
            assert sum(shares) == pytest.approx(100, abs=0.3)
        assert errors == []


def test_bands_are_found_by_their_names_or_chosen(folder, bundle, pixels, tmp_path):
    import rasterio

    scene = write_scene(tmp_path / "bands.tif", np.dstack([pixels[..., ::-1], pixels[..., :1]]))
    with rasterio.open(scene, "r+") as file:
        file.descriptions = ("B02", "B03", "B04", "B08")
    with open_browser(1280, 900) as page, served(folder) as (address, _):
        visit(page, address)
        open_scene(page, scene)
        assert page.inner_text("#scene-status").startswith("Bands 3, 2, 1 (by their descriptions).")
        codes = map_window(page, folder)[0]
        assert codes.tolist() == expected(folder, bundle, scene, tmp_path).tolist()
        page.click("#scene-reading summary")
        page.select_option("#scene-red", "0")
        page.wait_for_selector("text=Bands 1, 2, 1 (as given)")
        codes = map_window(page, folder)[0]
        assert codes.tolist() == expected(folder, bundle, scene, tmp_path, bands=(1, 2, 1)).tolist()


def test_a_window_is_chosen_stopped_and_mapped_without_a_network(folder, bundle, pixels, tmp_path):
    scene = write_scene(tmp_path / "scene.tif", np.tile(pixels, (4, 4, 1)))
    with open_browser(1280, 900) as page, served(folder) as (address, stop):
        visit(page, address)
        page.wait_for_selector(OFFLINE)
        stop()
        page.reload()
        page.wait_for_selector(STARTED)
        open_scene(page, scene)
        for name, value in (("side", 3), ("left", 2), ("top", 1)):
            page.fill(f"#scene-{name}", str(value))
        page.dispatch_event("#scene-top", "change")
        codes = map_window(page, folder)[0]
        assert codes.tolist() == expected(folder, bundle, scene, tmp_path)[1:4, 2:5].tolist()
        page.fill("#scene-side", "20")
        page.evaluate("for (const id of ['scene-map', 'scene-stop']) document.getElementById(id).click()")
        page.wait_for_selector("text=/Stopped after [0-9,]+ of/")
        page.click("#overview", position={"x": 5, "y": 5})
        assert page.input_value("#scene-left") == "0"


def test_a_scene_that_cannot_be_mapped_gets_a_sentence(folder, pixels, tmp_path):
    bare = np.full((64, 64, 3), 2500, np.uint16) + np.arange(64, dtype=np.uint16)[:, None] * 30
    files = {
        "text.tif": None,
        "tile.tif": pixels,
        "cut.tif": None,
        "small.tif": pixels[:10, :10],
        "two.tif": pixels[..., :2],
        "degrees.tif": pixels,
        "mercator.tif": pixels,
        "coarse.tif": pixels,
        "sphere.tif": pixels,
        "jpeg.tif": pixels,
        "big.tif": pixels.astype(np.uint16),
        "bare.tif": bare,
        "sheared.tif": pixels,
    }
    profiles = {
        "tile.tif": {"crs": None, "transform": Affine.identity(), "compress": "jpeg"},
        "degrees.tif": {"crs": "EPSG:4326", "transform": from_origin(-58.4, -34.6, 1e-4, 1e-4)},
        "mercator.tif": {"crs": "EPSG:3857"},
        "coarse.tif": {"metres": 30.0},
        "sphere.tif": {"crs": "EPSG:4087"},  # plate carrée, in metres
        "jpeg.tif": {"compress": "jpeg"},
        "sheared.tif": {"transform": Affine(10, 5, 600_000, 0, -10, 5_500_000)},
        "big.tif": {"ENDIANNESS": "BIG", "compress": "deflate", "predictor": 2},
    }
    for name, content in files.items():
        if content is not None:
            write_scene(tmp_path / name, content, **profiles.get(name, {}))
    empty_blocks(tmp_path / "blocks.tif")
    files["blocks.tif"] = None
    (tmp_path / "text.tif").write_text("not a picture")
    (tmp_path / "cut.tif").write_bytes((tmp_path / "coarse.tif").read_bytes()[:900])
    said = {}
    with open_browser(1280, 900) as page, served(folder) as (address, _):
        visit(page, address)
        for name in files:
            page.set_input_files("#files", tmp_path / name)
            page.wait_for_selector("#scene-problem:not([hidden])")
            said[name] = page.inner_text("#scene-problem")
            assert page.is_disabled("#scene-map")
            page.click("#scene-close")
    assert said["text.tif"] == "text.tif is damaged, or no GeoTIFF."
    assert "damaged" in said["cut.tif"]
    assert said["small.tif"] == "small.tif is 10x10 pixels, smaller than one tile of 16."
    assert said["two.tif"] == "two.tif has fewer than three bands: red, green and blue are needed."
    assert said["tile.tif"] == (
        "tile.tif states no place on Earth: this page opens no TIFF tiles, so save it as PNG. "
        "To map it as a scene it has to be georeferenced."
    )
    assert "-t_srs EPSG:32721 -tr 10 10 IN.tif OUT.tif, in the UTM zone" in said["degrees.tif"]
    assert "-t_srs EPSG:32631 -tr 10 10 IN.tif OUT.tif, in the UTM zone" in said["mercator.tif"]
    for name in ("degrees.tif", "mercator.tif", "sphere.tif"):
        assert said[name].startswith(f"{name} has pixels that are not measured in metres on the ground: ")
    assert said["coarse.tif"].startswith("Its pixels have 30 m, and those of the training tiles 10 m: ")
    assert "compression (7)" in said["jpeg.tif"]
    assert "differences in big-endian order" in said["big.tif"]
    assert "no dark pixels" in said["bare.tif"]
    assert said["sheared.tif"].startswith(
        "sheared.tif has sheared pixels, with 63 degrees between their sides: "
    )
    assert "is stored in blocks of 403 MB, of which a page holds 256 MB: " in said["blocks.tif"]


def empty_blocks(path):
    """A scene of 12 bands, in a block of 4096 x 4096 pixels that holds nothing."""
    import rasterio

    profile = {"driver": "GTiff", "dtype": "uint16", "count": 12, "height": 4096, "width": 4096, "crs": UTM}
    blocks = {"tiled": True, "blockxsize": 4096, "blockysize": 4096, "sparse_ok": True}
    with rasterio.open(path, "w", transform=from_origin(6e5, 5.5e6, 10, 10), **profile, **blocks):
        pass


def test_a_refused_scene_shows_nothing_of_the_last_one(folder, pixels, tmp_path):
    good = write_scene(tmp_path / "good.tif", pixels)
    bare = write_scene(tmp_path / "bare.tif", pixels.astype(np.uint16) * 20 + 3000)
    (tmp_path / "text.tif").write_text("not a picture")
    with open_browser(1280, 900) as page, served(folder) as (address, _):
        visit(page, address)
        for refused, reason in ((tmp_path / "text.tif", "no GeoTIFF"), (bare, "no dark pixels")):
            open_scene(page, good)
            map_window(page, folder)
            page.set_input_files("#files", refused)
            page.wait_for_selector("#scene-problem:not([hidden])")
            assert reason in page.inner_text("#scene-problem")
            shown = page.text_content("#scene")
            assert "good.tif" not in shown and "8 bits, as they are" not in shown
            assert page.is_hidden("#overview") and page.is_hidden("#scene-result")
            assert page.inner_text("#scene-facts").startswith("96 x 80") == (refused == bare)  # its own


def test_a_scene_takes_the_place_of_an_answer_and_is_put_away_by_clear(folder, pixels, tiles, tmp_path):
    scene = write_scene(tmp_path / "scene.tif", pixels)
    tile = next(iter(sorted(tiles.rglob("*.png"))))
    (tmp_path / "text.tif").write_text("not a picture")
    with open_browser(390, 844) as page, served(folder) as (address, _):
        visit(page, address)
        page.set_input_files("#files", tile)
        page.wait_for_selector("#verdict[data-state=done]")
        open_scene(page, scene)
        assert tile.name not in page.inner_text("#verdict") and page.is_hidden("#picture")
        assert abs(page.locator("#scene").bounding_box()["y"]) < 5  # on top of the screen
        page.click("#clear")
        assert page.is_hidden("#scene")
        page.set_input_files("#files", tmp_path / "text.tif")
        page.wait_for_selector("#scene-problem:not([hidden])")
        page.set_input_files("#files", [tile, tmp_path / "text.tif"])
        page.wait_for_selector("#batch[hidden]", state="attached")
        assert page.is_hidden("#scene")


def test_a_wide_scene_of_many_bands_is_read_in_parts(folder, bundle, pixels, tmp_path):
    wide = np.tile(
        pixels.astype(np.uint16) * 10, (1, 80, 4)
    )  # 80 x 7,680 pixels of 12 bands, 18 MB in blocks
    wide[0, 0] = 5
    scene = write_scene(tmp_path / "wide.tif", wide, compress="deflate", **BLOCKS)
    with open_browser(1280, 900) as page, served(folder) as (address, _):
        visit(page, address)
        open_scene(page, scene)
        assert "12 bands" in page.inner_text("#scene-facts")
        left = int(page.input_value("#scene-left"))
        codes = map_window(page, folder)[0]
    assert codes.tolist() == expected(folder, bundle, scene, tmp_path)[:, left : left + 16].tolist()


def test_a_turned_scene_is_labelled_as_by_orbitune_map(folder, bundle, pixels, tmp_path):
    turned = Affine.translation(600_000, 5_500_000) @ Affine.rotation(30) @ Affine.scale(10, -10)
    scene = write_scene(tmp_path / "turned.tif", pixels, transform=turned)
    with open_browser(1280, 900) as page, served(folder) as (address, _):
        visit(page, address)
        open_scene(page, scene)
        codes = map_window(page, folder)[0]
    assert codes.tolist() == expected(folder, bundle, scene, tmp_path).tolist()


def test_values_that_nothing_tells_can_be_given(folder, bundle, pixels, tmp_path):
    scene = write_scene(tmp_path / "bare.tif", pixels.astype(np.uint16) * 20 + 3000)
    with open_browser(1280, 900) as page, served(folder) as (address, _):
        visit(page, address)
        page.set_input_files("#files", scene)
        page.wait_for_selector("#scene-problem:not([hidden])")
        page.fill("#scene-low", "3000")
        page.fill("#scene-high", "2000")
        page.dispatch_event("#scene-high", "change")
        assert page.locator("#scene-high:invalid").count() == 1
        page.fill("#scene-high", "8100")
        page.dispatch_event("#scene-high", "change")
        page.wait_for_selector("#scene-map:enabled")
        codes = map_window(page, folder)[0]
        assert codes.tolist() == expected(folder, bundle, scene, tmp_path, scale="3000:8100").tolist()


def test_a_block_that_is_damaged_ends_the_map_with_a_reason(folder, tmp_path):
    import rasterio

    pixels = np.broadcast_to(np.arange(1792, dtype=np.uint8)[:, None, None], (1792, 1792, 3))
    profile = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}
    scene = write_scene(tmp_path / "cut.tif", pixels, **profile)
    with rasterio.open(scene, "r+") as file:
        file.build_overviews([2])  # read first, and intact
    with Image.open(scene) as file:
        place = file.tag_v2[324][0]
    content = bytearray(scene.read_bytes())
    content[place : place + 40] = bytes(40)
    scene.write_bytes(content)
    with open_browser(1280, 900) as page, served(folder) as (address, _):
        visit(page, address)
        open_scene(page, scene)
        for name, value in (("side", 2), ("left", 0), ("top", 0)):
            page.fill(f"#scene-{name}", str(value))
        page.click("#scene-map")
        page.wait_for_selector("#scene-done:not(:empty)")
        assert page.inner_text("#scene-problem") == "cut.tif is damaged near row 0."
        assert page.inner_text("#scene-done") == "Stopped after 0 of 4 labels."


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_map_is_accessible_and_fits_every_screen(folder, pixels, tmp_path, scheme):
    scene = write_scene(tmp_path / "T32TLT_20230904T102601_clipped_to_the_area_10m.tif", pixels)
    with open_browser(1280, 844) as page, served(folder) as (address, _):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        visit(page, address)
        open_scene(page, scene)
        map_window(page, folder)
        page.click("#scene-reading summary")
        assert re.match("Map of the window: .+ %", page.get_attribute("#layers", "aria-label"))
        for width in (1280, 768, 390):
            page.set_viewport_size({"width": width, "height": 844})
            assert accessibility_faults(page) == [], width
            assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.shared
@pytest.mark.parametrize(
    "name",
    ["sentinel2_l1c_beaufort_utm18n_10m.tif", "switzerland_vaumarcus_offset1000/concise.tif"],
)
def test_a_real_scene_is_labelled_as_by_orbitune_map(folder, bundle, shared, tmp_path, name):
    scene = shared / "scenes" / name
    with open_browser(1280, 900) as page, served(folder) as (address, _):
        visit(page, address)
        open_scene(page, scene)
        page.fill("#scene-side", "32")
        page.dispatch_event("#scene-side", "change")
        left, top = (int(page.input_value(f"#scene-{edge}")) for edge in ("left", "top"))
        codes = map_window(page, folder)[0]
    wanted = expected(folder, bundle, scene, tmp_path)[
        top : top + codes.shape[0], left : left + codes.shape[1]
    ]
    assert (codes == wanted).mean() > 0.995
