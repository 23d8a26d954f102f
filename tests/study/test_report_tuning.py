"""Report and terminal show what each search for a learning rate tried, chose and left open."""

# The report is set with en dashes:
# ruff: noqa: RUF001

import json

import pytest
from studies import Large, conclusions_text, write_report

from orbitune.study.records import StudyResults
from orbitune.study.report import cautions, search_table

SPLITS = ("random", "spatial")


def finalist(rate, *scores, tied=False):
    mean = sum(scores) / len(scores) if scores else None
    return {"learning_rate": rate, "scores": list(scores), "mean": mean, "tied": tied}


def searched(**changes):
    """A study whose full fine-tuning was tied, and whose LoRA ended at the low edge on one split."""
    results = Large(("full", "lora"), splits=SPLITS).tune().results
    shared = {"criterion": "accuracy", "seeds": [0, 1], "epochs": 6, "validation_tiles": 600}
    shared |= {"spread": 0.0012, "standard_error": 0.004, "fold": None}
    inside = {
        "first": [3e-5, 1e-4, 3e-4],
        "added": [1e-5],
        "finalists": [
            finalist(1e-5, 0.95, 0.951),
            finalist(3e-5, 0.97, 0.972, tied=True),
            finalist(1e-4, 0.971, 0.972, tied=True),
            finalist(3e-4),
        ],
        "best": 1e-4,
        "chosen": 3e-5,
        "edge": None,
    }
    edge = {
        "first": [1e-3, 3e-3, 1e-2],
        "added": [1e-5, 3e-5, 1e-4, 3e-4],
        "finalists": [finalist(1e-5, 0.98, 0.981, tied=True), finalist(3e-5, 0.93, 0.94)],
        "best": 1e-5,
        "chosen": 1e-5,
        "edge": "low",
    }
    results["searches"] = [
        {"method": method, "split": split, **shared, **(edge if (method, split) == at_edge else inside)}
        for at_edge in [("lora", "spatial")]
        for method in ("full", "lora")
        for split in SPLITS
    ]
    return results | changes


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    write_report(searched(), folder)
    return (folder / "report.md").read_text()


WARNING = (
    "Warning: the best learning rate of LoRA (spatial), 1e-05, is at the low edge of those that trained all "
    "epochs: a lower one may do better, and the method may be judged too low."
)


def test_a_best_rate_at_the_edge_is_warned_of_first(page):
    assert cautions(StudyResults.from_json(searched())) == [WARNING]
    assert WARNING in page.split("| Method |", 1)[0]
    assert conclusions_text(searched()).startswith(WARNING)
    assert cautions(StudyResults.from_json(searched(searches=[]))) == []


def test_the_terminal_shows_range_choice_spread_ties_and_edge():
    header, rows = search_table(StudyResults.from_json(searched()))
    assert header == ["search", "tried", "chosen", "validation", "between seeds", "tied", "best is"]
    tied = ["1e-05 to 0.0003", "3e-05", "97.10 %", "0.12 points", "3e-05, 0.0001", "inside"]
    assert rows[0] == ["full fine-tuning (random)", *tied]
    assert rows[3] == [
        "LoRA (spatial)",
        *("1e-05 to 0.01", "1e-05", "98.05 %", "0.12 points", "–", "at the low edge"),
    ]


def test_the_report_lists_searches_finalists_and_trials(page):
    section = page.split("## Learning rates", 1)[1].split("\n## ", 1)[0]
    assert "| full fine-tuning (random) | 1e-05 to 0.0003 | 3e-05 | 97.10 % | 0.12 points |" in section
    assert "| full fine-tuning (random) | 0.0001 | 97.15 % | 97.10 %, 97.20 % | tied |" in section
    assert "| full fine-tuning (random) | 0.0003 | – | – |" in section
    assert "learning-rate trials</summary>" in section


def test_the_methodology_says_how_learning_rates_were_searched(page):
    method = page.split("## Methodology", 1)[1]
    assert "one rule for every method, on train and validation tiles alone" in method
    assert "trained all epochs with 2 seeds" in method and "1 search of 4 ended at an edge." in method
    assert "of two middle ones, that nearer to the middle of all rates tried" in method
    assert "finalists trained all epochs with 2 seeds:" in page


def test_a_search_without_a_successful_trial_has_a_row():
    failed = {"finalists": [], "best": None, "chosen": None, "spread": None, "standard_error": None}
    results = json.loads(json.dumps(searched()))
    results["searches"][0] |= failed
    _, rows = search_table(StudyResults.from_json(results))
    assert rows[0][2:] == ["–"] * 5
