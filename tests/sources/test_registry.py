"""Every source of tiles, and its errors."""

import os
import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from image_files import encode, tile, write
from parquet_files import CLASSES, parquet

from orbitune.data.tileset import load_tiles
from orbitune.errors import DataError
from orbitune.sources import image_folder


def pack(folder: Path, archive: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, prefix + path.relative_to(folder).as_posix())
    return archive


# --- class folders ----------------------------------------------------------------------------------------


def test_class_folders_give_tiles_names_and_classes(folder):
    tiles = load_tiles(str(folder))
    assert tiles.classes == CLASSES
    assert tiles.source == "folder of class folders, 15 tiles"
    assert tiles.names[6] == "River/River_1.png"
    assert tiles.labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    np.testing.assert_array_equal(tiles.tiles[6], tile(11))
    assert tiles.own_splits == {} and tiles.skipped == () and tiles.notes == ()


def test_copies_of_an_image_in_several_class_folders_are_named(folder):
    for name in ("Forest", "River", "Sea"):
        write(folder / name / "0001.png", encode(tile(len(name))))  # alike named, but not alike
    assert load_tiles(str(folder)).notes == ()
    shutil.copy(folder / "Forest" / "Forest_1.png", folder / "River")
    [note] = load_tiles(str(folder)).notes
    assert "such as Forest_1.png in Forest and River: each copy is a tile of one label" in note


@pytest.mark.parametrize("spelling", ["valid", "val", "dev", "Validation"])
def test_split_folders_above_the_classes_are_the_own_splits(folder, tmp_path, spelling):
    for name in ("train", spelling, "test"):
        shutil.copytree(folder, tmp_path / "splits" / name)
    tiles = load_tiles(str(tmp_path / "splits"))
    assert tiles.classes == CLASSES
    assert {name: len(rows) for name, rows in tiles.own_splits.items()} == {
        "train": 15,
        "validation": 15,
        "test": 15,
    }
    assert all(tiles.names[i].startswith("test/") for i in tiles.own_splits["test"])


def test_hidden_and_side_files_are_passed_over(folder):
    for name in ("labels.csv", "Forest/.DS_Store", "Forest/Thumbs.db", "Sea/Sea_1.png.aux.xml", "LICENSE"):
        write(folder / name, b"x")
    write(folder / "splits" / "train.txt", b"x")
    write(folder / ".git" / "config", b"x")
    assert load_tiles(str(folder)).classes == CLASSES


SYSTEM_FILES = [
    "@eaDir/Forest_0.png@SynoEAStream",
    "Forest/@eaDir/Forest_0.png/SYNOPHOTO_THUMB_M.png",
    "lost+found/x.png",
    "$RECYCLE.BIN/S-1-5/x.png",
    "System Volume Information/x.png",
    "#recycle/x.png",
    "@tmp/x.png",
    "__MACOSX/Forest/._Forest_0.png",
    ".Trashes/501/x.png",
    "Forest/.ipynb_checkpoints/x.png",
    "Forest/._Forest_0.png",
    "Forest/.DS_Store",
    "Sea/Thumbs.db",
    "Sea/desktop.ini",
    "Forest/Forest_0.png:Zone.Identifier",
    "Icon\r",
]


def test_system_files_in_folders_are_neither_classes_nor_tiles(folder):
    for name in SYSTEM_FILES:
        write(folder / name, b"x")
    tiles = load_tiles(str(folder))
    assert tiles.classes == CLASSES and len(tiles.names) == 15


def test_system_files_in_zips_are_neither_classes_nor_tiles(folder, tmp_path):
    archive = pack(folder, tmp_path / "tiles.zip")
    with zipfile.ZipFile(archive, "a") as file:
        for name in SYSTEM_FILES:
            file.writestr(name, b"x")
    tiles = load_tiles(str(archive))
    assert tiles.classes == CLASSES and len(tiles.names) == 15


def test_a_system_folder_that_nobody_may_read_stops_nothing(folder):
    place = folder / "lost+found"
    place.mkdir(mode=0o000)
    try:
        assert load_tiles(str(folder)).classes == CLASSES
    finally:
        place.chmod(0o700)


