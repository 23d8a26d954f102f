"""Several labels a tile: lists, cells of several, and a column of 0 and 1 for each class."""

import json
from dataclasses import replace

import numpy as np
import pytest
from image_files import encode, tile

from orbitune.data.labels.forms import with_label_form
from orbitune.data.splits import split_tiles
from orbitune.data.tileset import load_tiles
from orbitune.errors import DataError
from orbitune.sources.labels.label_sets import encode as encode_values
from orbitune.sources.manifest import ColumnSelection

SETS = {"a.png": ["Sea", "Beach"], "b.png": [], "c.png": ["Sea"]}
TABLE = [[1, 1], [0, 0], [0, 1]]  # of Beach and Sea


def load(place, on_bad_image="stop", **selected):
    return load_tiles(str(place), on_bad_image, selection=ColumnSelection(**selected), progress=False)


def csv_with(folder, header, rows):
    lines = [header, *(f"{name},{values}" for name, values in zip(SETS, rows, strict=True))]
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    return folder / "list.csv"


def expect_sets(tiles):
    assert tiles.classes == ("Beach", "Sea") and tiles.multi_label
    assert tiles.labels.dtype == np.uint8 and tiles.labels.tolist() == TABLE
    assert "several labels a tile: 1.0 on average, at most 2; 1 tile has none" in tiles.notes


@pytest.mark.parametrize("column", ["label", "labels"])
def test_lists_in_json_lines_are_several_labels(images, column):
    lines = [json.dumps({"file_name": name, column: labels}) for name, labels in SETS.items()]
    (images / "metadata.jsonl").write_text("\n".join(lines))
    expect_sets(load(images))


@pytest.mark.parametrize(
    "cells",
    [
        ["Sea|Beach", "[]", "Sea"],
        ["Sea;Beach", "[]", "Sea"],
        ["Beach | Sea | Sea", "[]", " Sea "],
        ['"[""Sea"", ""Beach""]"', "[]", '"[""Sea""]"'],
        ["\"['Sea', 'Beach']\"", "[]", "['Sea']"],  # as pandas writes a column of lists
    ],
)
def test_a_cell_of_a_csv_file_holds_several_labels(images, cells):
    expect_sets(load(csv_with(images, "file_name,labels", cells)))


def test_a_column_of_0_and_1_for_each_class_is_several_labels(images):
    expect_sets(load(csv_with(images, "file_name,Beach,Sea", ["1,1", "0,0", "0,1"])))


def test_columns_of_0_and_1_are_chosen_among_others(images):
    file = csv_with(images, "file_name,Beach,Sea,cloudy,date", ["1,1,0,x", "0,0,1,y", "0,1,0,z"])
    expect_sets(load(file, label_column="Beach,Sea"))


def test_columns_that_become_classes_are_named_with_the_way_to_choose_among_them(images):
    rows = ["1,1,0", "0,0,1", "0,1,0"]
    note = "labels from list.csv, columns Beach, Sea, cloudy of 0 and 1, each a class; if some are none, name"
    file = csv_with(images, "file_name,Beach,Sea,cloudy", rows)
    assert [line for line in load(file).notes if line.startswith(note)]
    assert load(file, label_column="Beach,Sea").notes[0] == "labels from list.csv, columns Beach, Sea"


@pytest.mark.parametrize("groups", ["010", "xyz"])
def test_the_column_of_groups_is_no_class(images, groups):
    rows = [f"{row},{group}" for row, group in zip(("1,1", "0,0", "0,1"), groups, strict=True)]
    file = csv_with(images, "file_name,Beach,Sea,scene", rows)
    expect_sets(load(file, group_column="scene"))
    if groups == "010":
        assert load(file).classes == ("Beach", "Sea", "scene")
    else:
        with pytest.raises(
            DataError, match="has a column that is neither file names nor 0 and 1, such as scene"
        ):
            load(file)


def test_a_column_of_groups_that_never_was_a_class_changes_no_fingerprint(images):
    file = csv_with(images, "file_name,labels,scene", ["Sea|Beach,0", "[],1", "Sea,0"])
    assert load(file).fingerprint == load(file, group_column="scene").fingerprint


def test_a_metadata_table_in_parquet_may_hold_lists(images):
    import pyarrow as pa
    from pyarrow.parquet import write_table

    table = pa.table({"file_name": list(SETS), "labels": list(SETS.values())})
    write_table(table, images / "metadata.parquet")
    expect_sets(load(images))


@pytest.mark.parametrize("named", [False, True])
def test_a_sequence_in_a_parquet_data_set_is_several_labels(tmp_path, named):
    from datasets import ClassLabel, Dataset, Features, Image, List, Value

    names = ["Beach", "Sea"]
    kind = ClassLabel(names=names) if named else Value("string")
    rows = [[names.index(each) for each in labels] if named else labels for labels in SETS.values()]
    images = [{"bytes": encode(tile(number)), "path": None} for number in range(3)]
    data = Dataset.from_dict(
        {"image": images, "labels": rows}, features=Features({"image": Image(), "labels": List(kind)})
    )
    (tmp_path / "set" / "data").mkdir(parents=True)
    data.to_parquet(tmp_path / "set" / "data" / "train-00000-of-00001.parquet")
    expect_sets(load(tmp_path / "set"))


