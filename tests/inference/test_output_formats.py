"""Predictions as text: no name breaks a row or becomes a formula."""

import csv
import io
import json

import pytest

from orbitune.inference.output_formats import cell, find_format
from orbitune.inference.prediction import Prediction

NAMES = [
    "two\nlines.png",
    "a\ttab.png",
    "return\r.png",
    "red\x1b[31m.png",
    "=1+1",
    "+1.png",
    "-1.png",
    "@SUM(A1).png",
    'quo"te, comma.png',
    "broken\udcff.png",
    "‮gpj.exe",
]


def rows(form: str, names=NAMES, label: str = "Forest") -> list[str]:
    predictions = [
        Prediction(name, ((label, 0.75), ("Sea", 0.25)), sure=True, distance=-0.5) for name in names
    ]
    return list(find_format(form)(predictions, [label, "Sea"], count=2))


@pytest.mark.parametrize("name", NAMES)
def test_a_row_of_the_table_is_one_line_that_a_terminal_only_shows(name):
    [line] = rows("table", [name])
    assert line.isprintable() and line.endswith(name[-4:]) and "75.0%" in line
    line.encode()
    [bad] = find_format("table")([Prediction(name, error="is damaged (\x1b]0;title\x07)")], ["Sea"], count=1)
    assert bad.isprintable()


def test_csv_is_read_back_row_for_row_whatever_the_names_hold():
    text = "".join(f"{line}\n" for line in rows("csv"))
    text.encode()
    read = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(read) == len(NAMES)
    for row, name in zip(read, NAMES, strict=True):
        expected = name.replace("\udcff", "\\udcff")
        assert row["input"] == (f"'{expected}" if expected[0] in "=+-@" else expected)
        assert row["label_1"] == "Forest" and row["distance"] == "-0.5" and None not in row


def test_a_class_or_an_error_is_no_formula_either():
    assert ",'=cmd|' /C calc'!A0," in rows("csv", ["a.png"], "=cmd|' /C calc'!A0")[1]
    [_, line] = find_format("csv")([Prediction("a.png", error="=1")], ["Sea"], count=1)
    assert line.endswith("'=1")


def test_json_lines_are_a_line_each_with_the_names_as_they_are():
    lines = rows("jsonl")
    assert all("\n" not in line and line.isascii() for line in lines)
    read = [json.loads(line)["input"] for line in lines]
    assert read == [name.replace("\udcff", "\\udcff") for name in NAMES]


def test_numbers_stay_numbers_in_a_cell():
    assert cell(-0.5) == -0.5 and cell(None) is None
    assert [cell(text) for text in ("a=b", "=b", " =b", "", "\tb")] == ["a=b", "'=b", "' =b", "", "'\tb"]
