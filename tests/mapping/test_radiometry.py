"""Tags of a file are honoured: colours, scale, offset, masks and palettes."""

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin
from scenes import mosaic, write_scene

from orbitune.errors import DataError
from orbitune.mapping.scene.radiometry import ReflectanceScaling, choose_scaling
from orbitune.mapping.scene.reader import Scene

AS_IT_IS = ReflectanceScaling(low=(0.0,) * 3, high=(255.0,) * 3, source="")
PLACE = {"crs": "EPSG:32632", "transform": from_origin(600_000, 5_500_000, 10, 10)}


def tag(file, scales=None, offsets=None, colours=None, descriptions=None, tags=None):
    """Write into a GeoTIFF what it says of its bands."""
    with rasterio.open(file, "r+") as opened:
        if scales:
            opened.scales = scales
        if offsets:
            opened.offsets = offsets
        if colours:
            opened.colorinterp = [ColorInterp[name] for name in colours]
        for band, name in enumerate(descriptions or (), 1):
            opened.set_band_description(band, name)
        opened.update_tags(**(tags or {}))
    return file


def numbers(grid):
    """The mosaic as Sentinel-2's digital numbers, without an offset."""
    return (mosaic(grid).astype(float) * 2750 / 255).round()


# --- scale and offset -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "dtype", "tags"),
    [
        (lambda dn: dn + 1000, np.uint16, {"scales": [1e-4] * 3, "offsets": [-0.1] * 3}),
        (lambda dn: dn + 1000, np.uint16, {"offsets": [-1000] * 3}),
        (lambda dn: dn + 1000, np.uint16, {"tags": {"BOA_ADD_OFFSET": "-1000"}}),
        (lambda dn: dn + 1000, np.uint16, {"tags": {"RADIO_ADD_OFFSET": "-1000.0"}}),
        (lambda dn: dn + 1000, np.uint16, {"tags": {f"BOA_ADD_OFFSET_{n}": "-1000" for n in range(13)}}),
        (lambda dn: dn + 1000, np.uint16, {"scales": [1e-4] * 3, "tags": {"BOA_ADD_OFFSET": "-1000"}}),
        (
            lambda dn: dn + 1000,
            np.uint16,
            {"tags": {"BOA_QUANTIFICATION_VALUE": "10000", "BOA_ADD_OFFSET": "-1000"}},
        ),
        (lambda dn: dn, np.uint16, {"tags": {"QUANTIFICATION_VALUE": "10000"}}),
        (lambda dn: dn - 5000, np.int16, {"offsets": [5000] * 3}),
        (lambda dn: dn / 1e4 * 65535, np.uint16, {"scales": [1 / 65535] * 3}),
        (lambda dn: (dn / 1e4 + 0.2) / 2.75e-5, np.uint16, {"scales": [2.75e-5] * 3, "offsets": [-0.2] * 3}),
        (lambda dn: dn, np.float32, {"scales": [1e-4] * 3}),
        (lambda dn: dn / 1e4 + 0.1, np.float32, {"offsets": [-0.1] * 3}),
        (
            lambda dn: dn * np.array([1, 2, 4]) + np.array([0, 100, 1000]),
            np.uint16,
            {"scales": [1e-4, 0.5e-4, 0.25e-4], "offsets": [0, -0.005, -0.025]},
        ),
    ],
)
def test_scale_and_offset_in_the_tags_are_honoured(draw, scene_codes, grid, tmp_path, raw, dtype, tags):
    file = tag(
        write_scene(
            tmp_path / "s.tif", raw(numbers(grid)).round(6 if dtype == np.float32 else 0).astype(dtype)
        ),
        **tags,
    )
    drawn = draw(file)
    assert np.mean(drawn.codes == scene_codes) > 0.9  # 16 bits round otherwise
    assert (
        "in the file's tags" in drawn.said[2]
        and "in the file's tags" in drawn.report.metadata.encoding.evidence[0]
    )


def test_the_note_says_how_baseline_0400_is_handled(draw, grid, tmp_path):
    file = write_scene(tmp_path / "s.tif", (numbers(grid) + 1000).astype(np.uint16))
    drawn = draw(tag(file, scales=[1e-4] * 3, offsets=[-0.1] * 3))
    assert drawn.said[0] == (
        "scaling: 1000 to 3750, 1000 to 3750, 1000 to 3750 become 0 to 255 (reflectance 0 to 0.275, by "
        "scale and offset in the file's tags)"
    )