def test_one_label_in_each_cell_stays_one_label_a_tile(images):
    tiles = load(csv_with(images, "file_name,labels", ["Sea", "Beach", "Sea"]))
    assert not tiles.multi_label and tiles.labels.tolist() == [1, 0, 1]


def test_tiles_that_were_stored_with_undivided_labels_are_read_again(images):
    """As earlier versions stored them, under the same name in the cache."""
    file = csv_with(images, "file_name,labels", ["Sea|Beach", "Sea", "Sea"])
    stored = load(file, undivided=True)
    assert stored.classes == ("Sea", "Sea|Beach") and stored.labels.tolist() == [1, 0, 0]
    tiles = load(file)
    assert tiles.classes == ("Beach", "Sea") and tiles.labels.tolist() == [[1, 1], [0, 1], [0, 1]]
    assert load(file, undivided=True).classes == stored.classes
    assert tiles.fingerprint != stored.fingerprint == load(file, undivided=True).fingerprint


def test_lists_of_exactly_one_label_are_one_label_a_tile(images):
    lines = [
        json.dumps({"file_name": name, "labels": [label]})
        for name, label in zip(SETS, ("Sea", "Beach", "Sea"), strict=True)
    ]
    (images / "metadata.jsonl").write_text("\n".join(lines))
    tiles = load(images)
    assert not tiles.multi_label and tiles.labels.tolist() == [1, 0, 1] and tiles.labels.dtype == np.int64
    assert with_label_form(tiles, "multi-label").labels.tolist() == [[0, 1], [1, 0], [0, 1]]
    assert tiles.fingerprint == load(images, undivided=True).fingerprint


def test_sets_of_one_label_each_are_read_as_one_label(images):
    tiles = load(csv_with(images, "file_name,labels", ["Sea|Beach", "Sea", "Beach"]))
    single = replace(tiles, labels=tiles.labels[1:], names=tiles.names[1:])
    assert with_label_form(single, "single-label").labels.tolist() == [1, 0]
    with pytest.raises(DataError, match=r"1 of 3 tiles have not exactly one label, such as a\.png"):
        with_label_form(tiles, "single-label")


@pytest.mark.parametrize(
    ("cells", "task", "note"),
    [
        (['"Sea, Beach"', "Sea", "Beach"], None, "'Sea, Beach' is one class, although its parts are classes"),
        (['"Sea, Beach"', "Sea|Beach", "Sea"], None, "'Sea, Beach' is one class, although its parts are"),
        (['"Sea, Beach"', "Sea", "Sea"], "multi-label", "no tile has more than one label, and 'Sea, Beach'"),
    ],
)
def test_a_class_that_looks_like_labels_with_commas_is_noted(images, cells, task, note):
    tiles = with_label_form(load(csv_with(images, "file_name,label", cells)), task)
    assert "Sea, Beach" in tiles.classes
    assert note in tiles.notes[-1] and "| or ; separate the labels of a tile" in tiles.notes[-1]


def test_a_class_name_with_a_comma_is_no_cause_for_a_note(images):
    tiles = load(csv_with(images, "file_name,label", ['"Sea, deep"', "Sea", "Beach"]))
    assert with_label_form(tiles, None) == tiles


def test_a_mark_at_the_end_of_a_name_divides_nothing(images):
    tiles = load(csv_with(images, "file_name,label", ["Sea;", "Beach", "Sea;"]))
    assert tiles.classes == ("Beach", "Sea;") and not tiles.multi_label


@pytest.mark.parametrize(("header", "rows"), [("labels", ["[]"] * 3), ("Beach,Sea", ["0,0"] * 3)])
def test_tiles_without_any_label_are_one_line(images, header, rows):
    tiles = load(csv_with(images, f"file_name,{header}", rows))
    with pytest.raises(DataError, match=r"^No tile of the data has a label"):
        split_tiles(tiles, None, seed=0)


def test_messages_name_the_column_that_was_read(images):
    with pytest.raises(DataError, match=r"^The column labels of list\.csv holds numbers such as 0\.5"):
        load(csv_with(images, "file_name,labels", ["0.5", "1", "2"]))


def test_an_empty_cell_is_a_missing_label_and_not_a_tile_without_labels(images):
    file = csv_with(images, "file_name,labels", ["Sea|Beach", "", "Sea"])
    with pytest.raises(DataError, match=r"^b\.png has no label in list\.csv"):
        load(file)
    assert load(file, "skip").labels.tolist() == [[1, 1], [0, 1]]


