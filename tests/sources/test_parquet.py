"""Parquet data sets: configurations and columns are chosen by name."""

from pathlib import Path

import numpy as np
import pytest
from image_files import encode, jp2, tile, write
from parquet_files import CLASSES, parquet

from orbitune.data.tileset import load_tiles
from orbitune.errors import DataError
from orbitune.sources.manifest import ColumnSelection


def load(folder: Path, **selected: str):
    return load_tiles(str(folder), selection=ColumnSelection(**selected))


def column(values: list, kind: str = "string"):
    from datasets import Value

    return Value(kind), values


def images(count: int = 6, red: int = 0):
    from datasets import Image

    return Image(), [{"bytes": encode(tile(red + i)), "path": None} for i in range(count)]


WORDS = ["wet", "dry"] * 3


def test_images_in_jpeg_2000_are_read_as_from_a_folder(tmp_path):
    from datasets import Image

    pytest.importorskip("rasterio", reason="needs orbitune[geo]")
    files = [jp2(np.moveaxis(tile(red), 2, 0)) for red in range(6)]
    parquet(tmp_path / "set" / "train.parquet", image=(Image(), [{"bytes": each} for each in files]))
    for number, data in enumerate(files):
        write(tmp_path / "folder" / CLASSES[number % 3] / f"{number}.jp2", data)
    rows, folder = load(tmp_path / "set"), load(tmp_path / "folder")
    assert sorted(rows.tiles[:, 0, 0, 0]) == sorted(folder.tiles[:, 0, 0, 0]) == [*range(6)]
    assert rows.skipped == folder.skipped == ()


# --- columns ----------------------------------------------------------------------------------------------


def test_the_label_column_is_label_whatever_other_columns_there_are(tmp_path):
    parquet(tmp_path / "set" / "train.parquet", label=column(WORDS), target=column([0, 1] * 3, "int64"))
    assert load(tmp_path / "set").classes == ("dry", "wet")
    assert load(tmp_path / "set", label_column="target").classes == ("0", "1")


def test_the_one_column_with_a_usual_name_is_taken(tmp_path):
    parquet(tmp_path / "set" / "train.parquet", image=None, label=None, img=images(), target=column(WORDS))
    tiles = load(tmp_path / "set")
    assert tiles.classes == ("dry", "wet") and tiles.labels.tolist() == [1, 0] * 3


def test_of_several_label_columns_one_has_to_be_chosen(tmp_path):
    from datasets import ClassLabel

    fine, coarse = ClassLabel(names=["pine", "oak", "sea"]), ClassLabel(names=["land", "water"])
    parquet(
        tmp_path / "set" / "train.parquet",
        label=None,
        fine_label=(fine, [0, 1, 2] * 2),
        coarse_label=(coarse, [0, 0, 1] * 2),
    )
    with pytest.raises(DataError) as caught:
        load(tmp_path / "set")
    assert str(caught.value) == (
        "The parquet data set has several label columns (fine_label, coarse_label) among image, filename, "
        "fine_label, coarse_label: choose one with --label-column."
    )
    chosen = load(tmp_path / "set", label_column="coarse_label")
    assert chosen.classes == ("land", "water") and chosen.labels.tolist() == [0, 0, 1] * 2
    other = load(tmp_path / "set", label_column="fine_label")
    assert other.classes == ("pine", "oak", "sea") and other.fingerprint != chosen.fingerprint


def test_a_label_of_words_and_another_that_is_typed_are_several(tmp_path):
    from datasets import ClassLabel

    typed = (ClassLabel(names=["a", "b"]), [0, 1] * 3)
    parquet(tmp_path / "set" / "train.parquet", label=column(WORDS), cover=typed)
    with pytest.raises(DataError, match=r"several label columns \(cover, label\)"):
        load(tmp_path / "set")


def test_of_several_image_columns_one_has_to_be_chosen(tmp_path):
    parquet(tmp_path / "set" / "train.parquet", mask=images(red=100))
    with pytest.raises(DataError, match=r"several image columns \(image, mask\) .* with --image-column"):
        load(tmp_path / "set")
    np.testing.assert_array_equal(load(tmp_path / "set", image_column="mask").tiles[1], tile(101))
    np.testing.assert_array_equal(load(tmp_path / "set", image_column="image").tiles[1], tile(1))