def test_offsets_that_differ_are_one_line_and_may_be_overruled(draw, grid, tmp_path):
    """The numbers of such tags are those of the product's bands, not of the file's."""
    file = tag(
        write_scene(tmp_path / "s.tif", (numbers(grid) + 1000).astype(np.uint16)),
        tags={"BOA_ADD_OFFSET_1": "-1000", "BOA_ADD_OFFSET_2": "-500"},
    )
    with pytest.raises(DataError, match=r"states different offsets, BOA_ADD_OFFSET_1, .*--scale, such as"):
        draw(file)
    assert (draw(file, scale="1000:3750").codes > 0).all()


def test_scale_overrules_the_tags(draw, scene_codes, grid, tmp_path):
    wrong = tag(write_scene(tmp_path / "s.tif", numbers(grid).astype(np.uint16)), offsets=[-1000] * 3)
    drawn = draw(wrong, scale="0:2750")
    assert np.mean(drawn.codes == scene_codes) > 0.95
    assert drawn.said[0].endswith("become 0 to 255 (given)")


def test_the_white_of_training_tiles_of_16_bits_is_kept_by_tags(tmp_path, grid):
    file = tag(write_scene(tmp_path / "s.tif", numbers(grid).astype(np.uint16)), scales=[1e-4] * 3)
    with Scene(file) as scene:
        sample = scene.sample()
        scaling = choose_scaling(scene.recognise_encoding(sample), scale_max=4000)
    assert (scaling.low, scaling.high) == ((0.0,) * 3, (4000.0,) * 3)


@pytest.mark.parametrize("values", [{"scales": [1e-4, 1e-4, 1]}, {"offsets": [-1000, -1000, 0]}])
def test_scales_of_some_bands_alone_are_one_line_that_names_another(tmp_path, grid, values):
    file = tag(write_scene(tmp_path / "s.tif", numbers(grid).astype(np.uint16)), **values)
    with Scene(file) as scene, pytest.raises(DataError, match=r"none for band 3, so .*--scale, such as"):
        scene.recognise_encoding(scene.sample())


@pytest.mark.parametrize(
    ("scale", "offset"), [(0.0, 0.0), (-1e-4, 0.0), (float("nan"), 0.0), (1.0, float("inf"))]
)
def test_a_scale_that_is_none_is_one_line_and_may_be_overruled(draw, grid, tmp_path, scale, offset):
    file = tag(write_scene(tmp_path / "s.tif", mosaic(grid)), scales=[1, scale, 1], offsets=[0, offset, 0])
    with pytest.raises(DataError, match=r"for band green, which is not a scale: .*--scale, such as 0:2750"):
        draw(file)
    assert (draw(file, scale="0:255").codes > 0).all()


def test_8_bits_without_tags_stay_as_they_are(draw, scene):
    assert draw(scene).said[0] == "scaling: 0 to 255, 0 to 255, 0 to 255 become 0 to 255 (as it is, 8 bits)"


# --- colours ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "tags", "source"),
    [
        ([2, 1, 0], {"colours": ["blue", "green", "red"]}, "by their colour interpretation"),
        ([2, 1, 0], {"descriptions": ["B02", "B03", "B04"]}, "by their descriptions"),
        ([2, 1, 0], {"descriptions": ["B2", "B3", "B4"]}, "by their descriptions"),
        ([2, 1, 0], {"descriptions": ["Blue", "Green", "Red"]}, "by their descriptions"),
        ([1, 2, 0], {"descriptions": ["B03 green", "B02 blue", "B04 red"]}, "by their descriptions"),
        ([0, 1, 2], {"colours": ["gray", "undefined", "undefined"]}, "the first three"),
        ([0, 1, 2], {"descriptions": ["red", "red", "blue"]}, "the first three"),
    ],
)
def test_bands_are_those_that_the_file_calls_red_green_and_blue(
    draw, scene_codes, grid, tmp_path, order, tags, source
):
    pixels = np.maximum(mosaic(grid), 1)[..., order].astype(np.uint16)
    file = tag(write_scene(tmp_path / "s.tif", pixels), **tags)
    drawn = draw(file, scale="0:255")
    bands = [order.index(colour) + 1 for colour in range(3)]
    assert drawn.report.metadata.bands == tuple(bands) and drawn.report.metadata.bands_source == source
    assert f"bands: red {bands[0]}, green {bands[1]}, blue {bands[2]} ({source})" in drawn.said
    assert np.mean(drawn.codes == scene_codes) > 0.9
    unstated = any("nothing in s.tif states which bands are red" in line for line in drawn.report.warnings)
    assert unstated == (source == "the first three")


