"""Scenes as read: their valid pixels, grid and scaling to training tiles."""

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin
from scenes import mosaic, write_scene

from orbitune.errors import DataError
from orbitune.mapping.options import MapOptions
from orbitune.mapping.scene.bands import BandTags
from orbitune.mapping.scene.encoding import recognise_encoding
from orbitune.mapping.scene.radiometry import ReflectanceScaling, choose_scaling, parse_scale
from orbitune.mapping.scene.reader import Scene
from orbitune.sources.band_names import RGB

AS_IT_IS = ReflectanceScaling(low=(0.0,) * 3, high=(255.0,) * 3, source="")


def default(dtype, scale_max=None):
    ramp = np.linspace(1, 250 if dtype == "uint8" else 3000, 1000).reshape(20, 50)
    pixels = np.stack([ramp] * 3)
    pixels = (pixels / 10_000 if dtype == "float32" else pixels).astype(dtype)
    encoding = recognise_encoding(
        [BandTags()] * 3, dtype, sample=np.ma.array(pixels), pixels=lambda: pixels.reshape(3, -1), names=RGB
    )
    return choose_scaling(encoding, scale_max=scale_max)


def noise(height, width, dtype=np.uint8, high=250):
    return np.random.default_rng(0).integers(1, high, (height, width, 3)).astype(dtype)


def test_beyond_its_edges_a_scene_is_mirrored(tmp_path):
    pixels = noise(20, 30)
    with Scene(write_scene(tmp_path / "s.tif", pixels)) as scene:
        read, valid = scene.read_window(-4, 26, height=10, width=8, scaling=AS_IT_IS)
    assert np.array_equal(read, np.pad(pixels, ((4, 0), (0, 4), (0, 0)), mode="symmetric")[:10, 26:])
    assert valid.all()


def test_the_digest_is_of_the_grid_and_the_valid_pixels(tmp_path):
    def digest(pixels, **profile):
        with Scene(write_scene(tmp_path / "s.tif", pixels, **profile)) as scene:
            return scene.digest()

    pixels = noise(300, 400)
    pixels[:150] = 0
    known = digest(pixels, nodata=0)
    assert digest(pixels, nodata=0, compress="deflate", tiled=True) == known
    assert digest(np.where(pixels == 0, 255, pixels).astype(np.uint8), nodata=255) == known
    later = pixels.copy()
    later[200, 200, 1] += 1
    moved = from_origin(600_010, 5_500_000, 10, 10)
    others = {digest(later, nodata=0), digest(pixels), digest(pixels, nodata=0, transform=moved)}
    assert len(others) == 3 and known not in others
    assert digest(np.zeros_like(pixels), nodata=0) is None


def test_the_digest_stays_where_the_scene_is_read_as_one_of_8_bits(tmp_path):
    """So that the model which was adapted to it knows it, whatever --scale says."""
    pixels = noise(60, 80, dtype=np.int16)
    pixels[:30] = 0
    with Scene(write_scene(tmp_path / "s.tif", pixels), (1, 2, 3)) as scene:
        known = scene.digest()
        scene.read_as_8_bits(255)
        assert known is not None and scene.digest() == known


def valid_pixels(path, pixels, **read):
    with Scene(write_scene(path, pixels), (1, 2, 3), **read) as scene:
        return ~np.ma.getmaskarray(scene.sample())[0]


@pytest.mark.parametrize(
    ("dtype", "fill"),
    [
        ("float32", -9999),
        ("float32", -1),
        ("float32", 65_535),
        ("float32", 3e38),
        ("float32", -1e20),
        ("int16", -9999),
        ("int16", -32_768),
        ("int16", -1),
        ("int32", 65_535),
        ("int32", -(2**31)),
        ("uint16", 65_535),
    ],
)
def test_undeclared_fill_values_in_all_bands_are_no_data(tmp_path, dtype, fill):
    pixels = noise(40, 40, dtype, 3000)
    pixels[:10] = fill
    pixels[20, :, 0] = fill if abs(fill) < 1e20 else 7  # in one band alone it may be a number
    found = valid_pixels(tmp_path / "s.tif", pixels)
    assert not found[:10].any() and found[10:].all()


