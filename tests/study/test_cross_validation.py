"""A study of folds tests each tile once, and pools them."""

# Differences have minus signs:
# ruff: noqa: RUF001

import shlex

import numpy as np
import pytest
from commands import orbitune
from studies import run_record, run_result, write_report

from orbitune import Recipe, Study
from orbitune.errors import OrbituneError, RunError
from orbitune.evaluation.metrics import score
from orbitune.evaluation.statistics.intervals import mean_accuracy
from orbitune.evaluation.statistics.resampled import corrected_resampled_interval, unpaired_resampled_interval
from orbitune.study.corrupted_runs import pool_folds
from orbitune.study.grid import Grid
from orbitune.study.predictions import complete_runs, load_predictions
from orbitune.study.split_gaps import split_gaps
from orbitune.study.summaries import summarise_groups
from orbitune.study.verdicts import compare_methods, comparison_sentences

COUNT, FOLDS = 90, 3
LABELS = np.arange(COUNT) % 3
CLASSES = ["a", "b", "c"]


@pytest.fixture(scope="module")
def finished(recipe, forked, tmp_path_factory):
    """The results of a study of three random folds, tuned and corrupted in each, and its folder."""
    folder = tmp_path_factory.mktemp("study-folds") / "s"
    study = Study(recipe.replace(split="random"), folder, methods=["linear"], folds=3, tune=3, robustness=2)
    return study.run(progress=False), folder


def test_runs_are_named_after_fold_and_seed_and_share_a_group():
    specs = Grid.of(folds=3, seeds=2).runs([Recipe(split="random")])
    assert [spec.name for spec in specs] == [f"lora-fold{k}-seed{seed}" for k in (1, 2, 3) for seed in (0, 1)]
    assert {spec.group for spec in specs} == {"lora"}
    assert [spec.recipe.fold for spec in specs[::2]] == ["1/3", "2/3", "3/3"]
    assert [spec.search for spec in specs[::2]] == ["lora-fold1", "lora-fold2", "lora-fold3"]
    assert Grid.of(folds=3).varied == {"fold"}


def test_settings_of_a_split_apply_to_that_split_alone():
    specs = Grid.of(splits=("random", "spatial"), folds=3).runs([Recipe(split="spatial", block_size=500.0)])
    assert {(spec.split, spec.recipe.block_size) for spec in specs} == {("random", None), ("spatial", 500.0)}


def test_each_tile_is_tested_once_by_its_fold(finished):
    results, folder = finished
    assert [(run.name, run.fold, run.status) for run in results.runs] == [
        (f"linear-fold{k}", f"{k}/3", "done") for k in (1, 2, 3)
    ]
    [summary] = results.summaries
    assert (summary.folds, summary.seeds, summary.test_tiles) == (3, [0], 60)
    assert results.test_reads == {f"linear-fold{k}": 1 for k in (1, 2, 3)}
    assert load_predictions(results.runs, folder, split="random").indices.tolist() == list(range(60))
    correct = sum(np.trace(np.array(run.finished.test.confusion)) for run in results.runs)
    assert summary.accuracy.mean == pytest.approx(correct / 60)
    assert len(summary.calibration.temperatures) == 3


def test_learning_rates_are_searched_in_each_fold_by_its_own_validation_tiles(finished):
    results, folder = finished
    chosen = {trial.fold: trial.learning_rate for trial in results.trials if trial.chosen}
    assert chosen == {run.fold: run.finished.recipe.learning_rate for run in results.runs}
    assert sorted(place.name for place in (folder / "trials").iterdir()) == [
        f"linear-fold{k}" for k in (1, 2, 3)
    ]
    assert {trial.test_reads for trial in results.trials} == {0}


def test_the_report_says_what_the_intervals_mean(finished):
    page = (finished[1] / "report.md").read_text()
    assert "of every fold, with the tiles of all folds pooled" in page
    assert "on 60 test tiles from one seed, each tested once over 3 folds" in page
    assert "Nadeau and Bengio 2003" in page and "Bengio and Grandvalet 2004" in page
    assert "| linear probing fold2 |" in page


