"""One of a thing is singular in what is printed."""

import pytest

from orbitune.cli.output import print_inputs
from orbitune.data.leakage.near_duplicates import DuplicatePair, NearDuplicates
from orbitune.errors import counted
from orbitune.evaluation.run_result import RunData


@pytest.mark.parametrize(
    ("count", "one", "text"),
    [
        (1, "tile", "1 tile"),
        (2000, "tile", "2,000 tiles"),
        (1, "class", "1 class"),
        (0, "class", "0 classes"),
    ],
)
def test_a_number_agrees_with_what_is_counted(count, one, text):
    assert counted(count, one) == text


def test_one_class_and_one_skipped_image_are_singular(capsys):
    data = RunData.model_construct(
        source="folder, 1 tile", sizes={"train": 1}, classes=("a",), notes=(), skipped=1
    )
    print_inputs(data, "a backbone")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["tiles: folder, 1 tile; 1 train; 1 class", "  1 image was skipped"]


@pytest.mark.parametrize(
    ("tiles", "count", "sentence"),
    [
        (1, 1, "1 of 1 test tile is a near-duplicate of train tiles (1 identical), such as b of a"),
        (9, 2, "2 of 9 test tiles are near-duplicates of train tiles (1 identical), such as b of a"),
    ],
)
def test_one_near_duplicate_is_singular(tiles, count, sentence):
    pairs = [DuplicatePair("a", "b", 0.0)] * count
    assert NearDuplicates(("train", "test"), tiles, count, 1, pairs).describe() == sentence
