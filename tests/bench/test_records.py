"""Results of benchmarks: older formats open, and damaged files are one line."""

import json
from pathlib import Path

import pytest

from orbitune.bench.records import BenchResults
from orbitune.records import RecordError

STORED = Path(__file__).parents[1] / "stored" / "0.1"


@pytest.fixture
def stored():
    """Results of format 1."""
    values = json.loads((STORED / "bench.json").read_text())
    assert values["format"] == 1
    return values


@pytest.mark.parametrize("name", ["suite", "backbone", "data", "arms", "figures", "comparisons"])
def test_a_file_of_format_1_that_lacks_a_part_is_one_line(stored, name):
    del stored[name]
    with pytest.raises(RecordError, match=f"is damaged: expected {name} in format 1. Restore it") as error:
        BenchResults.from_json(stored)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [None, 3, "text", [3]])
@pytest.mark.parametrize("name", ["suite", "backbone", "arms", "comparisons"])
def test_a_part_of_another_type_is_one_line(stored, name, value):
    with pytest.raises(RecordError, match="is damaged: ") as error:
        BenchResults.from_json({**stored, name: value})
    assert "\n" not in str(error.value)
