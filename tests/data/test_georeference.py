"""GeoTIFF tiles are located, and a spatial split keeps blocks together."""

import re
from dataclasses import replace

import numpy as np
import pytest
from image_files import encode, tiff, tile, write
from rasterio.transform import from_origin

from orbitune.data import georeference as georeference_module
from orbitune.data.georeference import read_locations, unit_vectors
from orbitune.data.spatial_blocks import block_indices, split_by_blocks
from orbitune.data.splits import split_tiles
from orbitune.data.tileset import TileSet, load_tiles
from orbitune.errors import DataError
from orbitune.fold import Fold
from orbitune.recipe import Recipe

pytestmark = [
    pytest.mark.filterwarnings("ignore:Dataset has no geotransform"),
    pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning"),  # rasterio's own
]
SIDE = 80.0  # metres: 8 pixels of 10 m


def geotiff(east: float, north: float, crs: str = "EPSG:32633", pixel: float = 10.0, value: int = 0) -> bytes:
    """A tile whose upper left corner lies there."""
    bands = np.full((3, 8, 8), value, np.uint8)
    return tiff(bands, crs=crs, transform=from_origin(east, north, pixel, pixel))


@pytest.fixture
def field(tmp_path):
    """400 tiles edge to edge, 20 by 20; the class changes from tile to tile."""
    for row in range(20):
        for column in range(20):
            data = geotiff(500_000 + SIDE * column, 5_000_000 - SIDE * row, value=row + 10 * column)
            write(tmp_path / "field" / "abc"[(row + column) % 3] / f"{row:02d}_{column:02d}.tif", data)
    return tmp_path / "field"


def scattered(count: int = 600, classes: int = 3, seed: int = 0) -> tuple[TileSet, np.ndarray]:
    """Return tiles scattered over some degrees."""
    random = np.random.default_rng(seed)
    labels = np.sort(random.integers(0, classes, count)).astype(np.int64)
    tiles = TileSet(
        tiles=np.zeros((count, 1, 1, 3), np.uint8),
        labels=labels,
        names=tuple(f"t{row}" for row in range(count)),
        classes=tuple("abcdefgh"[:classes]),
        own_splits={},
        fingerprint="",
        source="",
        notes=(),
        skipped=(),
    )
    return tiles, np.column_stack(
        [random.uniform(5, 15, count), random.uniform(45, 55, count), np.full(count, 640.0)]
    )


# --- coordinates ------------------------------------------------------------------------------------------


def test_a_geotiff_gives_longitude_latitude_and_side_in_metres(tmp_path):
    # The central meridian of UTM 33 is 15 degrees east; its false easting is 500 km.
    write(tmp_path / "a" / "1.tif", geotiff(500_000 - SIDE / 2, SIDE / 2))
    write(tmp_path / "b" / "1.tif", geotiff(20, 50, crs="EPSG:4326", pixel=0.001))
    locations = read_locations(load_tiles(str(tmp_path)))
    np.testing.assert_allclose(locations[0], [15, 0, SIDE], atol=0.7)
    np.testing.assert_allclose(locations[0, :2], [15, 0], atol=1e-6)
    np.testing.assert_allclose(locations[1, :2], [20.004, 49.996], atol=1e-9)
    assert locations[1, 2] == pytest.approx(0.008 * 111_195, rel=1e-3)


@pytest.mark.parametrize(
    "crs", ["EPSG:32633", 'LOCAL_CS["a map without a place",UNIT["metre",1]]'], ids=["far out", "local"]
)
def test_coordinates_that_lie_nowhere_on_earth_are_named(tmp_path, crs):
    write(tmp_path / "a" / "1.tif", geotiff(500_000, 0))
    write(tmp_path / "b" / "2.tif", geotiff(9e30, 9e30, crs=crs))
    with pytest.raises(DataError, match=r"^b/2\.tif has coordinates outside its coordinate"):
        read_locations(load_tiles(str(tmp_path)))


def test_coordinates_are_read_once_and_kept_beside_the_tiles(field, monkeypatch):
    tiles = load_tiles(str(field))
    first = read_locations(tiles)

    def refuse(_: bytes) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(georeference_module, "read_georeference", refuse)
    np.testing.assert_array_equal(read_locations(load_tiles(str(field))), first)


def test_a_damaged_file_of_coordinates_is_rebuilt(field, fresh_cache):
    cache = fresh_cache()
    tiles = load_tiles(str(field))
    first = read_locations(tiles)
    write(cache / "tiles" / tiles.fingerprint / "locations.npy", b"damaged")
    np.testing.assert_array_equal(read_locations(tiles), first)


def test_skipped_tiles_leave_no_gap_in_the_coordinates(field):
    whole = read_locations(load_tiles(str(field), "skip"))
    write(field / "a" / "00_00.tif", b"this is no image")
    np.testing.assert_array_equal(read_locations(load_tiles(str(field), "skip")), whole[1:])


