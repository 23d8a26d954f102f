"""Labels from tables: the hub's metadata beside images, and lists of tiles."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from image_files import encode, tile, write

from orbitune.cache import cache_folder
from orbitune.data.splits import split_tiles
from orbitune.data.tileset import load_tiles
from orbitune.errors import DataError
from orbitune.integrity import read_checksummed_json, write_checksummed_json
from orbitune.sources.manifest import ColumnSelection

ROWS = [("a.png", "Sea"), ("b.png", "Forest"), ("c.png", "Sea")]


def csv_of(rows, header=("file_name", "label")) -> bytes:
    return "".join(",".join(map(str, row)) + "\n" for row in [header, *rows]).encode()


def jsonl_of(rows, header=("file_name", "label")) -> bytes:
    return "".join(json.dumps(dict(zip(header, row, strict=True))) + "\n" for row in rows).encode()


def parquet_of(rows, header=("file_name", "label")) -> bytes:
    import io

    import pyarrow as pa
    from pyarrow.parquet import write_table

    file = io.BytesIO()
    write_table(pa.table(dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))), file)
    return file.getvalue()


def load(folder: Path, on_bad_image: str = "stop", **selected: str):
    return load_tiles(str(folder), on_bad_image, selection=ColumnSelection(**selected))


# --- the hub's convention ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "make"),
    [("metadata.csv", csv_of), ("metadata.jsonl", jsonl_of), ("metadata.parquet", parquet_of)],
)
def test_metadata_beside_images_gives_the_labels(images, name, make):
    write(images / name, make(ROWS))
    tiles = load(images)
    assert tiles.source == "folder of images with metadata, 3 tiles"
    assert tiles.classes == ("Forest", "Sea") and tiles.labels.tolist() == [1, 0, 1]
    assert tiles.names == ("a.png", "b.png", "c.png")
    np.testing.assert_array_equal(tiles.tiles[2], tile(2))
    assert tiles.notes == (f"labels from {name}, column label",)


def test_where_a_table_has_label_and_labels_the_note_says_which_is_read(images):
    rows = "\n".join(f"{name},{label},{label}|Land" for name, label in ROWS)
    write(images / "named.csv", f"file_name,label,labels\n{rows}".encode())
    tiles = load(images / "named.csv")
    note = "labels from named.csv, column label; --label-column labels reads its column labels instead"
    assert tiles.notes == (note,)


def test_labels_come_from_metadata_and_not_from_the_folders(folder):
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.png"))]
    rows = [(name, "dry" if name.startswith("Forest") else "wet") for name in names]
    write(folder / "metadata.csv", csv_of(rows))
    tiles = load(folder)
    assert tiles.classes == ("dry", "wet") and np.bincount(tiles.labels).tolist() == [5, 10]


def test_metadata_in_a_zip_gives_the_labels(images, tmp_path):
    write(images / "metadata.csv", csv_of(ROWS))
    with zipfile.ZipFile(tmp_path / "tiles.zip", "w") as file:
        for path in sorted(images.iterdir()):
            file.write(path, f"wrapped/{path.name}")
    tiles = load(tmp_path / "tiles.zip")
    assert tiles.source == "zip of images with metadata, 3 tiles"
    assert tiles.classes == ("Forest", "Sea") and tiles.labels.tolist() == [1, 0, 1]
    assert tiles.names[0] == "wrapped/a.png"


def test_split_folders_with_metadata_of_their_own_are_the_splits(images, tmp_path):
    for split in ("train", "val", "test"):
        shutil.copytree(images, tmp_path / "set" / split)
        write(tmp_path / "set" / split / "metadata.csv", csv_of(ROWS))
    tiles = load(tmp_path / "set")
    assert {name: len(rows) for name, rows in tiles.own_splits.items()} == {
        "train": 3,
        "validation": 3,
        "test": 3,
    }
    splits, _ = split_tiles(tiles, None, seed=0)
    assert {tiles.names[row].split("/")[0] for row in splits["validation"]} == {"val"}


def test_split_folders_below_one_table_are_the_splits_too(images, tmp_path):
    for split in ("train", "test"):
        shutil.copytree(images, tmp_path / "set" / split)
    rows = [(f"{split}/{name}", label) for split in ("train", "test") for name, label in ROWS]
    write(tmp_path / "set" / "metadata.csv", csv_of(rows))
    assert set(load(tmp_path / "set").own_splits) == {"train", "test"}


HEADER = ("file_name", "label", "split")


def with_splits(*splits):
    return [(*row, split) for row, split in zip(ROWS, splits, strict=True)]


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("tiles.csv", csv_of),
        ("tiles.jsonl", jsonl_of),
        ("metadata.csv", csv_of),
        ("metadata.parquet", parquet_of),
    ],
)
def test_a_column_of_splits_gives_the_own_splits(images, name, make):
    write(images / name, make(with_splits("train", "val", "Test"), HEADER))
    tiles = load(images / name if name.startswith("tiles") else images)
    assert rows_of(tiles) == {"train": [0], "validation": [1], "test": [2]}
    assert tiles.notes[-1] == "splits from the column split"


def rows_of(tiles):
    return {split: rows.tolist() for split, rows in tiles.own_splits.items()}


def test_values_of_the_column_that_are_no_split_are_named_and_their_tiles_unused(images):
    write(images / "tiles.csv", csv_of(with_splits("train", "", "eval"), HEADER))
    tiles = load(images / "tiles.csv")
    assert rows_of(tiles) == {"train": [0]}
    assert tiles.notes[-1] == (
        "splits from the column split; neither train, validation nor test: no value (1 tile), eval (1 tile)"
    )


@pytest.mark.parametrize("splits", [("A", "B", "A"), ("", "", "")])
def test_a_column_split_of_something_else_gives_no_splits(images, splits):
    write(images / "tiles.csv", csv_of(with_splits(*splits), HEADER))
    tiles = load(images / "tiles.csv")
    assert not tiles.own_splits and tiles.notes == ("labels from tiles.csv, column label",)


def test_a_column_split_that_was_chosen_for_the_labels_gives_no_splits(images):
    write(images / "tiles.csv", csv_of(with_splits("train", "bus", "bus"), HEADER))
    tiles = load(images / "tiles.csv", label_column="split")
    assert tiles.classes == ("bus", "train") and not tiles.own_splits


def test_tiles_of_tables_without_the_column_are_in_the_split_of_their_folder(images, tmp_path):
    for split in ("train", "test"):
        shutil.copytree(images, tmp_path / "set" / split)
    write(tmp_path / "set" / "train" / "metadata.csv", csv_of(ROWS))
    write(tmp_path / "set" / "test" / "metadata.csv", csv_of(with_splits("test", "test", "val"), HEADER))
    assert rows_of(load(tmp_path / "set")) == {"test": [0, 1], "validation": [2], "train": [3, 4, 5]}


def test_a_column_of_splits_beside_columns_of_classes_is_none_of_them(images):
    rows = [("a.png", 1, 0, "train"), ("b.png", 0, 1, "val"), ("c.png", 1, 1, "test")]
    write(images / "tiles.csv", csv_of(rows, ("file_name", "Sea", "Forest", "Split")))
    tiles = load(images / "tiles.csv")
    assert set(tiles.classes) == {"Sea", "Forest"}
    assert set(tiles.own_splits) == {"train", "validation", "test"}


def test_a_store_of_before_the_column_was_read_is_built_again(images):
    write(images / "tiles.csv", csv_of(with_splits("train", "val", "test"), HEADER))
    meta = cache_folder("tiles") / load(images / "tiles.csv").fingerprint / "meta.json"
    older = {**read_checksummed_json(meta), "format": 2, "own_splits": {}}
    write_checksummed_json(meta, older)
    assert set(load(images / "tiles.csv").own_splits) == {"train", "validation", "test"}


def test_the_label_column_may_be_chosen(images):
    header = ("file_name", "caption", "cover", "label")
    rows = [(name, f"a view of {label}", label, i) for i, (name, label) in enumerate(ROWS)]
    write(images / "metadata.csv", csv_of(rows, header))
    assert load(images).classes == ("0", "1", "2")
    chosen = load(images, label_column="cover")
    assert chosen.classes == ("Forest", "Sea")
    assert chosen.fingerprint != load(images).fingerprint


def test_a_table_without_a_label_column_is_refused_by_name(images):
    write(images / "metadata.csv", csv_of([("a.png", "a view of the sea")], ("file_name", "text")))
    with pytest.raises(DataError) as caught:
        load(images)
    assert str(caught.value) == (
        "metadata.csv has no column label among file_name, text: choose one with --label-column, or rename "
        "metadata.csv to have the folders as classes."
    )
    with pytest.raises(DataError, match="no column cover among file_name, text"):
        load(images, label_column="cover")


def test_a_table_without_a_file_column_is_refused_by_name(images):
    write(images / "metadata.csv", csv_of([(1, "Sea")], ("id", "label")))
    with pytest.raises(DataError, match=r"^metadata\.csv has no column file_name .* among id, label"):
        load(images)


def test_the_content_of_metadata_is_part_of_the_fingerprint(images):
    write(images / "metadata.csv", csv_of(ROWS))
    first = load(images)
    write(images / "metadata.csv", csv_of([*ROWS[:2], ("c.png", "Forest")]))
    second = load(images)
    assert first.fingerprint != second.fingerprint and second.labels.tolist() == [1, 0, 0]


def test_files_that_are_listed_and_missing_are_named(images):
    write(images / "metadata.csv", csv_of([*ROWS, ("d.png", "Sea"), ("e.png", "Sea")]))
    with pytest.raises(
        DataError, match=r"^d\.png is listed in metadata\.csv, but is not there.* \(2 files\)"
    ):
        load(images)


def test_names_that_are_listed_without_their_endings_are_counted_apart_from_images_without_a_label(images):
    write(images / "metadata.csv", csv_of([(name.removesuffix(".png"), label) for name, label in ROWS]))
    with pytest.raises(DataError) as caught:
        load(images)
    assert str(caught.value) == (
        "a is listed in metadata.csv, but is not there, relative to the table's folder, with its ending "
        "(3 files); a.png is not listed in metadata.csv (3 files). Fix or remove them, or leave such files "
        "out with --on-bad-image skip."
    )


def test_files_that_are_not_listed_or_have_no_label_are_bad_tiles(images):
    write(images / "metadata.csv", csv_of([("a.png", "Sea"), ("b.png", "")]))
    write(images / "d.png", encode(tile(3)))
    write(images / "metadata.csv", csv_of([("a.png", "Sea"), ("b.png", ""), ("d.png", "Forest")]))
    with pytest.raises(DataError, match=r"^c\.png is not listed in metadata\.csv.*--on-bad-image skip"):
        load(images)
    assert load(images, "skip").skipped == (
        ("c.png", "is not listed in metadata.csv"),
        ("b.png", "has no label in metadata.csv"),
    )


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "x/../../y.png", "C:\\tiles\\a.png", ""])
def test_names_that_lead_out_of_the_folder_are_refused(images, name):
    write(images.parent / "secret.png", encode(tile()))
    write(images / "metadata.csv", csv_of([*ROWS, (name, "Sea")]))
    with pytest.raises(
        DataError, match=r"^metadata\.csv (lists .*absolute ones are not read|has a row without)"
    ):
        load(images)


def test_a_file_that_is_listed_twice_is_named(images):
    write(images / "metadata.csv", csv_of([*ROWS, ("a.png", "Forest")]))
    with pytest.raises(DataError, match=r"^a\.png is listed twice"):
        load(images)


# --- what is no label -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.25, 0.5, 1.5], "holds numbers such as 0.25"),
        ([1.0, 2.0, None], "holds numbers such as 1.0"),
        ([{"bbox": [1, 2]}, {}, {}], "holds a dict"),
        (["[1, 0]", "[0, 1]", "[1, 1]"], "holds lists of 2 values of 0 and 1: write the names"),
        (["0.5", "0.7", "2"], "holds numbers such as 0.5"),
        ([1, "Sea", 2], "mixes words and numbers"),
        ([True, 1, False], "mixes true/false and numbers"),
        ([True, "True", False], "mixes words and true/false"),
        (["1", "01", "2"], "holds 01 and 1: write each class in one way only"),
        (["Sea", "1", "001"], "holds 001 and 1"),
        (["Sea", "For\nest", "Sea"], "holds .* cannot be a class name"),
        (["x" * 300, "Sea", "Sea"], "holds .* cannot be a class name"),
    ],
)
def test_what_cannot_be_a_label_is_refused_by_name(images, values, message):
    rows = [(name, value) for (name, _), value in zip(ROWS, values, strict=True)]
    write(images / "metadata.jsonl", jsonl_of(rows))
    with pytest.raises(DataError, match=f"^The column label of metadata.jsonl {message}") as caught:
        load(images, "skip")
    assert len(str(caught.value).splitlines()) == 1


def test_captions_are_not_classes(tmp_path):
    rows = [(f"{n}.png", f"scene {n}") for n in range(30)]
    for name, _ in rows:
        write(tmp_path / "set" / name, encode(tile()))
    write(tmp_path / "set" / "metadata.csv", csv_of(rows))
    with pytest.raises(DataError, match="holds 30 different values for 30 tiles, such as 'scene 0'"):
        load(tmp_path / "set")


@pytest.mark.parametrize(
    ("values", "classes", "labels"),
    [
        ([2, 10, 2], ("2", "10"), [0, 1, 0]),
        (["2", "10", "2"], ("2", "10"), [0, 1, 0]),
        ([" Sea", "Forest ", "Sea"], ("Forest", "Sea"), [1, 0, 1]),
        ([True, False, True], ("False", "True"), [1, 0, 1]),
    ],
)
def test_words_and_whole_numbers_are_classes(images, values, classes, labels):
    rows = [(name, value) for (name, _), value in zip(ROWS, values, strict=True)]
    write(images / "metadata.jsonl", jsonl_of(rows))
    tiles = load(images)
    assert tiles.classes == classes and tiles.labels.tolist() == labels


@pytest.mark.parametrize("missing", [None, "", "NA", "nan", float("nan")])
def test_a_missing_value_is_not_a_class(images, missing):
    rows = [("a.png", "Sea"), ("b.png", "Forest"), ("c.png", missing)]
    write(images / "metadata.jsonl", jsonl_of(rows))
    tiles = load(images, "skip")
    assert tiles.classes == ("Forest", "Sea")
    assert tiles.skipped == (("c.png", "has no label in metadata.jsonl"),)


# --- how tables are written -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + csv_of(ROWS),
        csv_of(ROWS).replace(b"\n", b"\r\n"),
        csv_of(ROWS).replace(b",", b";"),
        csv_of(ROWS).decode().encode("utf-16"),
        csv_of(ROWS).replace(b"Sea", b'"Sea"').rstrip() + b"\n\n",
        csv_of(ROWS).replace(b"a.png", b"./a.png"),
    ],
    ids=["BOM", "CRLF", "semicolons", "UTF-16", "quotes", "dot"],
)
def test_tables_are_read_as_programs_write_them(images, data):
    write(images / "metadata.csv", data)
    assert load(images).labels.tolist() == [1, 0, 1]


def test_a_quoted_value_may_hold_commas(images):
    rows = b'a.png,"Sea, deep"\nb.png,"a ""b"""\nc.png,"Sea, deep"\n'
    write(images / "metadata.csv", b"file_name,label\n" + rows)
    assert load(images).classes == ("Sea, deep", 'a "b"')


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("metadata.csv", b"", "has no rows"),
        ("metadata.csv", b"file_name,label\n", "has no rows"),
        ("metadata.csv", b"file_name,label\na.png,Sea,x\n", "line 2 has 3 values for 2 columns"),
        ("metadata.csv", b"file_name,label\na.png\n", "line 2 has 1 value for 2 columns"),
        ("metadata.csv", b"file_name,label,label\na.png,Sea,x\n", "two columns have the same name"),
        ("metadata.csv", b"file_name,label\na.png,\xff\xfe\xe9\n", "not encoded in UTF-8"),
        ("metadata.csv", b"file_name,label\na.png,\0\n", "zero bytes"),
        ("metadata.csv", b'file_name,label\na.png,"Sea\n', "unexpected end of data"),
        ("metadata.csv", b"file_name,label\na.png," + b"x" * 200_000 + b"\n", "field larger than"),
        ("metadata.jsonl", b'{"file_name": "a.png", "label"\n', "line 1 is not JSON"),
        ("metadata.jsonl", b"[1]\n", "line 1 is not an object"),
        ("metadata.jsonl", b'{"a":' * 100_000, "line 1 is not JSON|recursion"),
        ("metadata.parquet", b"PAR1 and no more", "it is damaged or not a Parquet file"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_line(images, name, data, message):
    write(images / name, data)
    with pytest.raises(DataError, match=message) as caught:
        load(images)
    assert name in str(caught.value) and len(str(caught.value).splitlines()) == 1


# --- lists of tiles ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["file_name", "filename", "file", "image", "path"])
def test_a_csv_of_names_and_labels_is_a_data_set(images, column):
    write(images / "tiles.csv", csv_of(ROWS[:2], (column, "label")))
    tiles = load(images / "tiles.csv")
    assert tiles.source == "list of tiles, 2 tiles"
    assert tiles.names == ("a.png", "b.png") and tiles.classes == ("Forest", "Sea")


def test_a_list_may_lie_above_its_tiles_and_be_json_lines(images):
    write(images.parent / "tiles.jsonl", jsonl_of([(f"images/{name}", label) for name, label in ROWS]))
    assert load(images.parent / "tiles.jsonl").labels.tolist() == [1, 0, 1]


def test_the_tiles_of_a_list_are_part_of_its_fingerprint(images):
    write(images / "tiles.csv", csv_of(ROWS))
    first = load(images / "tiles.csv").fingerprint
    write(images / "a.png", encode(tile(99)))
    assert load(images / "tiles.csv").fingerprint != first


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (("tile", "label"), "no column file_name or filename or file or image or path among tile, label"),
        (("file", "path", "label"), "several columns of file names among file, path, label"),
        (("file", "cover"), "no column label among file, cover"),
    ],
)
def test_a_list_whose_columns_are_not_known_is_refused_by_name(images, header, message):
    write(images / "tiles.csv", csv_of([("a.png",) * len(header)], header))
    with pytest.raises(DataError, match=rf"^tiles\.csv has {message}: choose one with --"):
        load(images / "tiles.csv")


