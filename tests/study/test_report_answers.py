"""The answer of a study: a headline, and two sentences that can be quoted alone."""

# The report is set with en dashes, minus and multiplication signs:
# ruff: noqa: RUF001

import copy

import pytest
from pages import DOCS
from studies import CLASSES, Large, done, pair, study

from orbitune.study.records import StudyResults
from orbitune.study.report.answers.answer import write_answer
from orbitune.study.report.answers.headline import write_headline
from orbitune.study.report.view_model import ReportView
from orbitune.study.results import read_results

SPLITS = ("random", "spatial")
SAVING = "stores 0.46 MB instead of 22.1 MB, 48 times less."


@pytest.fixture(scope="module")
def two():
    return Large(("full", "lora"), SPLITS, seeds=2, count=600).results


@pytest.fixture(scope="module")
def four():
    return Large(("full", "linear", "vera", "dora"), SPLITS, seeds=2, count=600).results


def judged(results, *outcomes, split="random", **fields):
    """Return results in which the verdicts have these (outcome, difference, margin), in their order."""
    changed = copy.deepcopy(results)
    if len(outcomes) < len(changed["verdicts"]):
        changed["verdicts"] = [each for each in changed["verdicts"] if each["split"] == split]
    for entry, (outcome, difference, margin) in zip(changed["verdicts"], outcomes, strict=True):
        entry |= {"outcome": outcome, "difference": difference, "margin": margin, "needed": None, **fields}
        entry |= {"simultaneous": [difference - 0.2, difference + 0.2], "equal": 0.3}
    return changed


def headline(results):
    return write_headline(ReportView(StudyResults.from_json(results)))


def answer(results):
    return write_answer(ReportView(StudyResults.from_json(results)))


def of_one_split(results):
    """Return results without the second split."""
    changed = copy.deepcopy(results)
    for part in ("runs", "summaries", "verdicts"):
        changed[part] = [each for each in changed[part] if each["split"] == "random"]
    return changed


@pytest.mark.parametrize(
    ("outcome", "loss", "claim"),
    [
        ("better", "a gain", "LoRA is more accurate than full fine-tuning"),
        ("within margin", "no loss above 0.5 points", "LoRA is within 0.5 points of full fine-tuning"),
        (
            "worse than margin",
            "a loss above 0.5 points",
            "LoRA is less accurate than full fine-tuning, by more than 0.5 points",
        ),
        (
            "worse",
            "a loss that may exceed 0.5 points",
            "LoRA is less accurate than full fine-tuning, but whether by more than 0.5 points is open",
        ),
        (
            "open",
            "undecided whether the loss exceeds 0.5 points",
            "It is open whether LoRA is within 0.5 points of full fine-tuning",
        ),
    ],
)
def test_each_outcome_has_a_headline_and_a_sentence_with_interval_margin_seeds_and_tiles(
    two, outcome, loss, claim
):
    results = judged(of_one_split(two), (outcome, -0.31, 0.5))
    assert headline(results) == [f"LoRA: {loss}; file 48 times smaller"]
    [text] = answer(results)
    first, second = text.split(". LoRA trains ")
    margin = "; margin 0.5 points" if outcome == "better" else ""
    numbers = f"(−0.31 points, 95 % interval −0.51 to −0.11{margin})"
    assert first == f"{claim} {numbers}, over 2 seeds and 600 test tiles"
    assert second.startswith("2.00 % of its parameters, takes ") and second.endswith(SAVING)
    assert "% of the CPU time and " in second and "% of the peak memory of full fine-tuning, and" in second


def test_splits_of_one_outcome_are_one_clause(two):
    results = judged(two, ("within margin", -0.05, 0.5), ("within margin", -0.1, 0.5))
    assert headline(results) == ["LoRA: no loss above 0.5 points; file 48 times smaller"]
    assert answer(results)[0].startswith(
        "On both splits LoRA is within 0.5 points of full fine-tuning (random −0.05 points, 95 % interval "
        "−0.25 to +0.15; spatial −0.10 points, −0.30 to +0.10), over 2 seeds and 600 test tiles of each split"
    )


def test_margins_of_two_splits_are_both_in_the_headline(two):
    results = judged(two, ("within margin", -0.05, 0.5), ("within margin", -0.1, 1.0))
    assert headline(results) == [
        "LoRA: no loss above 0.5 points on the random split and 1 point on the spatial split; "
        "file 48 times smaller"
    ]


def test_splits_of_different_outcomes_are_a_clause_each(two):
    results = judged(two, ("within margin", -0.05, 0.5), ("worse than margin", -1.9, 1.0))
    assert headline(results) == [
        "LoRA: no loss above 0.5 points on the random split and a loss above 1 point on the spatial split; "
        "file 48 times smaller"
    ]
    assert answer(results)[0].startswith(
        "On the random split LoRA is within 0.5 points of full fine-tuning (−0.05 points, 95 % interval "
        "−0.25 to +0.15); on the spatial split LoRA is less accurate, by more than 1 point (−1.90 points, "
        "95 % interval −2.10 to −1.70), over 2 seeds and 600 test tiles of each split. LoRA trains "
    )


