"""Splits are disjoint, stratified and reproducible; lists that do not fit fail."""

from pathlib import Path

import numpy as np
import pytest
from image_files import encode, tile, write

from orbitune.data.splits import SPLITS, draw_shots, split_tiles
from orbitune.data.tileset import TileSet, load_tiles
from orbitune.errors import DataError


def tile_set(counts=(50, 30, 20), names=None, skipped=(), **own: list[int]) -> TileSet:
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    return TileSet(
        tiles=np.zeros((len(labels), 1, 1, 3), np.uint8),
        labels=labels,
        names=tuple(names or [f"c{label}/t_{i}.tif" for i, label in enumerate(labels)]),
        classes=tuple(f"c{label}" for label in range(len(counts))),
        own_splits={name: np.array(rows, np.int64) for name, rows in own.items()},
        fingerprint="",
        source="",
        notes=(),
        skipped=tuple(skipped),
    )


def lists(folder: Path, **names: list[str]) -> str:
    for stem, lines in names.items():
        write(folder / f"{stem}.txt", "\n".join(lines).encode())
    return str(folder)


def listed(tiles: TileSet, folder: Path) -> str:
    """Lists of the first 60, next 20 and last 20 of 100 tiles, shuffled."""
    order = np.random.default_rng(0).permutation(len(tiles.names))
    part = {"train": order[:60], "val": order[60:80], "test": order[80:]}
    return lists(folder, **{f"made-{name}": [tiles.names[i] for i in rows] for name, rows in part.items()})


# --- drawn at random --------------------------------------------------------------------------------------


def test_without_splits_60_20_20_are_drawn_and_stratified():
    tiles = tile_set()
    splits, notes = split_tiles(tiles, None, seed=42)
    counts = {name: np.bincount(tiles.labels[splits[name]]).tolist() for name in SPLITS}
    assert counts == {"train": [30, 18, 12], "validation": [10, 6, 4], "test": [10, 6, 4]}
    assert notes == ("the data has no splits: drew 60/20/20 at random, stratified, with seed 42",)


def test_splits_are_sorted_disjoint_int64_and_complete():
    splits, _ = split_tiles(tile_set(), None, seed=0)
    assert tuple(splits) == SPLITS
    for rows in splits.values():
        assert rows.dtype == np.int64 and (np.diff(rows) > 0).all()
    assert sorted(np.concatenate(list(splits.values()))) == list(range(100))


def test_a_seed_draws_the_same_and_another_seed_something_else():
    first, again, other = (split_tiles(tile_set(), None, seed=seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first["test"], again["test"])
    assert not np.array_equal(first["test"], other["test"])


def test_three_tiles_a_class_give_one_to_each_split():
    tiles = tile_set((3, 3, 3, 3))
    splits, _ = split_tiles(tiles, None, seed=0)
    for rows in splits.values():
        assert np.bincount(tiles.labels[rows]).tolist() == [1, 1, 1, 1]


def test_a_small_class_among_large_ones_keeps_a_training_tile():
    tiles = tile_set((500, 3, 400, 3))
    for seed in range(10):
        splits, _ = split_tiles(tiles, None, seed=seed)
        assert set(tiles.labels[splits["train"]]) == {0, 1, 2, 3}


def test_classes_with_fewer_than_three_tiles_are_named():
    with pytest.raises(DataError, match=r"^Too few tiles to split: c1 \(2\), c3 \(1\)"):
        split_tiles(tile_set((9, 2, 9, 1)), None, seed=0)


# --- the data's own ---------------------------------------------------------------------------------------


def test_own_splits_are_taken_as_they_are():
    rows = {"train": list(range(0, 100, 2)), "validation": list(range(1, 50, 2)), "test": [51, 53]}
    splits, notes = split_tiles(tile_set(**rows), None, seed=0)
    assert {name: part.tolist() for name, part in splits.items()} == rows
    own = "split: the train, validation and test lists that the data come with"
    unused = "in no split and unused: 23 of 100 tiles"
    assert notes == (own, unused, "no validation tile of c1, c2", "no test tile of c0, c2")


def test_a_missing_validation_split_is_drawn_from_train_alone():
    train = list(range(0, 100, 2))
    tiles = tile_set(train=train, test=list(range(1, 100, 2)))
    splits, notes = split_tiles(tiles, None, seed=7)
    assert splits["test"].tolist() == list(range(1, 100, 2))
    assert sorted([*splits["train"], *splits["validation"]]) == train
    assert len(splits["validation"]) == 12
    assert notes == ("the data has no validation split: drew it from train, stratified, seed 7",)


def test_a_data_set_with_train_alone_gets_both():
    splits, notes = split_tiles(tile_set(train=list(range(100))), None, seed=0)
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 60, "validation": 20, "test": 20}
    assert "no test and no validation split" in notes[0]


