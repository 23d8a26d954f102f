"""Scenes with one file per band: folders, archives and SAFE products."""

import re
import shutil
import zipfile

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rasterio.transform import Affine, from_origin
from safe_products import write_safe
from scenes import write_scene

from orbitune.errors import DataError
from orbitune.mapping.scene.radiometry import ReflectanceScaling, choose_scaling
from orbitune.mapping.scene.reader import Scene

RAW = ReflectanceScaling(low=(0.0,) * 3, high=(255.0,) * 3, source="")
PLACE = {"crs": "EPSG:32632", "transform": from_origin(324_640, 5_194_500, 10, 10)}


@pytest.fixture(scope="module")
def switzerland(shared):
    """uint16 (4, 240, 240): an L2A scene with the offset of baseline 04.00."""
    with rasterio.open(shared / "scenes/switzerland_vaumarcus_offset1000/concise.tif") as file:
        return file.read(window=((100, 340), (100, 340)))


@pytest.fixture(scope="module")
def safe(switzerland, tmp_path_factory):
    blue, green, red, nir = switzerland
    bands = {"B02": blue, "B03": green, "B04": red, "B08": nir, "B8A": nir[::2, ::2], "B09": nir[::6, ::6]}
    return write_safe(tmp_path_factory.mktemp("safe"), bands, level="L2A", offset=-1000, **PLACE)


@pytest.fixture(scope="module")
def folder(switzerland, tmp_path_factory):
    """One GeoTIFF a band."""
    place = tmp_path_factory.mktemp("bands") / "scene"
    place.mkdir()
    for name, pixels in zip(("B02", "B03", "B04", "B08"), switzerland, strict=True):
        write_scene(place / f"{name}.tif", pixels[..., None], **PLACE)
    return place


def read(name, bands=None):
    """The numbers of a scene as they are, (bands, H, W), and what was recognised."""
    with Scene(name, bands) as scene:
        return scene.sample(), scene.selection, scene.recognise_encoding(scene.sample())


def test_the_bands_of_a_folder_are_read_as_one_scene(folder, switzerland):
    pixels, selection, encoding = read(folder)
    assert np.array_equal(pixels, switzerland[[2, 1, 0]])
    assert selection.names == ("B04", "B03", "B02") and selection.source == "by their file names"
    assert encoding.offset == (-0.1,) * 3 and encoding.certain


@pytest.mark.parametrize(
    "bands", [["B08", "B04", "B03"], ["nir", "red", "green"], [4, 3, 2], ["b8", 3, "Green"]]
)
def test_bands_are_chosen_by_name_or_number(folder, switzerland, bands):
    pixels, selection, _ = read(folder, bands)
    assert np.array_equal(pixels, switzerland[[3, 2, 1]]) and selection.numbers == (4, 3, 2)


def test_any_number_of_bands_is_read(folder, switzerland):
    assert np.array_equal(read(folder, ["B02", "B03", "B04", "B08"])[0], switzerland)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_of_band_files_is_read_like_their_folder(folder, tmp_path, switzerland, kind):
    archive = shutil.make_archive(str(tmp_path / "scene"), kind, folder)
    pixels, _, _ = read(archive)
    assert np.array_equal(pixels, switzerland[[2, 1, 0]])
    with Scene(archive) as scene:
        assert [file.name for file in scene.files] == [f"scene.{kind}"]


def test_a_safe_product_states_its_encoding(safe, switzerland):
    pixels, selection, encoding = read(safe)
    assert np.array_equal(pixels, switzerland[[2, 1, 0]])
    assert selection.source == "of the SAFE product"
    assert (encoding.kind, encoding.certainty, encoding.level) == ("digital numbers", "stated", "L2A")
    assert encoding.evidence == ("MTD_MSIL2A.xml",)
    scaling = choose_scaling(encoding, scale_max=None)
    assert (scaling.low, scaling.high) == ((1000.0,) * 3, (3750.0,) * 3)


@pytest.mark.parametrize("offset", [None, -1000])
def test_a_level_1c_product_has_its_offset_since_baseline_0400_alone(switzerland, tmp_path, offset):
    bands = dict(zip(("B02", "B03", "B04"), switzerland[:3, :60, :60], strict=True))
    encoding = read(write_safe(tmp_path, bands, level="L1C", offset=offset, **PLACE))[2]
    assert (encoding.level, encoding.certainty) == ("L1C", "stated")
    assert encoding.offset == pytest.approx(((offset or 0) / 10_000,) * 3)


