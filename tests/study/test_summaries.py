"""Summaries over seeds, against values computed by hand."""

import numpy as np
import pytest
from studies import run_record, run_result

from orbitune.errors import RunError
from orbitune.evaluation.calibration import score_calibration
from orbitune.evaluation.metrics import score
from orbitune.evaluation.statistics.intervals import bootstrap_accuracy, wilson
from orbitune.recipe import Recipe
from orbitune.study.findings import GroupSummary
from orbitune.study.summaries import summarise_groups

COUNT, CLASSES = 1000, ("Forest", "River")
LABELS = np.arange(COUNT) % 2


def logits_of(mistakes, sure=1.0):
    """Return logits that are wrong on the first tiles, with the given confidence."""
    logits = sure * np.eye(2, dtype=np.float32)[LABELS]
    logits[:mistakes] = logits[:mistakes, ::-1]
    return logits


def run(folder, method, mistakes, seed=0, split="random", sweep=None, sure=1.0, **more):
    """A finished run, with its predictions."""
    logits = {"test": logits_of(mistakes, sure), "validation": logits_of(mistakes // 2, sure)}
    scores = {part: score(values, LABELS, classes=CLASSES).to_json() for part, values in logits.items()}
    fields = {"seed": seed, "split": split, "sweep": sweep, "rank": 8, "image_size": 64, "labels": LABELS}
    fields |= {"result": run_result(Recipe(method=method), scores["test"], scores["validation"])}
    return run_record(folder, method, logits, **{**fields, **more})


def failed(record):
    return record.model_copy(update={"status": "failed"})


def test_runs_that_differ_in_the_seed_alone_have_one_summary(tmp_path):
    runs = [
        run(tmp_path, "lora", 30, seed=0),
        run(tmp_path, "lora", 40, seed=1),
        run(tmp_path, "lora", 90, seed=0, sweep="ranks", rank=2),
        run(tmp_path, "full", 20, seed=0, split="spatial"),
        failed(run(tmp_path, "full", 20, seed=1, split="spatial")),
        failed(run(tmp_path, "linear", 20)),
    ]
    found = summarise_groups(runs, tmp_path)
    assert [(each.group, each.seeds, each.rank) for each in found] == [
        ("lora-random", [0, 1], 8),
        ("lora-random-ranks2", [0], 2),
        ("full-spatial", [0], 8),
    ]
    assert {(each.method, each.sweep, each.image_size) for each in found} == {
        ("lora", None, 64),
        ("lora", "ranks", 64),
        ("full", None, 64),
    }


def test_scores_are_means_over_the_seeds_and_the_interval_covers_seeds_and_images(tmp_path):
    runs = [run(tmp_path, "lora", mistakes, seed) for seed, mistakes in enumerate((20, 40, 60))]
    [summary] = summarise_groups(runs, tmp_path)
    correct = np.arange(COUNT) >= np.array([[20], [40], [60]])
    low, high = bootstrap_accuracy(correct)
    assert summary.accuracy.model_dump() == {
        **{"mean": pytest.approx(0.96), "low": low, "high": high},
        **{"seeds": pytest.approx([0.98, 0.96, 0.94]), "interval": "bootstrap"},
    }
    # Both classes have 500 tiles and are mistaken for each other equally often, so F1 is the accuracy.
    assert summary.macro_f1 == pytest.approx(0.96)
    assert summary.macro_f1_interval == pytest.approx((low, high), abs=0.003)
    assert summary.validation_accuracy == pytest.approx(0.98)
    assert summary.test_tiles == COUNT
    assert summary.per_class[1].model_dump() == {
        **{"name": "River", "support": 500},
        **{"f1": pytest.approx(0.96), "low": pytest.approx(0.94), "high": pytest.approx(0.98)},
    }
    assert GroupSummary.model_validate_json(summary.model_dump_json()) == summary


def test_one_seed_has_wilsons_interval(tmp_path):
    [summary] = summarise_groups([run(tmp_path, "lora", 30)], tmp_path)
    accuracy = summary.accuracy
    assert accuracy.interval == "wilson"
    assert [accuracy.low, accuracy.high] == wilson(970, COUNT)


def test_each_seed_has_a_temperature_of_its_own_from_validation(tmp_path):
    runs = [run(tmp_path, "lora", 200, seed=0, sure=8.0), run(tmp_path, "lora", 200, seed=1, sure=2.0)]
    [summary] = summarise_groups(runs, tmp_path)
    # A tenth of validation is wrong, so the margin ought to be ln 9 and is 8 and 2.
    temperatures = summary.calibration.temperatures
    assert temperatures == pytest.approx([8 / np.log(9), 2 / np.log(9)], rel=1e-3)
    pooled = np.concatenate([logits_of(200, np.log(9))] * 2)
    expected = score_calibration(pooled, np.tile(LABELS, 2))
    assert summary.calibration.after.loss == pytest.approx(expected.loss, abs=1e-4)
    before = np.concatenate([logits_of(200, 8.0), logits_of(200, 2.0)])
    together = score_calibration(before, np.tile(LABELS, 2), tiles=np.tile(np.arange(COUNT), 2))
    assert summary.calibration.before == together


def test_the_calibration_error_is_that_of_each_seed_with_the_noise_of_its_own_tiles(tmp_path):
    runs = [run(tmp_path, "lora", 200, seed=0, sure=8.0), run(tmp_path, "lora", 200, seed=1, sure=2.0)]
    [summary] = summarise_groups(runs, tmp_path)
    first, second = summary.calibration.seeds
    alone = score_calibration(logits_of(200, 8.0), LABELS)
    assert (first.before, first.before_if_calibrated) == (alone.ece, alone.ece_if_calibrated)
    assert (first.seed, second.seed) == (0, 1) and first.before != second.before


def test_missing_predictions_are_one_clear_error(tmp_path):
    lost = run(tmp_path, "lora", 20)
    (tmp_path / lost.name / "predictions.npz").write_bytes(b"half")
    with pytest.raises(RunError, match=r"predictions\.npz is missing or damaged\. Restore it"):
        summarise_groups([lost], tmp_path)
