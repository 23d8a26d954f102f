"""Gaps between splits of a study, as they are and at one mix of classes."""

from pathlib import Path

import numpy as np
import pytest
from studies import run_record, run_result

from orbitune.evaluation.metrics import score
from orbitune.evaluation.statistics.intervals import bootstrap_unpaired_difference
from orbitune.recipe import Recipe
from orbitune.study.report.answers.split_gaps import gap_sentences, gap_tables
from orbitune.study.report.view_model import ReportView
from orbitune.study.results import read_results
from orbitune.study.split_gaps import split_gaps

COUNT, CLASSES = 1000, ("Forest", "River")
OLDER = Path(__file__).parents[1] / "stored" / "0.1" / "two-split-study"


def run(folder, method, mistakes, *, split, forests=500, sweep=None, seed=0):
    """A finished run, wrong on the first rivers, of a split with so many forests among 1,000 tiles."""
    labels = (np.arange(COUNT) >= forests).astype(int)
    logits = np.eye(2, dtype=np.float32)[labels]
    wrong = forests + np.arange(mistakes)
    logits[wrong] = logits[wrong, ::-1]
    scores = score(logits, labels, classes=CLASSES).to_json()
    return run_record(
        folder,
        method,
        {"test": logits, "validation": logits},
        seed=seed,
        split=split,
        sweep=sweep,
        labels=labels,
        result=run_result(Recipe(method=method), scores, scores),
    )


def test_a_method_has_a_gap_between_two_splits_and_sweeps_have_none(tmp_path):
    runs = [
        run(tmp_path, "lora", 20, split="random"),
        run(tmp_path, "lora", 100, split="spatial"),
        run(tmp_path, "lora", 400, split="spatial", sweep="shots"),
        run(tmp_path, "full", 10, split="random"),
    ]
    [gap] = split_gaps(runs, tmp_path)
    first, second = (np.arange(COUNT)[None] >= mistakes for mistakes in (20, 100))
    low, high = bootstrap_unpaired_difference(first, second)
    assert (gap.method, gap.splits, gap.over_folds) == ("lora", ["random", "spatial"], None)
    assert gap.difference == pytest.approx(0.08)
    assert (gap.low, gap.high) == pytest.approx((low, high), abs=0.005)
    assert gap.standardised.difference == pytest.approx(0.08)  # the splits have one mix


def test_a_split_with_more_of_the_easy_class_loses_more_at_the_mix_of_the_random_one(tmp_path):
    runs = [
        run(tmp_path, "lora", 50, split="random"),
        run(tmp_path, "lora", 50, split="spatial", forests=800),
    ]
    [gap] = split_gaps(runs, tmp_path)
    assert gap.difference == 0
    assert gap.standardised.mix == "random" and gap.balanced.mix is None
    assert gap.standardised.difference == pytest.approx((0.25 - 0.10) / 2)
    low, high = gap.standardised.interval
    assert 0 < low < gap.standardised.difference < high
    [again] = split_gaps(runs[::-1], tmp_path)  # the random split is second, and gives the mix still
    assert again.standardised.difference == pytest.approx(-gap.standardised.difference)


def test_an_older_study_states_its_gaps_at_the_mix_of_the_random_split():
    """From the confusions in its results: version 0.1 stored no interval."""
    results = read_results(OLDER)
    full = next(gap for gap in results.gaps if gap.method == "full")
    points = [100 * each.difference for each in (full, full.standardised, full.balanced)]
    assert points == pytest.approx([5.30, 8.31, 8.95], abs=0.005)
    view = ReportView(results)
    assert "At the class mix of the random split's test tiles the loss is 8.16 (LoRA) to 8.31" in " ".join(
        gap_sentences(view)
    )
    [table] = gap_tables(view)
    assert table.rows[0][0] == "full fine-tuning" and table.rows[0][2:] == ["+8.31", "+8.95"]


@pytest.mark.parametrize(
    ("later", "sentence"),
    [
        ({"lora": 50, "full": 20}, "methods gain 5.00 (LoRA) to 8.00 (full fine-tuning) points."),
        ({"lora": 50, "full": 120}, "methods lose \u22125.00 (LoRA) to 2.00 (full fine-tuning) points."),
    ],
)
def test_an_easier_second_split_is_a_gain(tmp_path, later, sentence):
    runs = [run(tmp_path, method, 100, split="random") for method in later]
    runs += [run(tmp_path, method, wrong, split="spatial") for method, wrong in later.items()]
    results = read_results(OLDER)
    view = ReportView(results.model_copy(update={"gaps": split_gaps(runs, tmp_path)}))
    assert gap_sentences(view)[0] == f"From the random to the spatial split {sentence}"
    word = "gain" if "gain" in sentence else "loss"
    assert f"test tiles the {word} is" in gap_sentences(view)[1]
