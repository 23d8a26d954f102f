"""A column of the data set names the group of each tile."""

import json
import shutil

import numpy as np
import pytest
from image_files import encode, tile, write
from parquet_files import parquet

from orbitune.data.splits import SPLITS, split_tiles
from orbitune.data.tileset import load_tiles
from orbitune.errors import DataError

SCENES = 6
ROWS = [(f"t{k:02d}.png", "ab"[k % 2], f"scene {k // 4}") for k in range(4 * SCENES)]


def csv_rows(rows=ROWS):
    return "\n".join(["file_name,label,scene", *map(",".join, rows)]).encode()


def metadata_csv(root):
    write(root / "metadata.csv", csv_rows())
    return root


def metadata_jsonl(root):
    keys = ("file_name", "label", "scene")
    lines = [
        json.dumps(dict(zip(keys, (name, label, int(scene[-1])), strict=True))) for name, label, scene in ROWS
    ]
    write(root / "metadata.jsonl", "\n".join(lines).encode())
    return root


def metadata_zip(root):
    shutil.make_archive(str(root.parent / "packed"), "zip", metadata_csv(root))
    return root.parent / "packed.zip"


def list_of_tiles(root):
    return write(root / "tiles.csv", csv_rows())


def parquet_files(root):
    from datasets import Value

    scenes = [scene for _, _, scene in ROWS]
    parquet(root.parent / "rows" / "train.parquet", len(ROWS), scene=(Value("string"), scenes))
    return root.parent / "rows"


@pytest.fixture
def images(tmp_path):
    root = tmp_path / "images"
    for number, (name, _, _) in enumerate(ROWS):
        write(root / name, encode(tile(number)))
    return root


def split(data, column="scene"):
    tiles = load_tiles(str(data), progress=False)
    return tiles, split_tiles(tiles, None, seed=0, split="group", group_column=column)


@pytest.mark.parametrize("make", [metadata_csv, metadata_jsonl, metadata_zip, list_of_tiles, parquet_files])
def test_tiles_of_one_scene_are_in_one_split_whatever_the_format(make, images):
    tiles, (splits, notes) = split(make(images))
    scene_of = {
        int(name.rsplit("_", 1)[-1].removesuffix(".png").removeprefix("t")): name for name in tiles.names
    }
    rows = {name: row for row, name in enumerate(tiles.names)}
    scene = np.empty(len(rows), int)
    for number, name in scene_of.items():
        scene[rows[name]] = number // 4
    held = [set(scene[splits[name]].tolist()) for name in SPLITS]
    assert sum(map(len, held)) == len(set.union(*held)) == SCENES
    assert notes[0].startswith(f"group split: {SCENES} groups of tiles, each whole in one split")


def test_a_column_that_is_not_there_is_one_line_with_those_that_are(images):
    with pytest.raises(DataError, match=r"no column site among file_name, label, scene: .* --group-column"):
        split(metadata_csv(images), "site")
    with pytest.raises(
        DataError, match=r"no group column site among .*scene: choose one with --group-column"
    ):
        split(parquet_files(images), "site")


def test_class_folders_have_no_columns(folder):
    with pytest.raises(DataError, match=r"A folder of class folders has no columns: use --group-pattern"):
        split(folder)
    with pytest.raises(DataError, match="Synthetic tiles have no columns"):
        split("synthetic:50")


@pytest.mark.parametrize("missing", ["", "NA", "N/A", "NaN", "null", "<NA>"])
def test_tiles_without_a_group_are_counted(images, missing):
    rows = [
        (name, label, missing if number in (2, 5) else scene)
        for number, (name, label, scene) in enumerate(ROWS)
    ]
    write(images / "metadata.csv", csv_rows(rows))
    with pytest.raises(
        DataError, match=r"--group-column scene has no value for 2 of 24 tiles, such as t02\.png"
    ):
        split(images)


def test_too_few_groups_are_named(images):
    rows = [(name, label, str(number % 3)) for number, (name, label, _) in enumerate(ROWS)]
    write(images / "metadata.csv", csv_rows(rows))
    with pytest.raises(DataError, match=r"--group-column scene finds 3 groups \(0, 1, 2\): a split needs 5"):
        split(images)


def test_groups_that_are_the_classes_are_named_as_the_cause(images):
    rows = [(name, f"class {number // 4}", scene) for number, (name, _, scene) in enumerate(ROWS)]
    write(images / "metadata.csv", csv_rows(rows))
    for column in ("label", "scene"):
        with pytest.raises(DataError, match=f"^The groups of --group-column {column} are the classes"):
            split(images, column)


def test_a_group_for_each_tile_is_a_warning_that_the_split_is_random(images):
    _, (_, notes) = split(metadata_csv(images), "file_name")
    assert "warning: --group-column file_name makes each tile a group of its own" in notes[1]
    assert "a random split" in notes[1]
