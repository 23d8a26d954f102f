"""The methods section states what determined the training and the scores, in sentences true of the study."""

# The report is set with en dashes and minus signs:
# ruff: noqa: RUF001

import copy
import re

import pytest
from studies import CLASSES, Large, done, study

from orbitune.recipe import Recipe
from orbitune.study.records import StudyResults
from orbitune.study.report.comparison import table_caption
from orbitune.study.report.figures.classes import class_figure
from orbitune.study.report.methods.methodology import describe_runs
from orbitune.study.report.methods.prose import write_methods
from orbitune.study.report.methods.settings import settings_beyond_defaults
from orbitune.study.report.tables import calibration_table, verdict_sentences, verdict_table
from orbitune.study.report.view_model import ReportView

SETTINGS = {
    "image_size": 160,
    "sizes": [[64, 0.25], [112, 0.4], [160, 0.35]],
    "epochs": 13,
    "passes": 3,
    "mixup": 0.4,
    "label_smoothing": 0.1,
    "tta": "flips",
}


def view(results):
    return ReportView(StudyResults.from_json(results))


def run(method, accuracy=0.97, **settings):
    recipe = Recipe(method=method, **settings).model_dump(mode="json")
    return done(method, accuracy, 5400, CLASSES, recipe=recipe)


def methods(results):
    return dict(re.match(r"(\w+)\. (.*)", each, re.DOTALL).groups() for each in write_methods(view(results)))


def test_the_training_states_every_setting_that_differs_from_its_default():
    training = methods(study(run("full", **SETTINGS)))["Training"]
    assert ", evaluated at 160 pixels, with AdamW" in training and " 13 epochs," in training
    assert (
        "Other settings that differ from the defaults: predictions averaged over flips and quarter turns of "
        "a tile; 3 passes over the training tiles per epoch; progressive resizing: 64 pixels for 25 %, 112 "
        "pixels for 40 % and 160 pixels for 35 % of the steps; mixup with weights from Beta(0.4, 0.4); label "
        "smoothing 0.1. "
    ) in training


def test_the_training_states_no_other_settings_where_none_differs():
    assert "Other settings" not in methods(study(run("full", image_size=112, epochs=3)))["Training"]


@pytest.mark.parametrize(
    ("settings", "phrase"),
    [
        ({"patch_dropout": 0.3}, "patch dropout 0.3"),
        ({"merge_tokens": [4, 8]}, "half of the patches merged after block 4 and 8"),
        ({"freeze_layers": [[4, 0.3], [8, 0.6]]}, "layers frozen: the first 4 after 30 % and the first 8"),
        ({"loss": "bce"}, "loss bce"),
        ({"best_by": "macro-f1"}, "epoch chosen by validation macro-f1"),
        ({"class_weights": "balanced"}, "class weights balanced"),
        ({"class_weights": {"Forest": 2.0}}, "class weights Forest 2"),
        ({"sampling": "balanced"}, "balanced sampling"),
        ({"restarts": [2]}, "schedule started anew after epoch 2"),
        ({"patience": 2}, "stopped after 2 epochs without a better validation score"),
        ({"lora": {"rank": 16}}, "LoRA rank 16"),
        ({"bands": ["B04", "B08"]}, "bands B04 and B08"),
    ],
)
def test_each_setting_has_a_phrase(settings, phrase):
    [found] = settings_beyond_defaults(view(study(run("lora", **settings))))
    assert found.startswith(phrase)


def test_a_setting_that_not_every_method_has_names_those_that_do():
    results = study(run("full", lora={"rank": 16}), run("lora", mixup=0.4, lora={"rank": 16}))
    found = settings_beyond_defaults(view(results))
    assert found == ["mixup with weights from Beta(0.4, 0.4) (LoRA)", "LoRA rank 16 (LoRA)"]