def test_leakage_is_checked_in_every_fold_and_the_page_pools_them(finished):
    results, folder = finished
    assert [(each.split, each.fold) for each in results.leakage_checks] == [
        ("random", f"{k}/3") for k in (1, 2, 3)
    ]
    assert sum(each.baselines[0].test.count for each in results.leakage_checks) == 60
    right = sum(round(b.test.accuracy * b.test.count) for r in results.leakage_checks for b in r.baselines)
    page = (folder / "report.md").read_text()
    assert f"Over 3 folds, colour statistics alone reach {100 * right / 60:.1f} %" in page
    assert "Train and test tiles, over 3 folds: " in page
    assert "Leakage checks of each fold" in page
    assert "always predicting the commonest class of the training tiles. Both are of 3 folds." in page


def test_every_fold_is_scored_on_its_own_corrupted_validation_tiles_and_the_page_pools_them(finished):
    results, folder = finished
    assert [(each.fold, each.count) for each in results.robustness] == [(f"{k}/3", 2) for k in (1, 2, 3)]
    clean = sum(2 * each.clean.accuracy for each in results.robustness) / 6
    page = (folder / "report.md").read_text()
    assert "Accuracy on 6 validation tiles of 3 folds of the random split drawn with seed 42, mean" in page
    assert f"from {100 * clean:.1f} %" in page


def test_checks_that_an_earlier_version_made_of_the_first_fold_are_said_to_be_of_it(finished, tmp_path):
    """Its records have no fold."""
    results = finished[0]
    firsts = {
        name: [getattr(results, name)[0].model_copy(update={"fold": None})]
        for name in ("leakage_checks", "robustness")
    }
    write_report(results.model_copy(update=firsts).to_json(), tmp_path)
    page = (tmp_path / "report.md").read_text()
    assert "Leakage checks and robustness are of the first fold." in page
    assert "Accuracy on 2 validation tiles of the first fold of the random split drawn with seed 42" in page
    assert "always predicting the commonest class of the training tiles. Both are of the first fold." in page
    assert "- The first fold. Train and test tiles: " in page
    assert "pooled" not in page.partition("Leakage checks and robustness")[2]


def test_a_method_that_lacks_a_corrupted_fold_is_not_compared(finished):
    records = finished[0].robustness
    assert [each.count for each in pool_folds(records)] == [6]
    assert pool_folds(records[:2]) == []


def test_a_study_of_folds_is_continued_and_its_command_has_them(recipe, finished, caplog):
    results, folder = finished
    caplog.set_level("INFO", logger="orbitune")
    study = Study(recipe.replace(split="random"), folder, methods=["linear"], folds=3, tune=3, robustness=2)
    assert study.run(progress=False).runs == results.runs
    assert "3 of 3 runs were already finished" in caplog.messages
    assert f"--recipe {folder}/recipes/linear-fold1.yaml --methods linear --folds 3 --tune 3" in study.command


def test_the_terminal_and_the_page_say_of_which_fold_the_sizes_are(finished):
    results, folder = finished
    done = orbitune(*shlex.split(results.command)[1:])
    sizes = ", ".join(f"{count} {name}" for name, count in results.data.sizes.items())
    assert f"tiles of fold 1 of 3: {results.data.source}; {sizes}; 3 classes" in done.stdout
    page = (folder / "report.md").read_text()
    assert f"Tiles of fold 1 of 3: {sizes}" in page.replace("*", "")


@pytest.mark.parametrize(
    ("settings", "folds", "message"),
    [
        ({}, 5, "--folds needs --split random, spatial or group, and no --split-files"),
        ({"split": "spatial", "split_files": "x"}, 3, "--folds needs --split random"),
        ({"split": "random"}, 2, "--folds takes a number of folds of at least 3"),
    ],
)
def test_folds_that_cannot_be_are_one_line(recipe, tmp_path, settings, folds, message):
    with pytest.raises(OrbituneError, match=message):
        Study(recipe.replace(**settings), tmp_path / "s", folds=folds).run(progress=False)
    assert not (tmp_path / "s").exists()


def test_a_recipe_of_one_fold_is_refused_before_training(recipe, tmp_path):
    recipe.replace(split="random", fold="2/3").save(tmp_path / "rec.yaml")
    done = orbitune(
        "study", "--recipe", tmp_path / "rec.yaml", "--methods", "linear,norm", "--out", tmp_path / "s"
    )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "the recipe has fold 2/3 alone: pass --folds 3, or leave fold out of it" in done.stderr
    assert not (tmp_path / "s").exists()


