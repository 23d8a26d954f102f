"""Band names, their aliases and wavelengths, and the choice of bands."""

import pytest

from orbitune.errors import DataError
from orbitune.sources.band_names import (
    SENTINEL2,
    band_in_text,
    canonical_name,
    find_bands,
    parse_bands,
    wavelength,
)


@pytest.mark.parametrize(
    ("name", "band"),
    [
        ("B4", "B04"),
        ("b04", "B04"),
        ("Band 4", "B04"),
        ("red", "B04"),
        ("Red-Edge 1", "B05"),
        ("b8a", "B8A"),
        ("B08A", "B8A"),
        ("nir", "B08"),
        ("swir16", "B11"),
        ("B13", None),
        ("ndvi", None),
        ("", None),
    ],
)
def test_a_name_means_a_band(name, band):
    assert canonical_name(name) == band


@pytest.mark.parametrize(
    ("text", "band"),
    [
        ("S2A_MSIL2A_20170617T113321_36_85_B12", "B12"),
        ("T32ULC_20220101T103421_B8A_20m", "B8A"),
        ("B4, central wavelength 665 nm", "B04"),
        ("864.7 Nanometers", "B8A"),
        ("1.61 um", "B11"),
        ("thermal, 10.9 um", None),
        ("ndvi", "ndvi"),
        ("a mosaic", None),
        ("B02 to B04", None),
        ("LC08_L2SP_195025_20220301_20220308_02_T1_SR_B4", "B04"),
        ("LC09_L2SP_195025_20220301_20220308_02_T1_SR_B5", "B8A"),
        ("lc08_l2sp_195025_20220301_20220308_02_t1_sr_b6", "B11"),
        ("SR_B4", None),  # red of Landsat 8, near infrared of Landsat 7
        ("LC08_L2SP_195025_20220301_20220308_02_T1_ST_B10", None),
        ("LC08_L2SP_195025_20220301_20220308_02_T1_SR_QA_AEROSOL", None),
        ("LE07_L2SP_195025_20020301_20200916_02_T1_SR_B4", "B08"),
        ("LT05_L2SP_195025_19900301_20200916_02_T1_ST_B6", None),
        ("", None),
    ],
)
def test_a_description_mentions_a_band(text, band):
    assert band_in_text(text) == band


def test_wavelengths_rise_with_the_bands():
    values = [band.wavelength for band in SENTINEL2.values()]
    assert values == sorted(values)
    assert wavelength("blue") == wavelength("B02") == 492.4
    assert wavelength("ndvi") is None


def test_bands_are_chosen_by_name_alias_and_number():
    names = ("B02", "b03", "B04", "ndvi", "")
    assert find_bands(parse_bands("red, B03,5,NDVI"), names, whose="x.tif") == (3, 2, 5, 4)
    assert find_bands(["all"], names, whose="x.tif") == (1, 2, 3, 4, 5)


@pytest.mark.parametrize("text", ["", "B04,,B02", ","])
def test_an_empty_choice_is_an_error(text):
    with pytest.raises(DataError, match="--bands takes"):
        parse_bands(text)


@pytest.mark.parametrize(
    ("asked", "names", "message"),
    [
        ("B11", ("B02", "B03"), "x.tif has no band B11: it has B02, B03."),
        (4, ("B02", "B03"), "x.tif has no band 4: it has B02, B03."),
        (0, ("", ""), "x.tif has no band 0: it has 1 to 2."),
        ("red", ("B4", "B04"), "x.tif has 2 bands red: it has B4, B04."),
    ],
)
def test_a_band_that_is_not_there_is_an_error(asked, names, message):
    with pytest.raises(DataError, match="^" + message.replace(".", r"\.") + "$"):
        find_bands([asked], names, whose="x.tif")


def test_all_bands_that_are_not_there_are_named():
    with pytest.raises(DataError, match=r"^x\.tif has no bands B11, B12: it has B02, B08\.$"):
        find_bands(["B02", "B11", "nir", "B12"], ("B02", "B08"), whose="x.tif")