def test_a_product_is_found_by_its_zip_its_folder_and_its_metadata(safe, switzerland, tmp_path):
    packed = tmp_path / "product.SAFE.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in safe.rglob("*"):
            archive.write(file, f"{safe.name}/{file.relative_to(safe)}")
    for name in (packed, f"zip://{packed}", safe / "MTD_MSIL2A.xml", safe.parent):
        pixels, _, encoding = read(name)
        assert np.array_equal(pixels, switzerland[[2, 1, 0]]) and encoding.certainty == "stated"


def test_coarser_bands_are_resampled_to_the_finest_grid_without_seams(safe, switzerland):
    with Scene(safe, ["B09", "B8A", "B04"]) as scene:
        assert (scene.grid.height, scene.grid.width) == (240, 240)
        whole = scene.read_window(
            0,
            0,
            height=240,
            width=240,
            scaling=ReflectanceScaling(low=(0.0,) * 3, high=(8000.0,) * 3, source=""),
        )[0]
        parts = [
            scene.read_window(
                top,
                0,
                height=37,
                width=240,
                scaling=ReflectanceScaling(low=(0.0,) * 3, high=(8000.0,) * 3, source=""),
            )[0]
            for top in range(0, 185, 37)
        ]
    assert np.array_equal(np.concatenate(parts), whole[:185])
    nir = switzerland[3].astype(float) * 255 / 8000
    assert np.corrcoef(whole[..., 1].ravel(), nir.ravel())[0, 1] > 0.95
    assert np.corrcoef(whole[..., 0].ravel(), nir.ravel())[0, 1] > 0.75


def test_a_product_is_mapped_as_the_same_bands_in_one_file(draw, safe, switzerland, tmp_path):
    one = write_scene(tmp_path / "one.tif", switzerland[[2, 1, 0]].transpose(1, 2, 0), **PLACE)
    drawn = draw(safe)
    assert np.array_equal(drawn.codes, draw(one, scale="1000:3750").codes)
    assert drawn.report.metadata.band_names == ("B04", "B03", "B02")
    assert drawn.report.to_json()["metadata"]["encoding"]["certainty"] == "stated"
    assert drawn.said[2] == "encoding: digital numbers x 10,000, offset -0.1, L2A (stated: MTD_MSIL2A.xml)"


def test_zeros_outside_the_swath_are_no_data(switzerland, tmp_path):
    pixels = switzerland[:3].copy()
    pixels[:, :80] = 0
    for name, band in zip(("B02", "B03", "B04"), pixels, strict=True):
        write_scene(tmp_path / f"{name}.tif", band[..., None], **PLACE)
    with Scene(tmp_path) as scene:
        valid = scene.read_window(0, 0, height=240, width=240, scaling=RAW)[1]
    assert np.array_equal(valid.all(1), np.arange(240) >= 80) and not valid[:80].any()


# --- user errors ------------------------------------------------------------------------------------------


def fails(name, bands=None):
    with pytest.raises(DataError) as refused:
        read(name, bands)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_missing_band_names_those_there_are(folder, safe):
    assert fails(folder, ["B11"]) == f"{folder} has no band B11: it has B02, B03, B04, B08."
    assert "has no band swir22: it has B02, B03, B04, B08, B8A, B09." in fails(safe, ["swir22"])
    assert "has no band 7" in fails(folder, [7])


def write_pair(folder, first, second):
    for name, changes in (("B03", first), ("B04", second)):
        pixels = np.full(changes.pop("shape", (40, 40, 1)), 500, np.uint16)
        write_scene(folder / f"{name}.tif", pixels, **{**PLACE, **changes})
    return fails(folder, ["B04", "B03", "B03"])