@pytest.mark.parametrize(
    ("selected", "message"),
    [
        ({"label_column": "cover"}, "no label column cover among image, label, filename"),
        ({"image_column": "label"}, "no image column label among image, label, filename"),
    ],
)
def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path, selected, message):
    parquet(tmp_path / "set" / "train.parquet")
    with pytest.raises(DataError, match=message):
        load(tmp_path / "set", **selected)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("float64", [0.5, 1.5] * 3, "holds numbers such as 0.5"),
        ("string", ["[0, 1]", "[1, 1]"] * 3, "holds lists of 2 values of 0 and 1"),
        ("list", [[0, 1], [1, 0]] * 3, "holds lists of 2 values of 0 and 1"),
    ],
)
def test_what_cannot_be_a_label_is_refused_by_name(tmp_path, kind, values, message):
    from datasets import List, Value

    feature = List(Value("int64")) if kind == "list" else Value(kind)
    parquet(tmp_path / "set" / "train.parquet", label=(feature, values))
    with pytest.raises(DataError, match=f"^The column label {message}"):
        load(tmp_path / "set")


def test_a_number_beyond_the_named_classes_is_reported(tmp_path):
    import pyarrow.parquet as pq

    path = parquet(tmp_path / "set" / "train.parquet")
    table = pq.read_table(path)
    place = table.column_names.index("label")
    pq.write_table(table.set_column(place, table.schema.field("label"), [[0, 1, 2, 3, 9, 0]]), path)
    with pytest.raises(DataError, match="The column label holds 9, and has names for 3 classes"):
        load(tmp_path / "set")


# --- configurations ---------------------------------------------------------------------------------------


def with_card(folder: Path, default: str = "") -> Path:
    """Two configurations, with two splits each, that the data set's card names."""
    card = "---\nconfigs:\n"
    for config in ("rgb", "infrared"):
        card += f"- config_name: {config}\n"
        card += "  default: true\n" if config == default else ""
        card += "  data_files:\n"
        for split in ("train", "test"):
            parquet(folder / config / f"{split}-00000-of-00001.parquet", image=images(red=len(config)))
            card += f"  - split: {split}\n    path: {config}/{split}-*\n"
    write(folder / "README.md", f"{card}---\n".encode())
    return folder


def test_of_several_configurations_one_has_to_be_chosen(tmp_path):
    folder = with_card(tmp_path / "set")
    with pytest.raises(DataError) as caught:
        load(folder)
    assert str(caught.value) == (
        "The parquet data set has several configurations: choose one with --data-config, of rgb, infrared."
    )
    with pytest.raises(DataError, match=r"has no configuration swir: choose one .* of rgb, infrared"):
        load(folder, config="swir")


def test_a_configuration_is_chosen_by_its_name(tmp_path):
    folder = with_card(tmp_path / "set")
    rgb, infrared = load(folder, config="rgb"), load(folder, config="infrared")
    np.testing.assert_array_equal(rgb.tiles[0], tile(len("rgb")))
    np.testing.assert_array_equal(infrared.tiles[0], tile(len("infrared")))
    assert rgb.fingerprint != infrared.fingerprint
    assert {name: len(rows) for name, rows in rgb.own_splits.items()} == {"train": 6, "test": 6}


def test_the_configuration_that_the_card_calls_default_is_taken(tmp_path):
    tiles = load(with_card(tmp_path / "set", default="infrared"))
    np.testing.assert_array_equal(tiles.tiles[0], tile(len("infrared")))


def test_folders_of_parquet_files_without_a_card_are_configurations(tmp_path):
    folder = with_card(tmp_path / "set")
    (folder / "README.md").unlink()
    with pytest.raises(DataError, match=r"several configurations: .* of infrared, rgb"):
        load(folder)
    tiles = load(folder, config="rgb")
    np.testing.assert_array_equal(tiles.tiles[0], tile(len("rgb")))
    assert set(tiles.own_splits) == {"train", "test"}


@pytest.mark.parametrize("layout", ["data/{}.parquet", "{}/0000.parquet", "default/{}/0000.parquet"])
def test_split_folders_and_their_parent_are_not_configurations(tmp_path, layout):
    for split in ("train", "test"):
        parquet(tmp_path / "set" / layout.format(split))
    tiles = load(tmp_path / "set")
    assert tiles.classes == CLASSES and set(tiles.own_splits) == {"train", "test"}


def test_a_configuration_of_a_data_set_that_has_none_is_an_error(tmp_path):
    parquet(tmp_path / "set" / "train.parquet")
    with pytest.raises(DataError, match="has no configuration rgb"):
        load(tmp_path / "set", config="rgb")


def test_splits_of_different_columns_are_one_line(tmp_path):
    parquet(tmp_path / "set" / "train.parquet")
    parquet(tmp_path / "set" / "test.parquet", label=None, filename=None, cover=column(WORDS))
    with pytest.raises(DataError, match="parquet data set") as caught:
        load(tmp_path / "set")
    assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) < 300