def test_the_columns_of_a_list_may_be_chosen(images):
    rows = [(i, name, label) for i, (name, label) in enumerate(ROWS)]
    write(images / "tiles.csv", csv_of(rows, ("id", "tile", "cover")))
    chosen = load(images / "tiles.csv", image_column="tile", label_column="cover")
    assert chosen.classes == ("Forest", "Sea")


def test_a_list_without_a_header_is_refused(images):
    write(images / "tiles.csv", csv_of(ROWS[1:], ROWS[0]))
    with pytest.raises(DataError, match=r"no column file_name .* among a\.png, Sea"):
        load(images / "tiles.csv")


def test_columns_cannot_be_chosen_where_there_are_none(folder):
    with pytest.raises(DataError, match="has no columns to choose from: leave out --label-column"):
        load(folder, label_column="cover")
    with pytest.raises(DataError, match="has no configurations to choose from: leave out --data-config"):
        load(folder, config="rgb")
    with pytest.raises(DataError, match="Synthetic tiles have no"):
        load_tiles("synthetic:20", selection=ColumnSelection(label_column="cover"))


def test_the_error_for_a_flat_folder_with_a_list_gives_the_option(images):
    write(images / "tiles.csv", csv_of(ROWS))
    with pytest.raises(DataError, match=r"a\.png has no label, .*pass tiles\.csv as --data"):
        load(images)
