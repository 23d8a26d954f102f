"""Encodings are recognised on every real scene at hand, and re-encoded ones."""

import numpy as np
import pytest
import rasterio
from scipy import ndimage

from orbitune.mapping.scene.bands import BandTags
from orbitune.mapping.scene.encoding import Encoding, recognise_encoding
from orbitune.mapping.scene.radiometry import choose_scaling
from orbitune.mapping.scene.reader import Scene

NAMES = ("B04", "B03", "B02")
KINDS = {  # dtype, and number of a reflectance of 1
    "reflectance as float32": ("reflectance", "float32", 1),
    "digital numbers as uint16": ("digital numbers", "uint16", 10_000),
    "digital numbers as int16": ("digital numbers", "int16", 10_000),
    "digital numbers as float32": ("digital numbers", "float32", 10_000),
    "16-bit fractions as uint16": ("16-bit fractions", "uint16", 65_535),
    "16-bit fractions as float32": ("16-bit fractions", "float32", 65_535),
}


def recognise(sample, dtype="uint16", names=NAMES, **tags):
    """The encoding of numbers (bands, H, W)."""
    sample = np.ma.masked_array(sample)
    pixels = sample.filled(0).reshape(len(sample), -1).astype(float)
    return recognise_encoding(
        [BandTags(**tags)] * len(sample), dtype, sample=sample, pixels=lambda: pixels, names=names
    )


# --- real scenes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "bands", "kind", "offset", "level"),
    [
        ("sentinel2_l1c_beaufort_utm18n_10m.tif", None, "8 bits", 0, None),
        ("switzerland_vaumarcus_offset1000/concise.tif", (3, 2, 1), "digital numbers", -0.1, "L2A"),
        ("japan_lulcpy_float/s2image.tif", (3, 2, 1), "reflectance", 0, "L2A"),
        ("germany_leipzig_mlr3/leipzig_raster.tif", None, "digital numbers", 0, "L1C"),
        ("netherlands_amsterdam_l1c", None, "16-bit fractions", 0, "L1C"),
        ("xrspatial_s2_small/s2_B02B03B04B08.tif", None, "digital numbers", 0, "L1C"),
    ],
)
def test_the_encoding_of_a_real_scene_is_recognised(shared, name, bands, kind, offset, level):
    with Scene(shared / "scenes" / name, bands) as scene:
        encoding = scene.recognise_encoding(scene.sample())
    assert (encoding.kind, encoding.level, encoding.certainty) == (kind, level, "likely")
    assert encoding.offset == pytest.approx((offset,) * 3)


def test_the_encoding_of_each_bigearthnet_patch_is_recognised(shared):
    patches = sorted((shared / "scenes/bigearthnet_tiny").iterdir())
    assert len(patches) == 11
    for patch in patches:
        with Scene(patch) as scene:
            encoding = scene.recognise_encoding(scene.sample())
        assert (encoding.kind, encoding.level) == ("digital numbers", "L2A") and encoding.certain
        assert set(encoding.offset) == {0.0}


# --- re-encodings of real scenes --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reflectance(shared):
    """Reflectance of red, green and blue, (3, H, W), by scene; masked."""
    scenes = shared / "scenes"
    stated = {
        "switzerland": (scenes / "switzerland_vaumarcus_offset1000/concise.tif", (3, 2, 1), 1e-4, -0.1),
        "japan": (scenes / "japan_lulcpy_float/s2image.tif", (3, 2, 1), 1, 0),
        "leipzig": (scenes / "germany_leipzig_mlr3/leipzig_raster.tif", (3, 2, 1), 1e-4, 0),
        "amsterdam": (scenes / "netherlands_amsterdam_l1c", None, 1 / 65_535, 0),
        "arid": (scenes / "xrspatial_s2_small/s2_B02B03B04B08.tif", (3, 2, 1), 1e-4, 0),
        "forest": (scenes / "bigearthnet_tiny/S2B_MSIL2A_20170914T093029_32_39", None, 1e-4, 0),
    }
    found = {}
    for name, (file, bands, scale, offset) in stated.items():
        with Scene(file, bands) as scene:
            sample = np.ma.masked_invalid(scene.sample().astype(float)) * scale + offset
        # Pixels at the edge of the data are means with zeros outside.
        edge = ndimage.binary_dilation(np.ma.getmaskarray(sample)[0], iterations=2)
        found[name] = np.ma.masked_array(sample.data, np.broadcast_to(edge, sample.shape))
    return found


