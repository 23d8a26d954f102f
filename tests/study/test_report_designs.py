"""The report of a study with a design answers what was asked, and corrects what was judged together."""

# The report is set with en dashes, minus and multiplication signs:
# ruff: noqa: RUF001

import copy
import re

import numpy as np
import pytest
from studies import CLASSES, Large, comparison_table, conclusions_text

from orbitune.evaluation.statistics.comparison import compare_pairs
from orbitune.study.arms import comparisons
from orbitune.study.design.fixed import Design
from orbitune.study.records import StudyResults
from orbitune.study.report.answers.answer import write_answer
from orbitune.study.report.answers.headline import write_headline
from orbitune.study.report.comparison import table_caption, table_notes
from orbitune.study.report.figures.costs import cost_figure
from orbitune.study.report.figures.differences import difference_figure
from orbitune.study.report.figures.styles import method_styles
from orbitune.study.report.methods.methodology import describe_runs
from orbitune.study.report.pages import build_page
from orbitune.study.report.seen_tiles import warn_seen
from orbitune.study.report.tables import verdict_table
from orbitune.study.report.view_model import ReportView

METHODS = ("full", "linear", "lora", "dora", "bitfit")
MARGINS = {"random": 0.5, "spatial": 40.0}


def judge(large, methods, primary=None, **fields):
    """Results of a study that was judged by a design."""
    pairs = comparisons(methods)
    design = Design(
        fixed="2026-11-27T10:15:00+00:00",
        primary=tuple([primary] if primary else pairs),
        comparisons=tuple(pairs),
        margins=MARGINS,
        seeds=(0, 1),
    ).model_copy(update=fields)
    results = copy.deepcopy(large.results)
    results |= {"design": design.to_json(), "verdicts": []}
    labels = np.arange(large.count) % len(CLASSES)
    for split, margin in MARGINS.items():
        correct = {method: large.logits[method, split].argmax(2) == labels for method in methods}
        for each in compare_pairs(correct, design.family_sizes(pairs), margin=margin):
            role = design.role((each.method, each.reference), split, seeds=(0, 1))
            results["verdicts"].append({"split": split, "role": role, **each.to_json()})
    return results


@pytest.fixture(scope="module")
def large():
    return Large(METHODS, seeds=2, count=300)


@pytest.fixture(scope="module")
def named(large):
    """Results of a study for LoRA against full fine-tuning, with three secondary comparisons."""
    return judge(large, METHODS, ("lora", "full"))


def view(results):
    return ReportView(StudyResults.from_json(results))


def headline(results):
    """Headline and answer in one text."""
    return " ".join([*write_headline(view(results)), *write_answer(view(results))])


# Comparisons that are judged together


def test_every_row_names_its_own_interval_and_how_many_are_judged_together(named):
    table = verdict_table(view(named))
    rows = {row[0]: dict(zip(table.header, row, strict=True)) for row in table.rows}
    assert "(95 % interval " in rows["LoRA"]["Difference, points (interval)"]
    assert "(simultaneous 95 % interval " in rows["DoRA"]["Difference, points (interval)"]
    assert (rows["LoRA"]["Judged together"], rows["DoRA"]["Judged together"]) == ("1", "3")
    assert table.caption.endswith("; intervals and p values corrected for the comparisons judged together")


def test_each_p_value_names_the_correction_of_its_family(named):
    changed = copy.deepcopy(named)
    for entry in changed["verdicts"]:
        entry |= {"outcome": "within margin", "within": 0.004}
    text = conclusions_text(changed)
    assert "Within 0.5 points of it (p = 0.004): LoRA (" in text
    assert "Within 0.5 points of it (p ≤ 0.004 corrected for 3 comparisons): linear probing (" in text
    assert re.search(r"DoRA \([^)]+, secondary\)", text) and not re.search(r"LoRA \([^)]+, primary\)", text)


def test_the_methods_name_every_family_of_several_backbones():
    arms = ("full@small", "lora@small", "full@large", "lora@large")
    results = judge(Large(arms, seeds=2, count=100), arms, ("lora@small", "full@small"))
    assert "judged together in families, of 1 and 3 comparisons." in " ".join(describe_runs(view(results)))
    assert "; on the spatial split LoRA on small is within 40 points (" in headline(results)


# The headline


def test_the_headline_answers_the_comparison_that_was_named(large):
    found = headline(judge(large, METHODS, ("bitfit", "full")))
    assert "BitFit" in found and "LoRA" not in found and "secondary" not in found
    assert "; on the spatial split BitFit is within 40 points (" in found


def test_the_headline_names_the_role_of_what_was_not_fixed_beforehand(large):
    results = judge(large, METHODS, ("bitfit", "full"), before_test_read=False)
    assert headline(results).count(", exploratory)") == 2 and headline(results).count("(exploratory)") == 2