def test_bands_of_other_grids_are_one_line(tmp_path):
    for number, (changes, message) in enumerate(
        [
            ({"crs": "EPSG:32633"}, "have different coordinate reference systems, EPSG:32633 and EPSG:32632"),
            (
                {"transform": from_origin(400_000, 5_194_500, 10, 10)},
                "cover different areas: cut them to one",
            ),
            ({"transform": from_origin(324_640, 5_194_500, 300, 300)}, "too different to resample here"),
            ({"shape": (40, 30, 1)}, "cover different areas"),
            ({"transform": PLACE["transform"] * Affine.rotation(10)}, "different grids, one of them turned"),
        ]
    ):
        place = tmp_path / str(number)
        place.mkdir()
        assert message in write_pair(place, {}, changes)


def test_a_file_of_several_bands_is_not_the_band_of_its_name(folder, switzerland, tmp_path):
    place = shutil.copytree(folder, tmp_path / "scene")
    write_scene(place / "B04.tif", switzerland[:3].transpose(1, 2, 0), **PLACE)
    assert "B04.tif has 3 bands, but its name is that of band B04 alone: rename" in fails(place)


def test_a_file_of_a_band_may_have_transparency(folder, switzerland, tmp_path):
    place = shutil.copytree(folder, tmp_path / "scene")
    red = switzerland[2]
    with rasterio.open(
        place / "B04.tif", "w", driver="GTiff", width=240, height=240, count=2, dtype="uint16", **PLACE
    ) as file:
        file.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
        file.write(np.stack([red, np.full_like(red, 65_535)]))
    assert np.array_equal(read(place)[0], read(folder)[0])


def test_two_scenes_in_a_folder_are_one_line(folder, tmp_path):
    for file in folder.iterdir():
        for day in ("20220301", "20220402"):
            shutil.copy(file, tmp_path / f"T32TLS_{day}_{file.name}")
    assert "has several files of band B02, T32TLS_20220301_B02.tif and T32TLS_20220402_B02.tif" in fails(
        tmp_path
    )


def test_a_product_without_images_or_with_broken_metadata_is_one_line(safe, tmp_path):
    broken = shutil.copytree(safe, tmp_path / "a.SAFE")
    (broken / "MTD_MSIL2A.xml").write_text("<n1:Level")
    assert "Cannot read " in fails(broken) and "Get the product again." in fails(broken)
    shutil.rmtree(broken / "GRANULE")
    (broken / "MTD_MSIL2A.xml").write_text((safe / "MTD_MSIL2A.xml").read_text())
    assert "There is no band in the product of " in fails(broken)


def test_offsets_of_some_bands_alone_are_one_line(safe, tmp_path):
    copied = shutil.copytree(safe, tmp_path / "a.SAFE")
    metadata = copied / "MTD_MSIL2A.xml"
    text = metadata.read_text()
    metadata.write_text(re.sub(r'<BOA_ADD_OFFSET band_id="3">[^<]*</BOA_ADD_OFFSET>', "", text))
    assert metadata.read_text() != text
    assert "states an offset for some bands, but none for B04: get the product again." in fails(copied)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (">10000<", ">0<", "its BOA_QUANTIFICATION_VALUE is 0, not above 0"),
        (">10000<", ">abc<", "its BOA_QUANTIFICATION_VALUE is 'abc', not a number"),
        (">-1000<", "><", "its BOA_ADD_OFFSET is '', not a number"),
        ('band_id="3"', 'band_id="x"', "the band_id of a BOA_ADD_OFFSET is 'x', not a number"),
    ],
)
def test_an_element_of_the_metadata_that_is_no_number_is_named(safe, tmp_path, old, new, fault):
    metadata = tmp_path / "MTD_MSIL2A.xml"
    metadata.write_text((safe / metadata.name).read_text().replace(old, new))
    assert f"Cannot read {metadata}: {fault}. Get the product again." in fails(tmp_path)


def test_a_product_without_its_metadata_is_one_line(safe, tmp_path):
    part = shutil.copytree(safe, tmp_path / "a.SAFE", ignore=shutil.ignore_patterns("*.xml"))
    named = "lacks its metadata, MTD_MSIL1C.xml or MTD_MSIL2A.xml: get the whole product."
    assert f"{part} has the bands of a product and {named}" in fails(part)


def test_several_products_in_a_folder_are_named(safe, tmp_path):
    for name in ("a.SAFE", "b.SAFE"):
        (tmp_path / name).mkdir()
        shutil.copy(safe / "MTD_MSIL2A.xml", tmp_path / name)
    assert "holds 2 products: name one of them: " in fails(tmp_path)