def test_folds_take_the_place_of_the_fold_of_a_recipe():
    specs = Grid.of(folds=3, splits=("random",)).runs([Recipe(split="random", fold="2/5")])
    assert [spec.recipe.fold for spec in specs] == ["1/3", "2/3", "3/3"]


def test_block_size_without_a_spatial_split_is_exit_code_2(inputs_of_recipe, tmp_path):
    done = orbitune("train", *inputs_of_recipe, "--block-size", 500, "--out", tmp_path / "run")
    assert done.returncode == 2 and "--block-size needs --split spatial" in done.stderr


@pytest.fixture
def inputs_of_recipe(recipe):
    return ["--data", recipe.data, "--backbone", recipe.backbone]


# --- pooled statistics, of invented predictions -----------------------------------------------------------


def fold_run(folder, method, fold, mistakes, *, seed=0):
    """A finished run of one fold of 30 tiles, whose first ones are wrong."""
    indices = np.arange(COUNT)[fold - 1 :: FOLDS][np.random.default_rng(fold).permutation(COUNT // FOLDS)]
    labels = LABELS[indices // FOLDS]
    logits = np.eye(3, dtype=np.float32)[labels]
    logits[:mistakes] = np.roll(logits[:mistakes], 1, axis=1)
    test = score(logits, labels, classes=CLASSES).to_json()
    data = {"classes": CLASSES, "sizes": {"train": 30, "validation": 30, "test": 30}}
    result = run_result(Recipe(method=method), test, test)
    result["data"] |= data
    run = run_record(
        folder,
        f"{method}-{fold}",
        {"test": logits, "validation": logits},
        labels=labels,
        indices=indices,
        seed=seed,
        fold=f"{fold}/{FOLDS}",
        result=result,
    )
    return run.model_copy(update={"method": method, "group": method})


def test_pooled_folds_are_aligned_by_tile_and_scored_as_one_split(tmp_path):
    runs = [fold_run(tmp_path, "lora", fold, 3 * fold) for fold in (1, 2, 3)]
    [summary] = summarise_groups(runs, tmp_path)
    pooled = load_predictions(runs, tmp_path)
    assert pooled.indices.tolist() == list(range(COUNT))
    correct = pooled.correct["lora"]
    assert correct.sum() == COUNT - 18
    assert summary.accuracy == mean_accuracy(correct)
    assert summary.test_tiles == COUNT and [row.support for row in summary.per_class] == [30, 30, 30]


def test_a_seed_that_lacks_a_fold_is_left_out(tmp_path):
    runs = [fold_run(tmp_path, "lora", fold, 3, seed=seed) for seed in (0, 1) for fold in (1, 2, 3)]
    runs[4] = runs[4].model_copy(update={"status": "failed"})
    assert [run.seed for run in complete_runs(runs)] == [0, 0, 0]
    [summary] = summarise_groups(runs, tmp_path)
    assert summary.seeds == [0]


def test_a_tile_in_two_folds_is_an_error(tmp_path):
    runs = [fold_run(tmp_path, "lora", fold, 3) for fold in (1, 2)]
    (tmp_path / "again").mkdir()
    again = fold_run(tmp_path / "again", "lora", 1, 3)
    runs.append(again.model_copy(update={"name": f"again/{again.name}", "fold": "3/3"}))
    with pytest.raises(RunError, match="A tile is in two folds of lora-1"):
        load_predictions(runs, tmp_path)


def test_a_comparison_has_the_corrected_interval_over_folds_too(tmp_path):
    runs = [
        fold_run(tmp_path, method, fold, mistakes[fold - 1])
        for method, mistakes in (("full", (3, 3, 3)), ("lora", (6, 9, 12)))
        for fold in (1, 2, 3)
    ]
    [verdict] = compare_methods(runs, tmp_path)
    assert (verdict.images, verdict.difference) == (COUNT, pytest.approx(-20.0))
    expected = corrected_resampled_interval([-10, -20, -30], test_to_train=1.0)
    assert verdict.over_folds == pytest.approx(expected)


def judged(folder, *, full, lora):
    """The verdict on LoRA from the number of mistakes of each method in each fold of 30 tiles."""
    runs = [
        fold_run(folder, method, fold, mistakes[fold - 1])
        for method, mistakes in (("full", full), ("lora", lora))
        for fold in (1, 2, 3)
    ]
    [verdict] = compare_methods(runs, folder)
    return verdict


def test_methods_differ_only_if_their_difference_holds_over_folds(tmp_path):
    """All mistakes are of one fold: its training tiles may be the reason."""
    verdict = judged(tmp_path, full=(0, 0, 0), lora=(0, 0, 20))
    assert verdict.equal < 0.001 and verdict.beyond < 0.025 and not verdict.differs
    assert (verdict.outcome, verdict.needed) == ("open", None)
    interval = "over folds −213.45 to +169.01)"
    assert comparison_sentences(verdict)[0].endswith(f", {interval}.")
    assert comparison_sentences(verdict)[1].endswith(
        f": no difference was detected over folds (score test, p < 0.001, 95 % interval {interval[:-1]}; "
        "McNemar of these trained models, p < 0.001)."
    )


def test_methods_differ_if_every_fold_says_so(tmp_path):
    verdict = judged(tmp_path, full=(0, 0, 0), lora=(20, 20, 21))
    assert verdict.differs and verdict.outcome == "worse than margin"
    assert (
        "full fine-tuning did better than LoRA (score test, p < 0.001, 95 % interval over folds"
        in comparison_sentences(verdict)[1]
    )
    assert ", over folds −" in comparison_sentences(verdict)[0]


def test_a_method_is_within_the_margin_only_if_folds_agree(tmp_path):
    """LoRA wins on the pooled tiles, by one fold."""
    assert judged(tmp_path, full=(20, 0, 0), lora=(0, 0, 0)).outcome == "open"
    (tmp_path / "even").mkdir()
    assert judged(tmp_path / "even", full=(20, 20, 20), lora=(0, 0, 0)).outcome == "better"


def gap_between(folder, *, random, spatial):
    """The gap of LoRA between two splits from its mistakes in each fold of 30 tiles."""
    runs = []
    for split, mistakes in (("random", random), ("spatial", spatial)):
        (folder / split).mkdir(parents=True)
        for fold in (1, 2, 3):
            run = fold_run(folder / split, "lora", fold, mistakes[fold - 1])
            changes = {"name": f"{split}/{run.name}", "split": split, "group": f"lora-{split}"}
            runs.append(run.model_copy(update=changes))
    [gap] = split_gaps(runs, folder)
    return gap


def test_a_split_is_harder_only_if_the_folds_agree(tmp_path):
    """All mistakes are of one fold: pooled, the interval is above zero, over folds it is not."""
    one = gap_between(tmp_path / "one", random=(0, 0, 0), spatial=(0, 0, 20))
    assert one.low > 0 > one.over_folds[0] and not one.is_loss
    each = gap_between(tmp_path / "each", random=(0, 1, 0), spatial=(20, 20, 21))
    assert each.is_loss and each.over_folds[0] > 0


def test_the_interval_of_a_gap_sums_the_corrected_variances_of_both_splits():
    """With equal variances Welch's degrees of freedom are 2 (K - 1): t(0.975, 8) = 2.306."""
    low, high = unpaired_resampled_interval([1, 2, 3, 4, 5], [11, 12, 13, 14, 15], test_to_train=(0.25, 0.25))
    assert (low + high) / 2 == pytest.approx(-10)
    assert (high - low) / 2 == pytest.approx(2.306 * (2 * 0.45 * 2.5) ** 0.5, abs=1e-3)
    assert unpaired_resampled_interval([5, 5], [3, 3], test_to_train=(0.5, 0.5)) == (2, 2)


def test_the_correction_for_shared_training_tiles_widens_the_interval_as_published():
    """t(0.975, 4) = 2.776; a variance of 2.5 becomes (1 / 5 + 1 / 4) x 2.5."""
    low, high = corrected_resampled_interval([1, 2, 3, 4, 5], test_to_train=0.25)
    assert (low + high) / 2 == pytest.approx(3)
    assert (high - low) / 2 == pytest.approx(2.776 * (0.45 * 2.5) ** 0.5, abs=1e-3)