def test_own_splits_without_train_cannot_be_trained_on():
    with pytest.raises(DataError, match="test tiles but none to train on"):
        split_tiles(tile_set(test=[0, 1, 2]), None, seed=0)


def test_a_class_without_a_training_tile_is_named():
    with pytest.raises(DataError, match="no training tile of c2"):
        split_tiles(tile_set(train=list(range(80)), validation=[81], test=[82]), None, seed=0)


# --- lists of names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda name: name,
        lambda name: Path(name).name,
        lambda name: Path(name).stem,
        lambda name: Path(name).with_suffix(".jpg").name,
        lambda name: f"EuroSAT/2750/{name}",
        lambda name: name.replace("/", "\\"),
        lambda name: f"  {name}\r",
    ],
    ids=["full", "base", "stem", "other extension", "longer path", "backslash", "blanks"],
)
def test_names_are_matched_with_and_without_folder_and_extension(tmp_path, change):
    tiles = tile_set()
    expected, _ = split_tiles(tiles, listed(tiles, tmp_path / "plain"), seed=0)
    for path in sorted((tmp_path / "plain").iterdir()):
        write(tmp_path / path.name, "\n".join(map(change, path.read_text().split())).encode())
    splits, notes = split_tiles(tiles, str(tmp_path), seed=0)
    assert notes == ()
    for name in SPLITS:
        np.testing.assert_array_equal(splits[name], expected[name])


def test_lists_may_be_given_one_by_one(tmp_path):
    tiles = tile_set()
    folder = listed(tiles, tmp_path)
    named = f"train={folder}/made-train.txt, val={folder}/made-val.txt,test={folder}/made-test.txt"
    for one, other in zip(
        split_tiles(tiles, named, seed=0)[0].values(),
        split_tiles(tiles, folder, seed=0)[0].values(),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_lists_come_before_own_splits(tmp_path):
    tiles = tile_set(train=list(range(100)))
    assert len(split_tiles(tiles, listed(tiles, tmp_path), seed=0)[0]["test"]) == 20


def test_tiles_in_no_list_stay_unused_with_a_note(tmp_path):
    tiles = tile_set((4, 4))
    names = tiles.names
    given = lists(tmp_path, train=[names[0], names[4]], val=[names[1]], test=[names[2]])
    splits, notes = split_tiles(tiles, given, seed=0)
    assert splits["train"].tolist() == [0, 4]
    unused = "in no list and unused: 4 of 8 tiles"
    assert notes == (unused, "no validation tile of c1", "no test tile of c1")


def test_tiles_that_were_skipped_as_bad_may_be_listed(tmp_path):
    tiles = tile_set((2, 2), skipped=[("c0/bad.tif", "is empty")])
    names = tiles.names
    given = lists(tmp_path, train=[names[0], names[2], "bad.jpg"], val=[names[1]], test=[names[3]])
    splits, notes = split_tiles(tiles, given, seed=0)
    assert splits["train"].tolist() == [0, 2]
    assert notes[0] == "skipped as bad: 1 tile of train.txt"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"val": ["c0/t_1.tif", "c9/t_77.tif"]},
            r"^c9/t_77\.tif, listed in val\.txt, is not among the tiles",
        ),
        ({"val": ["t_0.tif"]}, r"^c0/t_0\.tif is listed for both train and validation"),
        ({"val": []}, r"^val\.txt lists no tile"),
        ({"train": ["t_0"]}, "no training tile of c1"),
        ({"trainval": ["t_0"]}, "has 2 lists for train"),
    ],
)
def test_a_list_that_does_not_fit_is_explained(tmp_path, change, message):
    fitting = {"train": ["t_0", "t_4"], "val": ["t_1"], "test": ["t_2"]}
    with pytest.raises(DataError, match=message):
        split_tiles(tile_set((4, 4)), lists(tmp_path, **(fitting | change)), seed=0)


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(DataError, match="has no lists for validation"):
        split_tiles(tile_set(), lists(tmp_path, train=["t_0"], test=["t_1"]), seed=0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nowhere", "There is no folder nowhere"),
        ("train=a.txt,valid=b.txt,test=c.txt", r"Cannot read the list a\.txt"),
        ("train=a.txt,exam=b.txt", "'exam' is not a split"),
        ("train=a.txt,test=c.txt", "has no lists for validation"),
    ],
)
def test_lists_that_are_not_there_are_named(given, message):
    with pytest.raises(DataError, match=message):
        split_tiles(tile_set(), given, seed=0)