def test_system_folders_beside_parquet_files_stop_nothing(tmp_path):
    parquet(tmp_path / "set" / "train.parquet")
    for name in ("@eaDir/train.parquet", "#recycle/old.parquet", "._train.parquet"):
        write(tmp_path / "set" / name, b"x")
    assert len(load_tiles(str(tmp_path / "set")).names) == 6


@pytest.mark.parametrize("name", ["line\nbreak.png", "escape\x1b[31m.png", "return\r.png"])
def test_a_name_that_would_break_a_line_is_escaped_in_an_error(folder, name):
    write(folder / "Forest" / name, b"no image")
    with pytest.raises(DataError) as caught:
        load_tiles(str(folder))
    assert str(caught.value).isprintable()


def test_a_wrapping_folder_is_seen_through(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "outer" / "EuroSAT" / "2750")
    tiles = load_tiles(str(tmp_path / "outer"))
    assert tiles.classes == CLASSES
    assert tiles.names[0] == "EuroSAT/2750/Forest/Forest_0.png"


def test_a_linked_class_folder_is_followed(folder, tmp_path):
    shutil.move(folder / "Sea", tmp_path / "elsewhere")
    (folder / "Sea").symlink_to(tmp_path / "elsewhere")
    assert len(load_tiles(str(folder)).names) == 15


def test_a_circle_of_links_ends(folder):
    (folder / "Forest" / "again").symlink_to(folder)
    with pytest.raises(DataError, match="lies below a class folder"):
        load_tiles(str(folder))


def test_the_error_for_an_empty_folder_says_what_is_expected(tmp_path):
    with pytest.raises(DataError, match="expected a folder for each class"):
        load_tiles(str(tmp_path))


def test_an_empty_class_folder_is_named(folder):
    (folder / "Urban").mkdir()
    with pytest.raises(DataError, match="The folder Urban/ is empty"):
        load_tiles(str(folder))


def test_one_class_is_too_few(folder):
    shutil.rmtree(folder / "River")
    shutil.rmtree(folder / "Sea")
    with pytest.raises(DataError, match="only one class, Forest"):
        load_tiles(str(folder))


@pytest.mark.parametrize(
    ("name", "place"), [("stray.png", "beside the class folders"), ("Sea/deep/x.png", "below a class folder")]
)
def test_an_image_without_a_class_is_named_or_skipped(folder, name, place):
    write(folder / name, encode(tile()))
    with pytest.raises(DataError, match=f"^{name} has no label, as it lies {place}.*--on-bad-image skip"):
        load_tiles(str(folder))
    tiles = load_tiles(str(folder), "skip")
    assert len(tiles.names) == 15
    assert tiles.skipped == ((name, f"has no label, as it lies {place}"),)


def test_split_folders_without_class_folders_are_not_classes(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / "data" / split / "a.png", encode(tile()))
    with pytest.raises(DataError, match="has no label"):
        load_tiles(str(tmp_path / "data"))


# --- zips -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "EuroSAT/"])
def test_a_zip_of_class_folders_gives_the_same_tiles(folder, tmp_path, prefix):
    archive = pack(folder, tmp_path / "tiles.zip", prefix)
    tiles, plain = load_tiles(str(archive)), load_tiles(str(folder))
    assert tiles.source == "zip of class folders, 15 tiles"
    assert tiles.names == tuple(prefix + name for name in plain.names)
    np.testing.assert_array_equal(tiles.tiles, plain.tiles)
    np.testing.assert_array_equal(tiles.labels, plain.labels)


def test_a_folder_that_holds_one_zip_is_that_zip(folder, tmp_path):
    (tmp_path / "download").mkdir()
    pack(folder, tmp_path / "download" / "tiles.zip")
    write(tmp_path / "download" / "README.md", b"x")
    assert load_tiles(str(tmp_path / "download")).source == "zip of class folders, 15 tiles"


def test_a_mac_zip_is_read_without_its_shadow_files(folder, tmp_path):
    archive = pack(folder, tmp_path / "tiles.zip")
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("__MACOSX/Forest/._Forest_0.png", b"x")
        file.writestr(".DS_Store", b"x")
    assert len(load_tiles(str(archive)).names) == 15