def test_tiles_that_say_nothing_have_no_coordinates(folder):
    write(folder / "Sea" / "plain.tif", tiff(np.zeros((3, 8, 8), np.uint8)))
    assert read_locations(load_tiles(str(folder))) is None
    assert read_locations(load_tiles("synthetic:10")) is None


def test_a_tile_without_coordinates_among_others_is_named(field):
    write(field / "b" / "00_01.tif", encode(tile(), "TIFF"))
    with pytest.raises(DataError, match=r"^1 of 400 tiles has no coordinates, such as b/00_01\.tif"):
        read_locations(load_tiles(str(field)))


# --- blocks -----------------------------------------------------------------------------------------------


def test_blocks_have_the_given_size_at_any_latitude():
    for latitude in (0.0, 60.0, -75.0):
        line = np.column_stack([np.linspace(0, 1, 2001), np.full(2001, latitude), np.ones(2001)])
        blocks = block_indices(line, 5000.0)
        metres = 111_195 * np.cos(np.radians(latitude))
        assert len(np.unique(blocks)) == pytest.approx(metres / 5000, abs=1.1)


def test_a_block_is_entirely_in_one_split():
    tiles, locations = scattered()
    splits, notes = split_by_blocks(tiles, locations, seed=0, block_size=100_000.0)
    blocks = block_indices(locations, 100_000.0)
    held = [set(blocks[rows].tolist()) for rows in splits.values()]
    assert not held[0] & held[1] and not held[0] & held[2] and not held[1] & held[2]
    assert notes[0].startswith(f"spatial split: {blocks.max() + 1} blocks of ground of 100,000 m, each whole")


def test_the_shares_are_near_60_20_20_and_every_class_is_everywhere():
    tiles, locations = scattered(classes=5)
    splits, notes = split_by_blocks(tiles, locations, seed=3, block_size=None)
    for (_, rows), share in zip(splits.items(), (0.6, 0.2, 0.2), strict=True):
        assert abs(len(rows) / 600 - share) <= 0.05
        assert (np.bincount(tiles.labels[rows], minlength=5) > 0).all()
    assert len(np.unique(np.concatenate(list(splits.values())))) == sum(map(len, splits.values()))
    assert notes[0].endswith("stratified as blocks allow, with seed 3; no buffer")