def clouded(scene):
    """The scene with clouds over half of it."""
    random, height = np.random.default_rng(0), scene.shape[1] // 2
    scene = scene.copy()
    scene[:, :height] = 0.5 + 0.4 * random.random((1, height, scene.shape[2]))
    return scene


def darkest(scene):
    """The darkest tenth of the pixels: water and shadow."""
    pixels = scene.reshape(3, -1)
    order = np.argsort(pixels[0].filled(9), kind="stable")[: pixels.shape[1] // 10]
    return pixels[:, order[: len(order) // 10 * 10]].reshape(3, -1, 10)


VARIANTS = {"as it is": lambda scene: scene, "clouded": clouded, "water": darkest}


def encode(scene, dtype, unit, offset):
    """Numbers of a reflectance in steps of 1/10,000, as products have it."""
    numbers = (np.round(scene * 10_000) / 10_000 + offset) * unit
    if (dtype, unit) != ("float32", 1):
        numbers = np.ma.clip(numbers.round(), 1, 65_535 if dtype == "uint16" else 32_767)
    return numbers.astype(dtype)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["switzerland", "japan", "leipzig", "amsterdam", "arid", "forest"])
def test_a_re_encoded_scene_is_recognised(reflectance, name, kind, variant):
    expected, dtype, unit = KINDS[kind]
    scene = VARIANTS[variant](reflectance[name])
    for offset in (0.0, 0.1) if unit != 65_535 else (0.0,):
        encoding = recognise(encode(scene, dtype, unit, offset), dtype)
        right = encoding.kind == expected and encoding.offset == pytest.approx((-offset,) * 3)
        # Nothing in an arid scene is dark: with the offset it may be bright ground as well.
        assert right or (name == "arid" and offset and not encoding.certain), encoding.describe()
        if right:
            numbers = np.array([0.0, 0.275]) / encoding.scale[0] - encoding.offset[0] / encoding.scale[0]
            scaling = choose_scaling(encoding, scale_max=None)
            assert (scaling.low[0], scaling.high[0]) == pytest.approx(tuple(numbers))
            assert (scaling.low[0] + 0.0, scaling.high[0]) == pytest.approx(
                (offset * unit, (0.275 + offset) * unit)
            )


@pytest.mark.parametrize(
    ("kind", "offset"),
    [(kind, offset) for kind in KINDS for offset in (0.0, 0.1) if not (kind.startswith("16-bit") and offset)],
)
def test_where_all_is_snow_or_cloud_the_offset_is_not_known(reflectance, kind, offset):
    _, dtype, unit = KINDS[kind]
    snow = np.ma.clip(0.35 + reflectance["forest"] * 3, 0, 1)
    encoding = recognise(encode(snow, dtype, unit, offset), dtype)
    assert (
        not encoding.certain
        and "which may be an offset, or cloud, snow or bare ground" in encoding.describe()
    )


def low(scene):
    return scene.min((1, 2), keepdims=True)


def high(scene):
    return scene.max((1, 2), keepdims=True)


# --- what is not reflectance ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "dtype", "evidence"),
    [
        (lambda scene: 10 * np.log10(scene), "float32", "half of the numbers are below 0"),
        (lambda scene: scene * 100, "float32", "numbers up to "),
        (lambda scene: scene * 1e6, "int32", "numbers up to "),
        (
            lambda scene: (scene - low(scene)) / (high(scene) - low(scene)),
            "float32",
            "stretched to 0 to 1",
        ),
    ],
)
def test_numbers_that_are_no_reflectance_are_not_known(reflectance, numbers, dtype, evidence):
    encoding = recognise(numbers(reflectance["leipzig"].clip(1e-3)).astype(dtype), dtype)
    assert encoding.kind == "unknown" and not encoding.certain and evidence in encoding.describe()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_8_bits_stay_as_they_are_in_any_dtype(shared, dtype):
    with Scene(shared / "scenes/sentinel2_l1c_beaufort_utm18n_10m.tif") as scene:
        pixels = scene.sample()[:, 300:600, 300:600].astype(dtype)
    pixels[:, 0, 0] = 255
    encoding = recognise(pixels, dtype)
    scaling = choose_scaling(encoding, scale_max=None)
    assert (encoding.kind, scaling.low, scaling.high) == ("8 bits", (0.0,) * 3, (255.0,) * 3)
    floats = recognise((pixels / 255).astype("float32"), "float32")
    assert (floats.kind, floats.scale) == ("8 bits", (0.275,) * 3)
    assert (encoding.white, floats.white) == (255, 1)


def test_numbers_far_below_0_are_no_reflectance(reflectance):
    sample = encode(reflectance["switzerland"], "int16", 10_000, 0)
    sample[:, :20] = -3000
    encoding = recognise(sample, "int16")
    assert not encoding.certain and "which is no reflectance" in encoding.describe()


def test_a_scene_without_data_has_no_known_encoding():
    encoding = recognise(np.ma.masked_all((3, 4, 4), dtype="uint16"))
    assert (encoding.kind, encoding.certain, encoding.evidence) == (
        "unknown",
        False,
        ("no pixel holds data",),
    )


# --- metadata ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "kind", "offset", "certainty"),
    [
        ({"scale": 1e-4, "offset": 0.0}, "digital numbers", 0.0, "stated"),
        ({"scale": 1e-4, "offset": -0.1}, "digital numbers", -0.1, "stated"),
        ({"scale": 1e-4}, "digital numbers", -0.1, "likely"),
        ({"offset": -1000.0}, "digital numbers", -0.1, "likely"),
        ({"scale": 2.75e-5, "offset": -0.2}, "scaled numbers", -0.2, "stated"),
    ],
)
def test_metadata_count_more_than_statistics(reflectance, tags, kind, offset, certainty):
    numbers = encode(reflectance["switzerland"], "uint16", 10_000, 0.1)
    encoding = recognise(numbers, source="tags", **tags)
    assert (encoding.kind, encoding.certainty, encoding.evidence[0]) == (kind, certainty, "tags")
    assert encoding.offset == pytest.approx((offset,) * 3)


def test_an_encoding_is_stored_as_json_and_read_again(reflectance):
    encoding = recognise(encode(reflectance["switzerland"], "uint16", 10_000, 0.1))
    stored = encoding.to_json()
    assert stored["certainty"] == "likely" and stored["offset"] == [-0.1] * 3
    assert Encoding.model_validate(stored) == encoding


def test_a_map_says_that_the_encoding_is_not_known_unless_scale_is_given(draw, tmp_path):
    from scenes import write_scene

    percent = np.random.default_rng(0).uniform(5, 60, (80, 96, 3)).astype(np.float32)
    file = write_scene(tmp_path / "s.tif", percent)
    drawn = draw(file)
    assert not drawn.report.metadata.encoding.certain
    assert any(line.startswith("cannot tell how s.tif is encoded") for line in drawn.report.warnings)
    with rasterio.open(drawn.path) as written:
        assert '"certainty": "unknown"' in written.tags()["ORBITUNE"]
    given = draw(file, scale="0:60")
    assert given.report.metadata.encoding is None
    assert not any("encoded" in line for line in given.report.warnings)