def test_an_empty_class_folder_in_a_zip_is_named(folder, tmp_path):
    (folder / "Urban").mkdir()
    with pytest.raises(DataError, match="The folder Urban/ is empty"):
        load_tiles(str(pack(folder, tmp_path / "tiles.zip")))


def test_a_zip_that_is_none_is_named(tmp_path):
    with pytest.raises(DataError, match=r"^broken\.zip is damaged or not a zip file"):
        load_tiles(str(write(tmp_path / "broken.zip", b"PK but no more")))


def test_a_zip_with_names_that_climb_is_not_read(folder, tmp_path):
    archive = pack(folder, tmp_path / "tiles.zip")
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("Forest/../../escape.png", encode(tile()))
    with pytest.raises(DataError, match=r"holds names with `\.\.`"):
        load_tiles(str(archive))
    assert not (tmp_path.parent / "escape.png").exists()


def test_a_zip_with_two_files_of_one_name_is_refused(folder, tmp_path):
    archive = pack(folder, tmp_path / "tiles.zip")
    with zipfile.ZipFile(archive, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("Forest/Forest_0.png", encode(tile(200)))
    with pytest.raises(DataError, match="two files of the same name"):
        load_tiles(str(archive))


def test_a_zip_bomb_is_a_bad_tile(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(image_folder, "MAX_BYTES", 2**20)
    archive = pack(folder, tmp_path / "tiles.zip")
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as file, file.open("Sea/bomb.png", "w") as entry:
        entry.write(bytes(2**20 + 1))
    assert load_tiles(str(archive), "skip").skipped == (("Sea/bomb.png", "is larger than 1 MB"),)


def test_damaged_and_oddly_packed_zip_entries_are_bad_tiles(folder, tmp_path):
    archive = pack(folder, tmp_path / "tiles.zip")
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("Sea/odd.png", encode(tile()), zipfile.ZIP_LZMA)
    data = archive.read_bytes()
    archive.write_bytes(data.replace(encode(tile(3)), encode(tile(4)), 1))
    skipped = dict(load_tiles(str(archive), "skip").skipped)
    assert skipped["Sea/odd.png"] == "uses another compression than deflate"
    assert "CRC" in skipped["Forest/Forest_3.png"]


# --- parquet ----------------------------------------------------------------------------------------------


def test_a_parquet_data_set_brings_its_splits_names_and_classes(tmp_path):
    for split in ("train", "validation", "test"):
        parquet(tmp_path / "set" / "data" / f"{split}-00000-of-00001.parquet")
    tiles = load_tiles(str(tmp_path / "set"))
    assert tiles.source == "parquet data set, 18 tiles"
    assert tiles.classes == CLASSES
    assert {name: rows.tolist() for name, rows in tiles.own_splits.items()} == {
        "train": list(range(6)),
        "validation": list(range(6, 12)),
        "test": list(range(12, 18)),
    }
    assert tiles.names[7] == "validation-00000-of-00001_1.png"
    np.testing.assert_array_equal(tiles.tiles[7], tile(1))


def test_lists_beside_the_parquet_files_do_not_confuse(tmp_path):
    for split in ("train", "val", "test"):
        parquet(tmp_path / "set" / f"{split}.parquet")
        write(tmp_path / "set" / "splits" / f"{split}.txt", b"a\n")
        write(tmp_path / "set" / "splits" / f"more-{split}.txt", b"a\n")
    assert set(load_tiles(str(tmp_path / "set")).own_splits) == {"train", "validation", "test"}


def test_columns_are_found_by_type_whatever_their_names(tmp_path):
    from datasets import ClassLabel, Image

    parquet(
        tmp_path / "set" / "train.parquet",
        image=None,
        label=None,
        filename=None,
        tile=(Image(), [{"bytes": encode(tile(i)), "path": None} for i in range(4)]),
        cover=(ClassLabel(names=["a", "b"]), [0, 1, 1, 0]),
    )
    tiles = load_tiles(str(tmp_path / "set"))
    assert tiles.classes == ("a", "b") and tiles.labels.tolist() == [0, 1, 1, 0]
    assert tiles.names == ("train/000000", "train/000001", "train/000002", "train/000003")


def test_labels_may_be_words_and_images_plain_bytes(tmp_path):
    from datasets import Value

    parquet(
        tmp_path / "set" / "train.parquet",
        rows=3,
        image=(Value("binary"), [encode(tile(i)) for i in range(3)]),
        label=(Value("string"), ["sea", "forest", "sea"]),
    )
    tiles = load_tiles(str(tmp_path / "set"))
    assert tiles.classes == ("forest", "sea") and tiles.labels.tolist() == [1, 0, 1]
    np.testing.assert_array_equal(tiles.tiles[2], tile(2))


def test_rows_without_a_label_or_an_image_are_bad_tiles(tmp_path):
    from datasets import ClassLabel, Image

    images = [{"bytes": encode(tile(i)), "path": None} for i in range(5)]
    images[4] = {"bytes": None, "path": "/etc/passwd"}
    parquet(
        tmp_path / "set" / "train.parquet",
        rows=5,
        image=(Image(), images),
        label=(ClassLabel(names=list(CLASSES)), [0, -1, None, 1, 2]),
    )
    with pytest.raises(DataError, match=r"^train_1\.png has no label \(2 files\)"):
        load_tiles(str(tmp_path / "set"))
    tiles = load_tiles(str(tmp_path / "set"), "skip")
    assert tiles.names == ("train_0.png", "train_3.png")
    assert tiles.labels.tolist() == [0, 1]
    assert tiles.own_splits["train"].tolist() == [0, 1]
    assert tiles.skipped == (
        ("train_1.png", "has no label"),
        ("train_2.png", "has no label"),
        ("train_4.png", "holds no image, only the path of one"),
    )


def test_a_card_that_names_missing_files_is_one_line(tmp_path):
    parquet(tmp_path / "set" / "train.parquet")
    write(
        tmp_path / "set" / "README.md",
        b"---\nconfigs:\n- config_name: default\n  data_files: other.parquet\n---\n",
    )
    with pytest.raises(DataError, match=r"cannot be loaded \(.*other\.parquet") as caught:
        load_tiles(str(tmp_path / "set"))
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("dropped", "message"), [("image", "no image column among"), ("label", "no label column among")]
)
def test_a_missing_column_is_named(tmp_path, dropped, message):
    parquet(tmp_path / "set" / "train.parquet", **{dropped: None})
    with pytest.raises(DataError, match=message):
        load_tiles(str(tmp_path / "set"))


def test_a_damaged_parquet_file_is_named(tmp_path):
    path = parquet(tmp_path / "set" / "data" / "train.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"^data/train\.parquet is damaged"):
        load_tiles(str(tmp_path / "set"))


def test_a_split_that_is_none_of_the_three_is_left_out_with_a_note(tmp_path):
    write(
        tmp_path / "set" / "README.md",
        b"---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: train.parquet\n"
        b"  - split: extra\n    path: extra.parquet\n---\n",
    )
    parquet(tmp_path / "set" / "train.parquet")
    parquet(tmp_path / "set" / "extra.parquet")
    tiles = load_tiles(str(tmp_path / "set"))
    assert len(tiles.names) == 6
    assert tiles.notes == ("left out what is neither train, validation nor test: extra (6 tiles)",)


def test_nothing_of_a_parquet_data_set_stays_in_the_cache_but_the_store(tmp_path, fresh_cache):
    cache = fresh_cache()
    parquet(tmp_path / "set" / "train.parquet")
    load_tiles(str(tmp_path / "set"))
    assert {path.name for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"} == {
        "tiles.npy",
        "labels.npy",
        "meta.json",
    }


def test_local_data_never_touches_the_network(tmp_path, folder, monkeypatch, fresh_cache):
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was tried")

    fresh_cache()
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    parquet(tmp_path / "set" / "train.parquet")
    assert len(load_tiles(str(tmp_path / "set")).names) == 6
    assert len(load_tiles(str(folder)).names) == 15


# --- the hub ----------------------------------------------------------------------------------------------

LOAD = "import sys\nfrom orbitune.data.tileset import load_tiles\nprint(load_tiles(sys.argv[1]).source)"
ERROR = (
    "import sys\nfrom orbitune.data.tileset import load_tiles\nfrom orbitune.errors import DataError\n"
    "try: load_tiles(sys.argv[1])\nexcept DataError as error: print(error)"
)


def in_hub_cache(cache: Path) -> Path:
    """The folder of a data set made/tiles that the hub's library downloaded."""
    repository = cache / "datasets--made--tiles"
    write(repository / "refs" / "main", b"0123abc")
    return repository / "snapshots" / "0123abc"


def with_hub(code: str, data: str, cache: Path, **settings: str) -> str:
    """Run code in a process of its own, as the hub's library reads its settings once."""
    environment = {**os.environ, "HF_HUB_CACHE": str(cache), "HF_ENDPOINT": "http://127.0.0.1:9", **settings}
    command = [sys.executable, "-c", code, data]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("settings", [{"HF_HUB_OFFLINE": "1"}, {}], ids=["offline", "unreachable"])
def test_a_hub_data_set_in_the_hubs_cache_needs_no_hub(tmp_path, settings):
    for split in ("train", "test"):
        parquet(in_hub_cache(tmp_path) / "data" / f"{split}-00000-of-00001.parquet")
    source = with_hub(LOAD, "made/tiles", tmp_path, **settings)
    assert source == "hub data set made/tiles: parquet data set, 12 tiles"


def test_a_hub_data_set_may_be_class_folders_or_a_zip(tmp_path, folder):
    shutil.copytree(folder, in_hub_cache(tmp_path / "a"))
    in_hub_cache(tmp_path / "b").mkdir(parents=True)
    pack(folder, in_hub_cache(tmp_path / "b") / "tiles.zip")
    offline = {"HF_HUB_OFFLINE": "1"}
    words = "hub data set made/tiles: {} of class folders, 15 tiles"
    assert with_hub(LOAD, "made/tiles", tmp_path / "a", **offline) == words.format("folder")
    assert with_hub(LOAD, "made/tiles", tmp_path / "b", **offline) == words.format("zip")


@pytest.mark.parametrize(
    ("settings", "advice"), [({"HF_HUB_OFFLINE": "1"}, "unset it"), ({}, "cannot be reached")]
)
def test_a_hub_data_set_that_cannot_be_had_is_one_line_of_advice(tmp_path, settings, advice):
    message = with_hub(ERROR, "made/tiles", tmp_path, **settings)
    assert message.count("\n") == 0
    assert "made/tiles" in message and advice in message and "pass the folder" in message


@pytest.mark.parametrize(
    "data", ["./nowhere", "/no/where", "a/b/c", "nowhere", "owner/tiles.zip", "x" * 300, "./" + "y" * 300]
)
def test_a_path_that_does_not_exist_is_named(data):
    with pytest.raises(DataError, match=f"There is no folder or zip {data}"):
        load_tiles(data)


def test_a_damaged_zip_is_not_a_source(tmp_path):
    with pytest.raises(DataError, match="is neither a folder nor a zip"):
        load_tiles(str(write(tmp_path / "tile.png", encode(tile()))))


# --- synthetic --------------------------------------------------------------------------------------------


def test_synthetic_tiles_are_balanced_and_say_what_they_are():
    tiles = load_tiles("synthetic:30")
    assert tiles.tiles.shape == (30, 64, 64, 3) and len(tiles.classes) == 10
    assert np.bincount(tiles.labels).tolist() == [3] * 10
    assert tiles.source == "synthetic, 30 tiles" and len(set(tiles.names)) == 30
    assert "say nothing about satellite images" in tiles.notes[0]


@pytest.mark.parametrize("data", ["synthetic:", "synthetic:0", "synthetic:-3", "synthetic:many"])
def test_a_wrong_count_of_synthetic_tiles_is_explained(data):
    with pytest.raises(DataError, match="synthetic:2000"):
        load_tiles(data)


def test_a_name_that_is_not_utf8_is_accepted(folder):
    path = os.fsencode(folder / "Forest") + b"/caf\xe9.png"
    with open(path, "wb") as file:  # noqa: PTH123  # the name is bytes
        file.write(encode(tile(99)))
    tiles = load_tiles(str(folder))
    assert len(tiles.names) == 16 and os.fsencode(tiles.names[5]) == b"Forest/caf\xe9.png"