def test_splits_of_other_seeds_or_tiles_say_theirs(two):
    results = judged(two, ("open", -0.3, 0.5), ("open", -0.3, 0.5))
    results["verdicts"][1] |= {"images": 240}
    text = answer(results)[0]
    assert "; 2 seeds, 600 test tiles; spatial " in text and "; 2 seeds, 240 test tiles)." in text


def test_one_seed_is_said_in_headline_and_sentence(two):
    results = judged(two, *[("open", -0.3, 0.5)] * 2, seeds=1, reference_seeds=1)
    [line] = headline(results)
    assert line.startswith("LoRA: undecided whether the loss exceeds 0.5 points (one seed); file")
    assert ", for these models of one seed and 600 test tiles of each split." in answer(results)[0]


def test_what_would_decide_an_open_margin_stands_below_the_answer(two):
    results = judged(of_one_split(two), ("open", -0.3, 0.5))
    results["verdicts"][0]["needed"] = {"difference": 0.0, "seeds": 14, "images": 23_410}
    assert answer(results)[1].startswith(
        "With equal methods, deciding 80 % of the time takes 14 seeds on these test images or 24,000 test "
        "images with these seeds"
    )


def test_a_file_that_is_not_smaller_is_not_in_the_headline(two):
    results = judged(of_one_split(two), ("within margin", -0.05, 0.5))
    for run in results["runs"]:
        run["result"]["cost"]["artefact_bytes"] = 22_000_000
    assert headline(results) == ["LoRA: no loss above 0.5 points"]
    assert answer(results)[0].endswith("and stores 22.0 MB instead of 22.0 MB.")


def test_of_many_methods_the_number_within_the_margin_and_the_smallest_are_named(four):
    within, open_ = ("within margin", -0.05, 0.5), ("open", -0.4, 0.5)
    results = judged(four, open_, within, within, open_, within, within)
    [line] = headline(results)
    assert line.startswith("2 of 3 methods: no loss above 0.5 points; the file of VeRA ")
    text = answer(results)[0]
    assert text.startswith(
        "2 of 3 methods are within 0.5 points of full fine-tuning on every split, over 2 seeds and 600 test "
        "tiles of each split; the smallest is VeRA (random −0.05 points, "
    )
    nothing = judged(four, *[open_] * 6)
    assert headline(nothing) == ["None of 3 methods is shown to lose at most 0.5 points"]


def test_while_a_split_is_not_judged_the_headline_names_the_others(two):
    results = judged(two, ("within margin", -0.05, 0.5))
    assert headline(results) == ["LoRA: no loss above 0.5 points on the random split; file 48 times smaller"]
    assert answer(results)[0].startswith("On the random split LoRA is within 0.5 points of full fine-tuning")


def test_while_a_split_is_not_judged_many_methods_are_within_the_margin_on_the_others(four):
    results = judged(four, *[("within margin", -0.05, 0.5)] * 3)
    [line] = headline(results)
    assert line.startswith("3 of 3 methods: no loss above 0.5 points on the random split; the file of ")
    assert answer(results)[0].startswith(
        "3 of 3 methods are within 0.5 points of full fine-tuning on the random split, over 2 seeds and 600 "
        "test tiles; the smallest is "
    )


def test_a_method_that_is_judged_on_one_of_two_splits_is_not_within_the_margin_on_every_one(four):
    results = judged(four, *[("within margin", -0.05, 0.5)] * 6)
    results["verdicts"] = [e for e in results["verdicts"] if (e["method"], e["split"]) != ("vera", "spatial")]
    [line] = headline(results)
    assert line.startswith("2 of 3 methods: no loss above 0.5 points; the file of linear probing ")
    assert answer(results)[0].startswith("2 of 3 methods are within 0.5 points of full fine-tuning on every ")


@pytest.mark.parametrize(("count", "limit"), [(6, "one seed"), (1, "partly one seed")])
def test_single_models_of_many_methods_are_said_in_the_headline(four, count, limit):
    results = judged(four, *[("within margin", -0.05, 0.5)] * 6)
    for each in results["verdicts"][:count]:
        each |= {"seeds": 1}
    assert headline(results)[0].startswith(
        f"3 of 3 methods: no loss above 0.5 points ({limit}); the file of "
    )


def test_methods_that_are_judged_against_none_have_their_accuracies_as_headlines():
    single = study(done("lora", 0.978, 5400, CLASSES))
    [line] = headline(single)
    assert line.startswith("LoRA classifies 97.80 % (95 % interval 97.37–98.16, 1 seed) of 5,400 test ")
    assert answer(single) == [] and len(headline(pair())) == 2


def test_a_cost_of_twice_or_more_is_a_multiple_and_a_whole_network_trains_all():
    page = (DOCS / "results" / "eurosat-pretraining" / "report.md").read_text()
    results = read_results(DOCS / "results" / "eurosat-pretraining")
    [answer, *_] = write_answer(ReportView(results))
    assert answer in page
    assert " trains all of its parameters, takes 13.5 times the CPU time and 109 % of the peak" in answer
