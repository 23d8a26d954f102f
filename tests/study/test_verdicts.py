"""Methods of a study are compared by the predictions of their runs."""

# Differences have minus signs:
# ruff: noqa: RUF001

import numpy as np
import pytest
from studies import run_record

from orbitune.errors import RunError
from orbitune.study.design.fixed import Design
from orbitune.study.verdicts import compare_methods, comparison_sentences

COUNT = 2000
LABELS = np.arange(COUNT) % 3


def run(folder, method, mistakes, seed=0, split="default", indices=None, **fields):
    """A finished run, with predictions that are wrong on these tiles."""
    logits = np.eye(3, dtype=np.float32)[LABELS]
    logits[mistakes] = np.roll(logits[mistakes], 1, axis=1)
    fields |= {"seed": seed, "split": split, "labels": LABELS, "indices": indices}
    return run_record(folder, method, {"test": logits}, **fields)


def test_each_method_is_compared_with_full_fine_tuning_on_each_split(tmp_path):
    runs = [
        run(tmp_path, method, slice(start, start + count), split=split)
        for split in ("random", "spatial")
        for method, start, count in (("linear", 0, 400), ("full", 500, 40), ("lora", 500, 41))
    ]
    verdicts = compare_methods(runs, tmp_path)
    assert [(v.split, v.method, v.reference) for v in verdicts] == [
        (split, method, "full") for split in ("random", "spatial") for method in ("linear", "lora")
    ]
    assert [verdict.outcome for verdict in verdicts] == ["worse than margin", "within margin"] * 2
    assert verdicts[1].difference == pytest.approx(-0.05)
    assert "sentences" not in verdicts[1].to_json()  # they follow from the numbers
    assert (
        "LoRA is within 0.5 points of full fine-tuning (−0.05 points, simultaneous 95 % interval"
        in comparison_sentences(verdicts[1])[0]
    )


def test_all_seeds_are_compared_and_sweeps_and_failures_are_not(tmp_path):
    runs = [run(tmp_path, method, slice(0, 40), seed) for method in ("full", "lora") for seed in (0, 1)]
    runs.append(run(tmp_path, "lora", slice(0, 900), seed=2, sweep="shots"))
    runs.append(runs[0].model_copy(update={"seed": 3, "status": "failed"}))
    (verdict,) = compare_methods(runs, tmp_path)
    assert (verdict.seeds, verdict.reference_seeds, verdict.difference) == (2, 2, 0)


def test_a_single_method_is_not_compared(tmp_path):
    assert compare_methods([run(tmp_path, "lora", slice(0, 40))], tmp_path) == []


def test_a_method_that_failed_counts_among_the_comparisons_that_were_fixed(tmp_path):
    done = [run(tmp_path, method, slice(0, 40)) for method in ("full", "lora")]
    fixed = Design(
        fixed="2026-11-27T10:00:00+00:00",
        primary=(("linear", "full"), ("lora", "full")),
        comparisons=(("linear", "full"), ("lora", "full")),
        margins={"default": 1.0},
        seeds=(0,),
    )
    (verdict,) = compare_methods(done, tmp_path, design=fixed)
    assert (verdict.family, verdict.margin, verdict.role) == (2, 1.0, "primary")
    assert verdict.equal == min(1, 2 * verdict.p_equal)


@pytest.mark.parametrize(
    ("failed", "role"), [(None, "primary"), ("lora", "exploratory"), ("full", "exploratory")]
)
def test_a_verdict_without_one_of_the_seeds_that_were_fixed_is_exploratory(tmp_path, failed, role):
    fixed = Design(
        fixed="2026-11-27T10:00:00+00:00",
        primary=(("lora", "full"),),
        comparisons=(("lora", "full"),),
        margins={"default": 1.0},
        seeds=(0, 1),
    )
    runs = [run(tmp_path, method, slice(0, 40), seed) for method in ("full", "lora") for seed in (0, 1)]
    runs = [
        each.model_copy(update={"status": "failed"}) if (each.method, each.seed) == (failed, 1) else each
        for each in runs
    ]
    (verdict,) = compare_methods(runs, tmp_path, design=fixed)
    assert verdict.role == role


def test_runs_that_were_tested_on_other_tiles_are_not_compared(tmp_path):
    runs = [run(tmp_path, "full", slice(0, 40))]
    runs.append(run(tmp_path, "lora", slice(0, 40), indices=np.arange(COUNT) + 1))
    with pytest.raises(RunError, match="scored on other test tiles"):
        compare_methods(runs, tmp_path)