def test_a_study_of_one_method_and_one_seed_is_described_as_such():
    results = view(study(run("lora", learning_rate=0.002)))
    text = " ".join([*write_methods(results), *describe_runs(results)])
    assert "Learning rate (not tuned): 0.002. It was trained once, with one seed, in a" in text
    assert "means over the seeds" not in text and "Every method" not in text
    assert "Wilson's (1927) of the accuracy, and of macro-F1 a bootstrap over tiles" in text
    assert "Accuracies have 95 % Wilson score intervals (Wilson 1927), macro-F1 those of a bootstrap" in text
    assert re.match(r"Accuracy and cost of LoRA, on .*, one seed, measured", table_caption(results))


def test_the_means_of_a_study_with_one_split_are_not_on_each_split():
    one, two = (
        view(Large(("full", "lora"), splits, seeds=2).results)
        for splits in (("random",), ("random", "spatial"))
    )
    assert ", means of 2 seeds, " in table_caption(one)
    assert ", means of 2 seeds on each split" in table_caption(two)


@pytest.mark.parametrize("seeds", [1, 2])
def test_calibration_errors_are_means_of_the_seeds_where_there_are_several(seeds):
    results = view(Large(("full", "lora"), ("random",), seeds=seeds, count=1000).results)
    assert ("means of the seeds" in calibration_table(results, "random").caption) == (seeds > 1)


@pytest.mark.parametrize(("margins", "words"), [((1,), "1 point. "), ((0.5, 1), "0.5 and 1 points. ")])
def test_margins_of_the_methods_are_numbered_right(margins, words):
    results = Large(("full", "lora"), seeds=2, count=100).results
    for place, entry in enumerate(results["verdicts"]):
        entry["margin"] = margins[place % len(margins)]
    assert f"with a margin of {words}" in methods(results)["Statistics"]


def test_the_confidence_of_intervals_has_a_minus_sign_and_that_of_single_comparisons_no_m():
    assert (
        "confidence of 1 − 5 % / m, with m = 2"
        in methods(Large(("full", "lora", "dora")).results)["Statistics"]
    )
    assert "confidence of 95 %, as none" in methods(Large(("full", "lora")).results)["Statistics"]


def test_images_needed_are_the_same_in_the_table_and_in_the_sentence():
    results = Large(("full", "lora"), ("random",), seeds=2).results
    needed = {"difference": -0.25, "seeds": None, "images": 16_800}
    results["verdicts"][0] |= {"outcome": "open", "needed": needed}
    shown = view(results)
    assert verdict_table(shown).rows[0][-1] == "– / 17,000"
    assert "true difference of −0.25 points" in verdict_sentences(shown)[0]
    assert "takes 17,000 test images" in verdict_sentences(shown)[0]


def test_the_largest_loss_of_a_class_has_a_minus_sign():
    shown = view(Large(("full", "linear"), ("random",)).results)
    [panel] = class_figure(shown, shown.reference).panels
    assert re.search(r"The largest loss is that of linear probing on .*, −\d+\.\d points\.", panel.alt)


def test_every_version_of_the_code_of_the_runs_is_named():
    results = copy.deepcopy(Large(("full", "lora"), ("random",)).results)
    for place, entry in enumerate(results["runs"]):
        entry["environment"] = {**results["environment"], "code": f"c0de{place % 2}"}
    computing = methods(results)["Computing"]
    assert re.match(r"The runs are of Orbitune (\S+) \(code c0de0\) and \1 \(code c0de1\), ", computing)


def test_code_that_trained_trials_and_no_run_is_named():
    results = copy.deepcopy(Large(("full", "lora"), ("random",)).tune().results)
    results["environment"]["code"] = "c0de0"
    for entry in results["trials"]:
        entry["code"] = "c0de0"
    assert "Trials of" not in methods(results)["Computing"]
    results["trials"][0]["code"] = "c0de1"
    assert ". Trials of learning rates are of code c0de1 and c0de0. CPU" in methods(results)["Computing"]