def test_bands_that_the_user_gives_are_not_warned_of(draw, grid, tmp_path):
    pixels = np.maximum(mosaic(grid), 1).astype(np.uint16)
    file = tag(write_scene(tmp_path / "s.tif", pixels), colours=["gray", "undefined", "undefined"])
    assert draw(file, scale="0:255", bands=(1, 2, 3)).report.warnings == ()


def test_descriptions_count_more_than_the_colours_that_gdal_gives_8_bits(tmp_path):
    file = write_scene(tmp_path / "s.tif", np.ones((20, 20, 4), np.uint8))
    tag(file, colours=["red", "green", "blue", "alpha"], descriptions=["B08", "B02", "B03", "B04"])
    with Scene(file) as scene:
        assert scene.bands == (4, 3, 2)


def test_bands_of_many_are_found_and_infrared_is_not_red(tmp_path):
    file = write_scene(tmp_path / "s.tif", np.ones((20, 20, 5), np.uint16))
    tag(file, descriptions=["Near infra-red", "blue", "green", "red", "Red edge 1"])
    with Scene(file) as scene:
        assert scene.bands == (4, 3, 2)


def test_a_file_of_one_band_is_one_line_with_the_command_that_stacks_three(tmp_path):
    file = write_scene(tmp_path / "B04.tif", np.ones((20, 20, 1), np.uint16))
    with pytest.raises(
        DataError, match=r"B04\.tif has fewer than three bands.* gdalbuildvrt -separate OUT\.vrt"
    ):
        Scene(file)
    Scene(file, (1, 1, 1)).close()


def test_bands_overrule_the_tags(draw, scene_codes, grid, tmp_path):
    file = tag(write_scene(tmp_path / "s.tif", mosaic(grid)), colours=["blue", "green", "red"])
    drawn = draw(file, bands=(1, 2, 3))
    assert np.array_equal(drawn.codes, scene_codes)
    assert not any(line.startswith("bands:") for line in drawn.said)


def test_on_the_command_line_no_bands_means_those_of_the_file(orbitune, bundle, grid, scene, tmp_path):
    turned = tag(write_scene(tmp_path / "t.tif", mosaic(grid)[..., ::-1]), colours=["blue", "green", "red"])
    for name, file in (("a.tif", scene), ("b.tif", turned)):
        code, _, error = orbitune("map", bundle.folder, file, "--out", tmp_path / name)
        assert code == 0 and "(by their colour interpretation)" in error
    with rasterio.open(tmp_path / "a.tif") as one, rasterio.open(tmp_path / "b.tif") as other:
        assert np.array_equal(one.read(1), other.read(1))


# --- palettes ---------------------------------------------------------------------------------------------


def write_palette(path, nodata=None, metres=10):
    """96 x 80 numbers of a palette, and the colours that they mean."""
    random = np.random.default_rng(0)
    index = random.integers(0, 16, (80, 96)).astype(np.uint8)
    table = random.integers(0, 250, (16, 3))
    place = {**PLACE, "transform": from_origin(600_000, 5_500_000, metres, metres)}
    profile = {"driver": "GTiff", "width": 96, "height": 80, "count": 1, "dtype": "uint8", **place}
    with rasterio.open(path, "w", nodata=nodata, **profile) as file:
        file.write(index, 1)
        file.write_colormap(1, {number: (*map(int, colour), 255) for number, colour in enumerate(table)})
    return index, table[index].astype(np.uint8)


@pytest.mark.parametrize("bands", [None, (1, 2, 3)])
def test_a_palette_is_expanded_to_its_colours(tmp_path, bands, monkeypatch):
    monkeypatch.chdir(tmp_path)
    index, colours = write_palette("p & q.tif", nodata=3)
    with Scene("p & q.tif", bands) as scene:
        pixels, valid = scene.read_window(0, 0, height=80, width=96, scaling=AS_IT_IS)
        assert (scene.dtype, scene.selection.source) == ("uint8", "the colours of its palette")
        assert (scene.tags[0].source, scene.files[0].name) == (None, "p & q.tif")
    assert np.array_equal(pixels[index != 3], colours[index != 3])
    assert np.array_equal(valid, index != 3)