def test_without_a_name_a_method_that_was_added_later_is_not_the_answer(large):
    results = judge(large, METHODS)
    for entry in results["verdicts"]:
        if entry["method"] == "lora":
            entry["role"] = "exploratory"
    assert "of 3 methods are within" in headline(results)


def test_the_answer_names_what_was_added_later_after_what_was_fixed(named):
    added = copy.deepcopy(named)
    for entry in added["verdicts"]:
        if entry["method"] == "dora":
            entry |= {"role": "exploratory", "family": 1, "outcome": "within margin", "within": 0.004}
    found = headline(added)
    assert "The other methods on the spatial split: DoRA within the margin (exploratory)." in found
    assert "were fixed before the test split was read; exploratory ones were added later." in found
    assert "exploratory" not in headline(named)


def test_the_picture_names_the_method_whose_interval_is_not_simultaneous(named):
    figure = difference_figure(view(named), view(named).results.verdicts, name="all")
    assert "Bars are simultaneous 95 % intervals, of LoRA 95 % intervals. " in figure.caption


def test_the_headline_on_backbones_names_what_was_not_fixed_beforehand():
    arms = ("full@small", "lora@small", "full@large", "lora@large")
    results = judge(Large(arms, seeds=2, count=100), arms)
    assert "exploratory" not in headline(results)
    for entry in results["verdicts"]:
        if "lora" in entry["method"]:
            entry["role"] = "exploratory"
    named = re.compile(
        r"On the random split, which backbone: .* with full fine-tuning; .* with LoRA \(exploratory\)"
    )
    assert named.match(headline(results))
    for entry in results["verdicts"]:
        entry["role"] = "exploratory"
    assert headline(results).count(", with every method (exploratory)") == 2
    assert ", exploratory" in conclusions_text(results)


def test_the_headline_names_the_margin_of_each_split_and_the_seeds_and_tiles_of_each_clause(large):
    results = judge(large, METHODS)
    several = [entry for entry in results["verdicts"] if entry["method"] != "lora"]
    text = headline({**results, "verdicts": several})
    assert ", over 2 seeds and 300 test tiles of each split" in text
    margins = "the margin (0.5 points on the random split and 40 points on the spatial split)"
    assert f"of 3 methods are within {margins} of full fine-tuning on every split" in text
    for entry in results["verdicts"]:
        if entry["split"] == "spatial":
            entry |= {"seeds": 3, "reference_seeds": 3, "images": 240}
    assert "; 2 seeds, 300 test tiles); on the spatial split LoRA is within" in headline(results)
    assert "; 3 seeds, 240 test tiles)." in headline(results)


# Costs


def test_costs_of_several_processors_are_compared_nowhere(named):
    results = copy.deepcopy(named)
    for place, run in enumerate(results["runs"]):
        run["environment"] = {**results["environment"], "processor": f"Processor {place % 2}"}
    mixed = view(results)
    assert "costs are not comparable" in " ".join(table_notes(mixed))
    assert "costs are not compared" in table_caption(mixed)
    assert " stores 0.46 MB instead of 22.1 MB, 48 times less." in headline(results)
    for text in (headline(results), conclusions_text(results), *map(str, comparison_table(results)[1])):
        assert "CPU time" not in text and not re.search(r"\d×", text)
    names = {panel.name for panel in cost_figure(mixed, method_styles(mixed)).panels}
    assert names == {f"cost-size-{split}-split" for split in MARGINS}


# Tiles that were seen


def test_tiles_that_only_validated_a_backbone_may_raise_scores_and_each_split_is_named_once(named, tmp_path):
    results = copy.deepcopy(named)
    for run in results["runs"]:
        data = run["result"]["data"]
        data |= {"seen": {}, "validated": {"validation": 5}}
    first, second = warn_seen(view(results))
    page = build_page(StudyResults.from_json(results), tmp_path)
    assert page.cautions[:2] == [first, second] and not {first, second} & {*page.notes}
    assert first == (
        f"Warning: 5 of {data['sizes']['validation']:,} validation tiles of the random split were validation "
        "tiles of the backbone, which choose epochs and fit thresholds: the scores may be too high."
    )
    assert second == first.replace("random", "spatial")


def test_where_only_runs_of_a_sweep_were_finished_nothing_is_compared():
    results = Large(("lora",), ("spatial",)).sweep("ranks", "rank", (4,), ("lora",)).results
    for entry in results["runs"]:
        if entry["sweep"] is None:
            entry |= {"status": "failed", "error": "out of memory", "result": None, "environment": None}
    results |= {"verdicts": [], "summaries": [each for each in results["summaries"] if each["sweep"]]}
    found = conclusions_text(results)
    assert "No method finished a run outside the sweeps, so there is nothing to compare." in found
