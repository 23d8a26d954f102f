"""`predict`."""

import csv
import json
import shutil

import pytest
from commands import orbitune


def test_a_folder_is_predicted_as_csv_and_a_bad_file_is_a_row(place, tmp_path):
    done = orbitune(
        "predict", place / "run", place / "tiles", "--format", "csv", "--out", tmp_path / "rows.csv"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "1 of 60 files could not be read" in done.stderr
    rows = list(csv.DictReader((tmp_path / "rows.csv").open()))
    assert len(rows) == 60
    [bad] = [row for row in rows if row["error"]]
    assert bad["input"].endswith("tile_0_3.png") and bad["label_1"] == ""
    assert all(float(row["probability_1"]) >= float(row["probability_2"]) for row in rows if row is not bad)


def test_without_a_readable_file_the_rows_have_errors_and_the_command_fails(place, tmp_path):
    (tmp_path / "note.png").write_text("no image")
    done = orbitune("predict", place / "run", tmp_path / "note.png", "--json")
    assert done.returncode == 2 and "No file could be read" in done.stdout
    assert json.loads(done.stdout.splitlines()[0])["error"]


def test_json_is_a_line_for_each_file(place):
    done = orbitune("predict", place / "run", f"{place}/tiles/class_1/*_1.png", "--json", "--top-k", "1")
    [row] = map(json.loads, done.stdout.splitlines())
    assert row["input"].endswith("class_1/tile_1_1.png")
    assert len(row["labels"]) == 1 and row["sure"] is None and row["error"] is None


def test_a_table_shows_labels_before_the_files(place):
    file = place / "tiles" / "class_1" / "tile_1_1.png"
    [line] = orbitune("predict", place / "run", file).stdout.splitlines()
    assert line.startswith("class_") and line.endswith(str(file)) and "%" in line


@pytest.mark.parametrize("form", ["table", "csv", "jsonl"])
def test_predictions_that_find_no_room_are_one_line_and_exit_code_2(place, form):
    done = orbitune("predict", place / "run", place / "tiles", "--format", form, stdout="/dev/full")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "error: Cannot write to standard output: No space left on device."
    )
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


def test_an_image_is_not_written_over(place, tmp_path):
    shutil.copy(next((place / "tiles").rglob("*.png")), image := tmp_path / "tile.png")
    before = image.read_bytes()
    done = orbitune("predict", place / "run", tmp_path, "--out", image)
    assert done.stderr.strip() == "error: The images and the file to write must have different names."
    assert done.returncode == 2 and image.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "missing.png"], "There is no file or folder missing.png"),
        (["run", "*.gif"], "No file matches the pattern *.gif"),
        (["run", "empty"], "There is nothing to predict in"),
        (["nothing", "tiles"], "There is no folder"),
        (["run", "tiles", "--format", "xml"], "Unknown format 'xml'. Choose from: table, csv, jsonl"),
    ],
)
def test_invalid_input_is_one_line_on_stderr_and_exit_code_2(place, arguments, message):
    names = [place / each if each in ("run", "tiles", "empty", "nothing") else each for each in arguments]
    done = orbitune("predict", *names)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and message in done.stderr
    assert len(done.stderr.splitlines()) == 1