def test_8_bits_in_a_wider_type_are_read_as_8_bits(tmp_path):
    pixels = noise(40, 40)
    pixels[:10], pixels[10:20] = 0, 255
    known = valid_pixels(tmp_path / "s.tif", pixels)
    assert known[:10].all() and not known[10:20].any()
    wide = valid_pixels(tmp_path / "wide.tif", pixels.astype(np.int16), white=255)
    floats = valid_pixels(tmp_path / "floats.tif", (pixels / 255).astype(np.float32), white=1)
    assert np.array_equal(wide, known) and np.array_equal(floats, known)
    filled = pixels.astype(np.int16)
    filled[20:30] = -9999
    assert not valid_pixels(tmp_path / "filled.tif", filled, white=255)[20:30].any()


@pytest.mark.parametrize(("dtype", "nodata"), [("float32", None), ("uint16", 0), ("float32", -9999)])
@pytest.mark.parametrize("resolution", [10, 20])
def test_an_alpha_band_that_gdal_does_not_use_marks_nodata(tmp_path, dtype, nodata, resolution):
    pixels = np.concatenate([noise(40, 40, dtype, 3000), np.full((40, 40, 1), 255, dtype)], -1)
    pixels[:10, ..., 3] = 0
    path = write_scene(tmp_path / "s.tif", pixels, nodata=nodata)
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [ColorInterp[name] for name in ("red", "green", "blue", "alpha")]
    with Scene(path, resolution=resolution) as scene:
        found = ~np.ma.getmaskarray(scene.sample())[0]
    outside = 100 // resolution
    assert not found[: outside - 1].any() and found[outside + 1 :].all()


def test_an_alpha_band_marks_nodata(tmp_path):
    pixels = np.concatenate([noise(20, 20), np.full((20, 20, 1), 255, np.uint8)], -1)
    pixels[:5, :, 3] = 0
    file = write_scene(tmp_path / "s.tif", pixels, photometric="RGB", alpha="yes")
    with Scene(file) as scene:
        valid = scene.read_window(0, 0, height=20, width=20, scaling=AS_IT_IS)[1]
    assert np.array_equal(valid.any(1), np.arange(20) >= 5)


@pytest.mark.parametrize(
    ("dtype", "scale_max", "high", "source"),
    [
        ("uint8", None, 255, "as it is, 8 bits"),
        ("uint16", None, 2750, "reflectance 0 to 0.275"),
        ("int16", None, 2750, "reflectance 0 to 0.275"),
        ("uint16", 4000, 4000, "that of the training tiles"),
        ("float32", None, 0.275, "reflectance 0 to 0.275"),
    ],
)
def test_each_type_has_its_default_scaling(dtype, scale_max, high, source):
    scaling = default(dtype, scale_max)
    assert (set(scaling.low), set(scaling.high), scaling.source) == ({0.0}, {float(high)}, source)
    values = np.array([0, high / 2, high, min(high * 2, 255 if dtype == "uint8" else 9e9)], dtype)
    scaled = scaling(np.broadcast_to(values, (3, 1, 4)))
    assert scaled.dtype == np.uint8 and scaled.shape == (1, 4, 3)
    assert scaled[0, 0, 0] == 0 and abs(int(scaled[0, 1, 0]) - 127) <= 1 and (scaled[0, 2:] == 255).all()


@pytest.mark.parametrize(
    ("dtype", "factor", "scale"),
    [(np.uint16, 2750 / 255, "match"), (np.float32, 0.275 / 255, "match"), (np.uint16, 10, "0:2550")],
)
def test_a_scene_in_other_units_has_the_map_of_the_tiles(
    draw, scene_codes, grid, tmp_path, dtype, factor, scale
):
    pixels = mosaic(grid).astype(float) * factor
    pixels = (pixels if dtype == np.float32 else pixels.round()).astype(dtype)
    drawn = draw(write_scene(tmp_path / "s.tif", pixels), scale=scale)
    assert np.mean(drawn.codes == scene_codes) > 0.95  # 16 bits round otherwise


def test_percentiles_are_those_of_each_band_without_nodata(tmp_path):
    pixels = noise(50, 50, np.uint16, 4000)
    pixels[..., 1] *= 2
    pixels[:10] = 0
    with Scene(write_scene(tmp_path / "s.tif", pixels, nodata=0)) as scene:
        scaling = parse_scale("2%:98%", scene.sample())
    for band in range(3):
        ends = np.percentile(pixels[10:, :, band], (2, 98))
        assert (scaling.low[band], scaling.high[band]) == pytest.approx(tuple(ends))