def test_a_seed_gives_the_same_blocks_again_and_another_seed_others():
    tiles, locations = scattered()
    first, again, other = (
        split_by_blocks(tiles, locations, seed=seed, block_size=None)[0]["test"] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_tiles_of_different_splits_do_not_overlap():
    tiles, locations = scattered(2000)
    locations[:, :2] = locations[:, :2] / 50 + (10, 50)  # crowded, so that many overlap
    splits, notes = split_by_blocks(tiles, locations, seed=0, block_size=4000.0)
    points = unit_vectors(locations) * 6_371_008.8
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        far = np.linalg.norm(points[splits[one]][:, None] - points[splits[other]][None], axis=2)
        assert far.min() >= 0.9 * 640
    unused = 2000 - sum(map(len, splits.values()))
    assert unused > 0
    assert notes[1] == f"{unused:,} tiles that share ground with a tile of another split stay unused"


def test_tiles_edge_to_edge_all_stay(field):
    tiles = load_tiles(str(field))
    splits, notes = split_tiles(tiles, None, seed=0, split="spatial")
    assert sum(map(len, splits.values())) == 400 and len(notes) == 1
    locations = read_locations(tiles)
    neighbours = (
        np.linalg.norm(unit_vectors(locations)[:, None] - unit_vectors(locations)[None], axis=2) < 90 / 6.4e6
    )
    where = np.empty(400, int)
    for number, rows in enumerate(splits.values()):
        where[rows] = number
    apart = where[:, None] != where[None]
    random = np.empty(400, int)
    for number, rows in enumerate(split_tiles(tiles, None, seed=0, split="random")[0].values()):
        random[rows] = number
    # Fewer neighbours are parted than by a random split, which is what it is for.
    assert (neighbours & apart).sum() < 0.7 * (neighbours & (random[:, None] != random[None])).sum()


@pytest.mark.parametrize(
    ("block_size", "message"),
    [
        (500.0, r"^Blocks of 500 m are smaller than a tile of 640 m"),
        (5e6, r"^Blocks of 5,000,000 m are too few to split: choose a smaller --block-size"),
    ],
)
def test_a_size_of_blocks_that_does_not_fit_is_explained(block_size, message):
    with pytest.raises(DataError, match=message):
        split_by_blocks(*scattered(), seed=0, block_size=block_size)


def test_a_class_that_lies_in_one_place_cannot_be_split():
    tiles, locations = scattered()
    locations[tiles.labels == 1, :2] = (7.0, 50.0)
    with pytest.raises(
        DataError, match=r"^No size of blocks puts every class into train, validation and test"
    ):
        split_by_blocks(tiles, locations, seed=0, block_size=None)


def test_spatial_folds_share_their_blocks_and_test_each_tile_once():
    tiles, locations = scattered()
    found = [split_by_blocks(tiles, locations, seed=0, block_size=None, fold=fold) for fold in Fold.all_of(4)]
    tested = np.concatenate([splits["test"] for splits, _ in found])
    assert sorted(tested) == list(range(len(tiles.labels)))
    sizes = {re.search(r"[0-9,]+ blocks of ground of [0-9,]+ m", notes[0])[0] for _, notes in found}
    assert len(sizes) == 1 and found[1][1][0].startswith("spatial split: fold 2 of 4, ")
    for splits, _ in found:
        rows = np.concatenate([*splits.values()])
        assert len(np.unique(rows)) == len(rows)
        assert all(len(np.unique(tiles.labels[part])) == len(tiles.classes) for part in splits.values())


def test_lists_in_the_datas_folder_are_of_one_split_so_folds_need_coordinates(folder):
    (folder / "splits").mkdir()
    (folder / "splits" / "spatial-train.txt").write_text("")
    tiles = load_tiles(str(folder), progress=False)
    with pytest.raises(DataError, match="no coordinates, which blocks of ground and spatial folds need"):
        split_tiles(tiles, None, seed=0, split="spatial", fold="1/5")


def test_few_tiles_are_too_few_for_blocks():
    with pytest.raises(DataError, match=r"^No size of blocks"):
        split_by_blocks(*scattered(count=4, classes=2), seed=0, block_size=None)


# --- by name ----------------------------------------------------------------------------------------------


def test_a_spatial_split_of_tiles_without_coordinates_names_the_option(folder):
    for tiles in (load_tiles(str(folder)), load_tiles("synthetic:10")):
        with pytest.raises(
            DataError, match="no coordinates for a spatial split: pass --split-files, as for Euro"
        ):
            split_tiles(tiles, None, seed=0, split="spatial")


def test_lists_in_the_datas_own_folder_are_the_spatial_split(folder):
    for split, numbers in (("train", (0, 1, 2)), ("val", (3,)), ("test", (4,))):
        lines = [f"{name}_{number}.png" for name in ("Forest", "River", "Sea") for number in numbers]
        write(folder / "splits" / f"mine-spatial-{split}.txt", "\n".join(lines).encode())
    write(folder / "splits" / "mine-random-train.txt", b"Forest_0.png")
    tiles = load_tiles(str(folder))
    splits, notes = split_tiles(tiles, None, seed=0, split="spatial")
    assert splits["test"].tolist() == [4, 9, 14] and splits["validation"].tolist() == [3, 8, 13]
    assert "mine-spatial-train.txt" in notes[0]
    assert split_tiles(tiles, None, seed=0)[1][0].startswith("the data has no splits")


def test_lists_that_are_given_are_the_spatial_split(folder, tmp_path):
    for split, number in (("train", 0), ("val", 1), ("test", 2)):
        write(
            tmp_path / "lists" / f"{split}.txt",
            "\n".join(f"{n}_{number}" for n in ("Forest", "River", "Sea")).encode(),
        )
    tiles = load_tiles(str(folder))
    assert split_tiles(tiles, str(tmp_path / "lists"), seed=0, split="spatial")[0]["test"].tolist() == [
        2,
        7,
        12,
    ]


def test_a_random_split_ignores_the_splits_of_the_data():
    tiles, _ = scattered()
    own = replace(tiles, own_splits={"train": np.arange(0, 600, 2), "test": np.arange(1, 600, 2)})
    splits, notes = split_tiles(own, None, seed=7, split="random")
    assert notes == ("random split: drew 60/20/20 from all tiles, stratified, with seed 7",)
    for name, rows in split_tiles(tiles, None, seed=7)[0].items():
        np.testing.assert_array_equal(splits[name], rows)


def test_a_random_split_with_lists_is_a_contradiction():
    with pytest.raises(DataError.__base__, match="split random draws from all tiles: leave split_files out"):
        Recipe.make({"split": "random", "split_files": "lists"})


@pytest.mark.slow
@pytest.mark.shared
def test_eurosat_brings_its_published_spatial_split(shared):
    tiles = load_tiles(str(shared / "eurosat"))
    named, _ = split_tiles(tiles, None, seed=0, split="spatial")
    given, _ = split_tiles(tiles, str(shared / "eurosat" / "splits"), seed=0)
    for name, rows in given.items():
        np.testing.assert_array_equal(named[name], rows)
