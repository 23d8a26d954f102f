"""Values of a grid are read from text with commas between them."""

import pytest

from orbitune.cli.options import split_names
from orbitune.cli.study.grid_options import parse_numbers, parse_seeds, parse_shots
from orbitune.errors import OrbituneError


@pytest.mark.parametrize(("text", "seeds"), [("3", 3), ("5,1", [5, 1]), ("4,", [4]), (None, None)])
def test_one_number_of_seeds_is_a_count_and_several_are_the_seeds(text, seeds):
    assert parse_seeds(text) == seeds


def test_shots_are_numbers_or_all():
    assert parse_shots("1,5,all") == [1, 5, "all"]
    assert parse_shots(None) == []


def test_names_and_numbers_are_separated_by_commas():
    assert split_names("--splits", " random, spatial,") == ["random", "spatial"]
    assert split_names("--splits", None) == []
    assert parse_numbers("--ranks", "4, 8") == [4, 8]


@pytest.mark.parametrize(
    ("parse", "message"),
    [
        (lambda: parse_seeds("one"), "--seeds takes whole numbers separated by commas, not 'one'"),
        (lambda: parse_numbers("--ranks", "4,-8"), "--ranks takes whole numbers"),
        (lambda: parse_shots("5,most"), "--shots takes whole numbers"),
        (lambda: parse_seeds(" , "), "--seeds names nothing: pass a value"),
        (lambda: split_names("--backbones", "a,b,a"), "--backbones: a is given twice"),
    ],
)
def test_invalid_text_is_one_clear_line(parse, message):
    with pytest.raises(OrbituneError, match=message):
        parse()
