"""Results of benchmarks: older formats open, and damaged files are one line."""

import json
from pathlib import Path

import pytest

from orbitune.bench.records import BenchResults
from orbitune.bench.report import format_ratio, ratio_table, write_bench_report
from orbitune.records import RecordError

STORED = Path(__file__).parents[1] / "stored" / "0.1"
FORMAT_2 = Path(__file__).parents[1] / "stored" / "0.2" / "bench-2.json"


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


def test_intervals_of_format_2_are_computed_anew_from_its_rounds():
    stored = json.loads(FORMAT_2.read_text())
    assert stored["format"] == 2
    for before, after in zip(stored["comparisons"], BenchResults.from_json(stored).comparisons, strict=True):
        assert (after.median, list(after.rounds)) == (before["median"], before["rounds"])
        assert (after.low, after.high) == (min(before["rounds"]), max(before["rounds"]))
        assert after.coverage == 1 - 2 / 2**6


def test_a_ratio_of_memory_above_the_imports_has_that_of_the_whole_process_beside_it():
    results = BenchResults.from_json(json.loads(FORMAT_2.read_text()))
    speed, *_, memory = results.comparisons
    assert speed.whole_process is None
    assert round(memory.median, 1) == 16.1 and round(memory.whole_process.median, 1) == 7.2
    assert format_ratio(memory).startswith("16.10\N{MULTIPLICATION SIGN} (")
    assert "; 7.17\N{MULTIPLICATION SIGN} (" in format_ratio(memory)
    assert "memory above the imports" in [row[2] for row in ratio_table(results)[1]]


def test_the_report_of_two_rounds_shows_a_range_and_no_interval(stored, tmp_path):
    stored["suite"]["rounds"] = 2
    for each in stored["comparisons"]:
        each["rounds"] = each["rounds"][:2]
    write_bench_report(BenchResults.from_json(stored), tmp_path / "report.md")
    report = (tmp_path / "report.md").read_text()
    assert "(95 % interval)" not in report and "Ratio (lowest to highest round)" in report
    assert "with 50 %: a 95 % interval takes 6 rounds" in report
    assert "a figure to publish takes at least 6, as does a 95 % interval" in report