def test_a_list_that_is_not_text_is_named(tmp_path):
    given = lists(tmp_path, train=["t_0"], val=["t_1"], test=["t_2"])
    write(tmp_path / "train.txt", b"\xff\xfe\x00\x81")
    with pytest.raises(DataError, match="is not a list of file names"):
        split_tiles(tile_set(), given, seed=0)


def test_a_name_that_several_tiles_share_needs_its_folder(tmp_path):
    tiles = tile_set((2, 2), names=["a/1.tif", "a/2.tif", "b/1.tif", "b/2.tif"])
    clear = lists(tmp_path / "clear", train=["a/1.jpg", "x/b/1.jpg"], val=["a/2"], test=["b/2.tif"])
    assert split_tiles(tiles, clear, seed=0)[0]["train"].tolist() == [0, 2]
    vague = lists(tmp_path / "vague", train=["1.tif", "b/1"], val=["a/2"], test=["b/2"])
    with pytest.raises(DataError, match=r"^1\.tif, listed in train\.txt, may be several tiles"):
        split_tiles(tiles, vague, seed=0)


@pytest.mark.shared
def test_the_published_spatial_split_of_eurosat_fits(shared):
    splits, notes = split_tiles(
        load_tiles(str(shared / "eurosat")), str(shared / "eurosat" / "splits"), seed=0
    )
    assert {name: len(rows) for name, rows in splits.items()} == {
        "train": 16_200,
        "validation": 5_400,
        "test": 5_400,
    }
    assert notes == ()


def test_a_list_entry_never_matches_a_tile_of_another_folder(tmp_path):
    tiles = tile_set((2, 1), names=["Forest/1.jpg", "Forest/2.jpg", "River/2.jpg"])
    longer = lists(tmp_path / "a", train=["elsewhere/Forest/1.jpg", "River/2"], val=["Forest/2"], test=[])
    with pytest.raises(DataError, match=r"^test\.txt lists no tile"):  # the other names are found
        split_tiles(tiles, longer, seed=0)
    wrong = lists(tmp_path / "b", train=["River/1.jpg"], val=["Forest/2"], test=["River/2"])
    with pytest.raises(DataError, match=r"River/1\.jpg, listed in train\.txt, is not among the tiles"):
        split_tiles(tiles, wrong, seed=0)


# --- few shots --------------------------------------------------------------------------------------------


def test_shots_are_so_many_training_tiles_of_each_class():
    tiles = tile_set()
    train = split_tiles(tiles, None, seed=0)[0]["train"]
    drawn = draw_shots(tiles, train, shots=5, seed=0)
    assert np.bincount(tiles.labels[drawn]).tolist() == [5, 5, 5]
    assert set(drawn) < set(train) and (np.diff(drawn) > 0).all()


def test_fewer_shots_of_a_seed_are_some_of_the_more():
    tiles = tile_set()
    train = split_tiles(tiles, None, seed=0)[0]["train"]
    one, five, all_twelve = (set(draw_shots(tiles, train, shots=shots, seed=3)) for shots in (1, 5, 12))
    assert one < five < all_twelve
    assert draw_shots(tiles, train, shots=5, seed=4).tolist() != sorted(five)


def test_a_class_with_fewer_training_tiles_than_shots_is_named():
    tiles = tile_set()
    with pytest.raises(DataError, match=r"^Too few training tiles for 15 shots: c2 \(12\)"):
        draw_shots(tiles, split_tiles(tiles, None, seed=0)[0]["train"], shots=15, seed=0)


def test_an_error_names_ten_classes_and_not_thousands(tmp_path):
    for number in range(30):
        write(tmp_path / f"class_{number:02d}" / "x.png", encode(tile(number)))
    with pytest.raises(DataError, match=r"class_09 \(1\) and 20 more; a class needs"):
        split_tiles(load_tiles(str(tmp_path)), None, seed=0)
