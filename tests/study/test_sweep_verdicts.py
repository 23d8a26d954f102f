"""Methods are compared at each point of a sweep."""

import numpy as np
import pytest
from studies import run_record

from orbitune.study.design.fixed import Design
from orbitune.study.sweep_verdicts import compare_sweeps

LABELS = np.arange(2000) % 3
FIXED = Design(
    fixed="2026-11-27T10:00:00+00:00",
    primary=(("lora", "full"),),
    comparisons=(("lora", "full"),),
    margins={"default": 2.0},
    seeds=(0, 1),
)


def runs(folder, method, wrong, **fields):
    """Runs of two seeds that are wrong on this number of tiles."""
    logits = np.eye(3, dtype=np.float32)[LABELS]
    logits[:wrong] = np.roll(logits[:wrong], 1, axis=1)
    fields |= {"labels": LABELS}
    return [run_record(folder, method, {"test": logits}, seed=seed, **fields) for seed in (0, 1)]


@pytest.fixture
def shots(tmp_path):
    compared = [*runs(tmp_path, "full", 20), *runs(tmp_path, "lora", 20)]
    few = [
        run
        for method, shots, wrong in (("full", 5, 400), ("lora", 5, 300), ("full", 20, 100), ("lora", 20, 200))
        for run in runs(tmp_path, method, wrong, sweep="shots", shots=shots)
    ]
    return [*compared, *few]


def test_methods_are_compared_with_the_reference_at_the_same_point(shots, tmp_path):
    verdicts = compare_sweeps(shots, tmp_path)
    assert [(each.sweep, each.value, each.method, each.reference) for each in verdicts] == [
        ("shots", 5, "lora", "full"),
        ("shots", 20, "lora", "full"),
    ]
    assert [each.difference for each in verdicts] == pytest.approx([5.0, -5.0])
    assert [each.outcome for each in verdicts] == ["better", "worse than margin"]


def test_all_points_are_corrected_together_those_that_failed_too(shots, tmp_path):
    lost = [
        run.model_copy(update={"status": "failed"}) if (run.method, run.shots) == ("lora", 20) else run
        for run in shots
    ]
    (verdict,) = compare_sweeps(lost, tmp_path)
    assert (verdict.value, verdict.family, verdict.equal) == (5, 2, min(1, 2 * verdict.p_equal))


def test_the_margin_is_that_of_the_design_and_the_role_exploratory(shots, tmp_path):
    assert {(each.margin, each.role) for each in compare_sweeps(shots, tmp_path, design=FIXED)} == {
        (2.0, "exploratory")
    }
    assert {each.role for each in compare_sweeps(shots, tmp_path)} == {None}


def test_each_rank_is_compared_with_full_fine_tuning_which_has_none(tmp_path):
    compared = [*runs(tmp_path, "full", 20), *runs(tmp_path, "lora", 20, rank=8)]
    ranks = [
        *runs(tmp_path, "lora", 60, sweep="ranks", rank=1),
        *runs(tmp_path, "lora", 20, sweep="ranks", rank=4),
    ]
    verdicts = compare_sweeps([*compared, *ranks], tmp_path)
    assert [(each.value, each.reference) for each in verdicts] == [(1, "full"), (4, "full")]
    assert [each.difference for each in verdicts] == pytest.approx([-2.0, 0.0])


def test_a_rank_of_the_reference_that_failed_is_not_replaced_by_its_own_rank(tmp_path):
    compared = [*runs(tmp_path, "lora", 20, rank=8), *runs(tmp_path, "dora", 20, rank=8)]
    ranks = [
        *(
            run.model_copy(update={"status": "failed"})
            for run in runs(tmp_path, "lora", 20, sweep="ranks", rank=4)
        ),
        *runs(tmp_path, "dora", 20, sweep="ranks", rank=4),
    ]
    assert compare_sweeps([*compared, *ranks], tmp_path) == []


def test_a_study_without_sweeps_has_no_such_verdicts(tmp_path):
    assert compare_sweeps([*runs(tmp_path, "full", 20), *runs(tmp_path, "lora", 20)], tmp_path) == []


def test_few_tiles_of_one_comparison_are_judged_beside_all_tiles_of_another(tmp_path):
    compared = [*runs(tmp_path, "full", 20, shots=20), *runs(tmp_path, "lora", 20, shots=20)]
    every = [*runs(tmp_path, "full", 10, sweep="shots"), *runs(tmp_path, "lora", 12, sweep="shots")]
    (verdict,) = compare_sweeps([*compared, *every], tmp_path)
    assert (verdict.value, verdict.difference) == (None, pytest.approx(-0.1))


def test_a_run_of_the_comparison_that_has_the_value_is_of_the_point(tmp_path):
    compared = [*runs(tmp_path, "full", 20, image_size=64), *runs(tmp_path, "lora", 20, image_size=112)]
    swept = [
        *runs(tmp_path, "full", 60, sweep="image_sizes", image_size=112),
        *runs(tmp_path, "lora", 20, sweep="image_sizes", image_size=64),
    ]
    verdicts = compare_sweeps([*compared, *swept], tmp_path)
    assert [(each.value, round(each.difference, 2)) for each in verdicts] == [(112, 2.0), (64, 0.0)]


def test_few_tiles_of_folds_are_not_judged(shots, tmp_path):
    folds = [run.model_copy(update={"fold": "1/2"}) for run in shots]
    assert compare_sweeps(folds, tmp_path) == []