def test_the_largest_number_there_is_may_stand_for_no_data():
    pixels = np.full((3, 1, 2), np.finfo(np.float32).max, np.float32)
    pixels[:, 0, 1] = 0.1375
    with np.errstate(all="raise"):
        scaled = ReflectanceScaling(low=(0.0,) * 3, high=(0.275,) * 3, source="")(pixels)
    assert scaled[0, 1].tolist() == [128] * 3


def test_the_scaling_is_noted_and_stored(draw, scene):
    drawn = draw(scene, scale="0:250")
    assert drawn.said[0] == "scaling: 0 to 250, 0 to 250, 0 to 250 become 0 to 255 (given)"
    assert drawn.report.metadata.scaling == ReflectanceScaling(low=(0,) * 3, high=(250,) * 3, source="given")
    assert drawn.report.metadata.scale == "0:250"


@pytest.mark.parametrize("scale", ["5", "100:0", "5:5", "a:b", "2%:98", "2:98%", "nan:1", "0:1:2"])
def test_a_scale_that_is_none_is_an_error_that_shows_one(scale):
    with pytest.raises(DataError, match=r"--scale takes LOW:HIGH .* such as 0:2750, or 2%:98%, not"):
        MapOptions(scale=scale)


@pytest.mark.parametrize("scale", ["2%:120%", "-2%:98%"])
def test_percentiles_that_there_are_not_are_an_error(scale):
    with pytest.raises(DataError, match=f"percentiles of --scale must be between 0 and 100, not {scale}"):
        MapOptions(scale=scale)


def test_percentiles_of_a_scene_without_data_are_an_error():
    with pytest.raises(DataError, match="percentiles of --scale need pixels that are not nodata"):
        parse_scale("2%:98%", np.ma.masked_all((3, 2, 2)))


def test_a_scene_of_another_resolution_is_resampled_with_a_note(draw, scene, grid, tmp_path):
    fine = mosaic(grid).repeat(2, 0).repeat(2, 1)
    drawn = draw(write_scene(tmp_path / "s.tif", fine, metres=5), grid="scene")
    assert drawn.said[1] == "resampled from 5 x 5 m per pixel to the 10 m of the training tiles"
    assert np.array_equal(drawn.codes, draw(scene, grid="scene").codes.repeat(2, 0).repeat(2, 1))


def test_a_coarse_scene_becomes_finer(draw, tmp_path):
    drawn = draw(write_scene(tmp_path / "s.tif", noise(30, 40), metres=20), grid="scene")
    assert drawn.codes.shape == (30, 40) and drawn.report.metadata.pixels == (60, 80)
    assert sum(row.hectares for row in drawn.report.areas) == pytest.approx(30 * 40 * 0.04, rel=0.001)
    assert "resampled from 20 x 20 m" in drawn.said[1]


def test_much_coarser_pixels_are_warned_of(draw, tmp_path):
    usable, coarse = (
        draw(write_scene(tmp_path / f"{metres}.tif", noise(20, 20), metres=metres)).report.warnings
        for metres in (30, 50)
    )
    stated = "pixels of 50.tif are 50 m, and those of the training tiles 10 m: the map shows what"
    assert [line for line in coarse if line.startswith(stated)], coarse
    assert not any("blurred ground" in line for line in usable)


def test_the_resolution_of_the_training_tiles_can_be_given(draw, scene_codes, grid, tmp_path):
    other = write_scene(tmp_path / "s.tif", mosaic(grid), metres=2.5)
    drawn = draw(other, resolution=2.5)
    assert drawn.report.metadata.resampled_from_metres is None
    assert np.array_equal(drawn.codes, scene_codes)


def test_a_scene_in_degrees_is_mapped_on_pixels_of_ten_metres(draw, tmp_path):
    step = 10 / 111_320
    place = from_origin(11, 60, 2 * step, step)  # at 60 degrees north a degree of longitude is half as long
    file = write_scene(tmp_path / "s.tif", noise(48, 64), crs="EPSG:4326", transform=place)
    drawn = draw(file, grid="scene")
    assert drawn.report.metadata.resampled_from_metres is None and drawn.codes.shape == (48, 64)
    assert sum(row.hectares for row in drawn.report.areas) == pytest.approx(48 * 64 * 0.01, rel=0.01)
    square = write_scene(
        tmp_path / "q.tif", noise(48, 64), crs="EPSG:4326", transform=from_origin(11, 60, step, step)
    )
    drawn = draw(square, grid="scene")
    assert drawn.codes.shape == (48, 64) and drawn.report.metadata.pixels == (48, 32)
    assert drawn.said[1].startswith("resampled from 5 x 10 m per pixel")
