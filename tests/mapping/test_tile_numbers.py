"""The encoding of 16-bit training tiles, from statistics of real scenes."""

import numpy as np
import pytest

from orbitune.data.band_statistics import compute_statistics
from orbitune.mapping.scene.radiometry import scale_to_numbers
from orbitune.mapping.scene.reader import Scene
from orbitune.mapping.scene.tile_numbers import TileNumbers
from orbitune.models.preprocessing import Preprocessing

SWITZERLAND = "switzerland_vaumarcus_offset1000/concise.tif"
PATCH = "bigearthnet_tiny/S2B_MSIL2A_20170914T093029_32_39"
NAMES = ("B02", "B03", "B04", "B08")


def preprocessing(bands=NAMES):
    values = (0.1,) * len(bands)
    return Preprocessing(
        image_size=64, mean=values, std=values, resample="bilinear", bands=bands, dtype="uint16"
    )


def tiles_of(pixels):
    """Statistics of tiles that hold the pixels with data of a scene, (bands, H, W)."""
    valid = ~np.ma.getmaskarray(pixels)[0]
    return compute_statistics([np.ascontiguousarray(pixels.data[:, valid].T.astype(np.uint16))[None, None]])


@pytest.fixture(scope="module")
def read(shared):
    def read(name, bands):
        """The numbers of a real scene, and its encoding for a four-band model."""
        with Scene(shared / "scenes" / name, bands) as scene:
            sample = scene.sample()
            return sample, scene.recognise_encoding(sample, read_as=NAMES)

    return read


@pytest.mark.parametrize(
    ("name", "bands", "kind", "black", "top"),
    [
        (SWITZERLAND, (1, 2, 3, 4), "digital numbers", -0.1, 10_000),
        (PATCH, NAMES, "digital numbers", 0.0, 10_000),
        ("xrspatial_s2_small/s2_B02B03B04B08.tif", (1, 2, 3, 4), "digital numbers", 0.0, 10_000),
        ("netherlands_amsterdam_l1c", NAMES, "16-bit fractions", 0.0, 65_535),
    ],
)
def test_tiles_of_a_real_scene_have_its_encoding_and_the_scene_stays_as_it_is(
    read, name, bands, kind, black, top
):
    sample, encoding = read(name, bands)
    tiles = TileNumbers.recognise(tiles_of(sample), preprocessing())
    assert (tiles.kind, tiles.black, tiles.top) == (kind, black, top)
    scaling = scale_to_numbers(encoding, tiles)
    assert scaling.low == pytest.approx((0.0,) * 4, abs=1e-6) and scaling.high == (float(top),) * 4
    assert np.abs(scaling(sample.filled(0)).astype(int) - np.moveaxis(sample.filled(0), 0, 2)).max() < 1


def test_a_scene_with_the_offset_is_brought_to_tiles_without_it_and_back(read):
    with_offset, without = read(SWITZERLAND, (1, 2, 3, 4)), read(PATCH, NAMES)
    tiles = [TileNumbers.recognise(tiles_of(sample), preprocessing()) for sample, _ in (with_offset, without)]
    there = scale_to_numbers(with_offset[1], tiles[1])
    assert there.low == (1000.0,) * 4 and there.high == (11_000.0,) * 4
    back = scale_to_numbers(without[1], tiles[0])
    assert back.low == (-1000.0,) * 4 and back.high == (9000.0,) * 4


def test_numbers_of_no_known_kind_stay_as_they_are(read):
    _, encoding = read(PATCH, NAMES)
    classes = compute_statistics([np.random.default_rng(0).integers(0, 40, (2, 16, 16, 4), np.uint16)])
    assert TileNumbers.recognise(classes, preprocessing()) is None
    assert TileNumbers.recognise(None, preprocessing()) is None
    assert scale_to_numbers(encoding, None).is_identity


def test_the_encoding_of_a_scene_does_not_depend_on_the_other_bands_that_are_read(shared):
    leipzig = shared / "scenes/germany_leipzig_mlr3/leipzig_raster.tif"
    with Scene(leipzig) as colours, Scene(leipzig, ("all",)) as every:
        one, other = (scene.recognise_encoding(scene.sample()) for scene in (colours, every))
    assert one.evidence == other.evidence and (one.kind, one.level) == (other.kind, other.level)
