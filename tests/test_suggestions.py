"""Suggestions for mistyped names and paths."""

import pytest

from orbitune.suggestions import did_you_mean, did_you_mean_path, missing, unknown


@pytest.mark.parametrize(
    ("typed", "question"),
    [
        ("lorra", "did you mean lora?"),
        ("LoRA", "did you mean lora?"),
        ("plus", "did you mean loraplus?"),
        ("swin", None),
        ("l", None),
        ("", None),
    ],
)
def test_the_nearest_name_is_suggested_and_none_where_all_are_far(typed, question):
    assert did_you_mean(typed, ["full", "lora", "loraplus"]) == question


def test_the_names_beside_a_missing_path_are_compared(tmp_path):
    for name in ("lora", "lora-2", "linear", ".lor"):
        (tmp_path / name).mkdir()
    assert did_you_mean_path(tmp_path / "lorra") == f"did you mean {tmp_path}/lora?"
    assert did_you_mean_path(tmp_path / "lin" / "x.csv") == f"did you mean {tmp_path}/linear?"
    assert did_you_mean_path(tmp_path / "zzz") is None
    assert (
        missing("file", f"{tmp_path}/zzz", advice="pass one") == f"There is no file {tmp_path}/zzz: pass one."
    )


def test_an_unknown_name_is_answered_with_those_there_are():
    assert unknown("method", "lorra", known=["full", "lora"]) == (
        "Unknown method 'lorra'. Did you mean lora? Choose from: full, lora."
    )
    assert unknown("kind", None, known=["a"]) == "Unknown kind None. Choose from: a."