def test_a_palette_of_another_resolution_is_averaged_as_colours(tmp_path):
    _, colours = write_palette(tmp_path / "p.tif", metres=5)
    with Scene(tmp_path / "p.tif") as scene:
        pixels, valid = scene.read_window(0, 0, height=40, width=48, scaling=AS_IT_IS)
    means = colours.reshape(40, 2, 48, 2, 3).astype(float).mean((1, 3))
    assert valid.all() and np.abs(pixels - means).max() <= 1


def test_a_palette_in_an_archive_is_expanded(tmp_path):
    import zipfile

    _, colours = write_palette(tmp_path / "p.tif")
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as packed:
        packed.write(tmp_path / "p.tif", "p.tif")
    with Scene(f"zip://{tmp_path}/p.zip!p.tif") as scene:
        assert np.array_equal(scene.read_window(0, 0, height=80, width=96, scaling=AS_IT_IS)[0], colours)


def test_palette_indices_can_be_read(tmp_path):
    index, _ = write_palette(tmp_path / "p.tif")
    with Scene(tmp_path / "p.tif", (1, 1, 1)) as scene:
        assert np.array_equal(
            scene.read_window(0, 0, height=80, width=96, scaling=AS_IT_IS)[0][..., 0], index
        )


# --- masks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metres", [10, 5])
def test_a_mask_in_the_file_marks_nodata_also_after_resampling(tmp_path, metres):
    pixels = np.full((40, 40, 3), 100, np.uint8)
    file = write_scene(tmp_path / "s.tif", pixels, metres=metres)
    mask = np.full((40, 40), 255, np.uint8)
    mask[:20] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(file, "r+") as opened:
        opened.write_mask(mask)
    with Scene(file) as scene:
        side = scene.grid.height
        valid = scene.read_window(0, 0, height=side, width=side, scaling=AS_IT_IS)[1]
    assert np.array_equal(valid.all(1), np.arange(side) >= side // 2) and not valid[: side // 2].any()


def test_nodata_other_than_0_in_one_band_masks_the_pixel(tmp_path):
    pixels = np.full((20, 20, 3), 1000, np.int16)
    pixels[:5, :, 1] = -9999
    pixels[5:10] = -9999
    with Scene(write_scene(tmp_path / "s.tif", pixels, nodata=-9999)) as scene:
        valid = scene.read_window(0, 0, height=20, width=20, scaling=AS_IT_IS)[1]
    assert np.array_equal(valid.all(1), np.arange(20) >= 10) and not valid[:10].any()


def test_nodata_may_differ_from_band_to_band(tmp_path):
    from rasterio.shutil import copy

    pixels = np.full((20, 20, 3), 50, np.uint8)
    pixels[:5, :, 0], pixels[5:10, :, 1], pixels[10:12, :, 2] = 0, 7, 9
    copy(write_scene(tmp_path / "s.tif", pixels), tmp_path / "s.vrt", driver="VRT")
    text = (tmp_path / "s.vrt").read_text()
    for band, value in ((1, 0), (2, 7), (3, 9)):
        head, _, rest = text.partition(f'band="{band}"')
        start = rest.index(">") + 1
        text = f'{head}band="{band}"{rest[:start]}<NoDataValue>{value}</NoDataValue>{rest[start:]}'
    (tmp_path / "s.vrt").write_text(text)
    with Scene(tmp_path / "s.vrt") as scene:
        valid = scene.read_window(0, 0, height=20, width=20, scaling=AS_IT_IS)[1]
    rows = np.arange(20)  # where only red is 0, it may well be 0
    assert np.array_equal(valid.all(1), (rows < 5) | (rows >= 12)) and not valid[5:12].any()


def test_a_band_that_gdal_takes_for_alpha_may_be_a_colour(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 200, (20, 20, 4)).astype(np.uint8)
    pixels[:5, :, 3] = 0
    with Scene(write_scene(tmp_path / "s.tif", pixels), (4, 3, 2)) as scene:
        assert scene.read_window(0, 0, height=20, width=20, scaling=AS_IT_IS)[1].all()