def test_unknown_columns_beside_0_and_1_are_one_line_with_their_number(images):
    file = csv_with(images, "file_name,Beach,Sea,cloud,date", ["1,1,5,x", "0,0,6,y", "0,1,7,z"])
    with pytest.raises(DataError) as caught:
        load(file)
    assert str(caught.value) == (
        "list.csv has 2 columns that are neither file names nor 0 and 1, such as cloud: remove such columns, "
        "or choose those of the classes with --label-column, such as Beach,Sea."
    )


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("file_name,Beach,,Sea", ["1,1,0", "0,0,1", "0,1,0"]),
        ("file_name,,Beach,Sea", ["0,1,0", "1,0,1", "2,1,0"]),
    ],
)
def test_a_column_without_a_name_is_one_line(images, header, rows):
    file = csv_with(images, header, rows)
    with pytest.raises(
        DataError, match=r"^list\.csv has a column without a name: name the class, or remove the"
    ):
        load(file)


def test_missing_columns_and_rows_are_one_line_with_their_number(images):
    file = csv_with(images, "file_name,Beach,Sea", ["1,1", "0,", "0,1"])
    with pytest.raises(DataError, match="has 1 row with 0 or 1 for some classes only, such as line 3"):
        load(file)
    with pytest.raises(DataError, match="lacks 2 of the 3 columns of --label-column, such as Lake"):
        load(file, label_column="Beach,Lake,Field")
    with pytest.raises(DataError, match=r"The column file_name of list\.csv holds 'a\.png' in line 2, and 2"):
        load(file, label_column="file_name,Beach")


def test_listed_images_that_are_missing_are_one_line_with_their_number(images):
    for name in ("a.png", "b.png"):
        (images / name).unlink()
    file = csv_with(images, "file_name,labels", ["Sea|Beach", "[]", "Sea"])
    with pytest.raises(
        DataError, match=r"^a\.png is listed in list\.csv, but is not there.* \(2 files\)\. Fix"
    ):
        load(file)


def test_listed_images_that_are_missing_are_skipped_on_request(images):
    (images / "b.png").unlink()
    tiles = load(csv_with(images, "file_name,labels", ["Sea|Beach", "[]", "Sea"]), "skip")
    assert tiles.names == ("a.png", "c.png") and len(tiles.skipped) == 1
    assert tiles.skipped[0][0] == "b.png" and "listed in list.csv, but is not there" in tiles.skipped[0][1]


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (["1,1", "0,2", "0,1"], r"Sea of list\.csv holds '2' in line 3: write 0 or 1"),
        (["1,1", "x,0", "0,1"], r"Beach of list\.csv holds 'x' in line 3: write 0 or 1"),
        (['1,"1\n"', "0,1", "y,0"], r"Beach of list\.csv holds 'y' in line 5: write 0 or 1"),
    ],
)
def test_a_wrong_cell_in_a_column_of_0_and_1_is_named_with_its_line(images, rows, found):
    with pytest.raises(DataError, match=rf"^The column {found} in each row of the column of a class\.$"):
        load(csv_with(images, "file_name,Beach,Sea", rows), label_column="Beach,Sea")


def test_a_wrong_cell_beside_two_columns_of_0_and_1_may_be_of_another_kind_of_column(images):
    file = csv_with(images, "file_name,Beach,Sea,Lake", ["1,1,1", "0,1,0", "0,1,2"])
    with pytest.raises(
        DataError, match=r"Lake of .* '2' in line 4: .*, or choose .* --label-column, such as B"
    ):
        load(file)
    assert load(file, label_column="Beach,Sea").classes == ("Beach", "Sea")


def test_numbers_of_classes_beside_a_fold_are_no_columns_of_0_and_1(images):
    file = csv_with(images, "file_name,class_id,fold", ["0,0", "1,1", "2,0"])
    with pytest.raises(DataError, match=r"no column label among file_name, class_id, fold: choose one with"):
        load(file)
    assert load(file, label_column="class_id").classes == ("0", "1", "2")


def test_a_class_column_without_a_tile_is_left_out_with_a_note(images):
    tiles = load(csv_with(images, "file_name,Beach,Lake,Sea", ["1,0,1", "0,0,0", "0,0,1"]))
    expect_sets(tiles)
    assert "no tile has the label Lake: left out" in tiles.notes


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([["a"], [""]], "has a list with an empty label: leave it out"),
        ([["a"], ["b", 1]], "mixes words and numbers"),
        ([["a"], [["b"]]], "holds a list as a label"),
        ([["a|b"], ["c"]], r"holds the class 'a\|b': leave out \|"),
        (["[a", "b|c"], r"holds '\[a' as a label"),
        (["[a]", "b"], r"holds '\[a\]', which is no list of labels"),
    ],
)
def test_values_that_are_no_labels_are_named(values, message):
    with pytest.raises(DataError, match=f"^The column x {message}"):
        encode_values(values, "The column x")
