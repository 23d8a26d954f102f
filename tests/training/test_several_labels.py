"""Tiles with several labels: train, resume, evaluate, and what is refused."""

import json
import re
import signal

import numpy as np
import pytest
from commands import orbitune
from label_sets import real_parts, write_mosaics
from sklearn.metrics import average_precision_score

from orbitune import Recipe, evaluate, train
from orbitune.data.recipe_tiles import load_recipe_tiles
from orbitune.data.tileset import load_tiles
from orbitune.errors import Interrupted, OrbituneError
from orbitune.evaluation.run_result import RunResult
from orbitune.evaluation.tasks.label_set_scores import LabelSetScores
from orbitune.recipe_settings import TaskName
from orbitune.training.batches import batch_indices
from orbitune.training.callbacks import Callback
from orbitune.training.setup import prepare_training


@pytest.fixture(scope="module")
def recipe(label_set_run):
    return Recipe.load(label_set_run / "recipe.yaml").replace(epochs=1)


def outputs(run, split="test"):
    with np.load(run / "predictions.npz") as file:
        return file[f"{split}_logits"], file[f"{split}_labels"]


def test_a_run_learns_the_labels_and_records_its_task(label_set_run):
    result = RunResult.load(label_set_run)
    assert (result.recipe.task, result.recipe.loss, result.recipe.best_by) == ("multi-label", "bce", "map")
    assert isinstance(result.test, LabelSetScores)
    logits, labels = outputs(label_set_run)
    assert labels.shape == logits.shape == (result.data.sizes["test"], 3)
    assert result.test.mean_average_precision == pytest.approx(
        average_precision_score(labels, logits), abs=1e-6
    )
    assert result.test.mean_average_precision > labels.mean() + 0.25
    assert result.test.micro_f1 > 0.8
    low, high = result.test.intervals["mean_average_precision"]
    assert 0.5 < low <= result.test.mean_average_precision <= high + 1e-9
    scores = [epoch.validation_map for epoch in result.history]
    assert result.best_epoch == 1 + int(np.argmax(scores))
    assert result.validation.mean_average_precision == pytest.approx(max(scores), abs=1e-6)


def test_commands_train_evaluate_and_predict_from_a_csv_file(label_set_run, tmp_path):
    place = label_set_run.parent
    options = ("--data", place / "tiles" / "tiles.csv", "--backbone", place / "backbone", "--epochs", 2)
    out = ("--out", tmp_path / "run", "--quiet")
    done = orbitune(
        "train", *options, "--batch-size", 8, "--learning-rate", 0.01, "--precision", "fp32", *out
    )
    assert done.returncode == 0, done.stderr
    assert re.match(r"test mAP [01]\.\d{4} \(95 % interval .*\), micro-F1 [01]\.\d{4} \(", done.stdout)
    assert "several labels a tile: " in done.stdout
    scored = orbitune("evaluate", tmp_path / "run", "--quiet")
    assert scored.stdout.splitlines()[0] == done.stdout.splitlines()[0]
    header, *rows = (line.split() for line in scored.stdout.splitlines()[1:5])
    assert header == ["class", "AP", "threshold", "precision", "recall", "F1", "tiles"]
    assert [row[0] for row in rows] == ["class_0", "class_1", "class_2"]
    found = orbitune("predict", tmp_path / "run", place / "tiles", "--json", "--quiet")
    lines = [json.loads(line) for line in found.stdout.splitlines()]
    truth = dict(line.split(",") for line in (place / "tiles" / "tiles.csv").read_text().splitlines()[1:])
    right = [
        {each["label"] for each in line["labels"]} == set(truth[line["input"].rpartition("/")[2]].split("|"))
        for line in lines
    ]
    assert len(lines) == 150 and np.mean(right) > 0.5


def test_evaluate_gives_the_scores_of_the_run_again(label_set_run):
    stored = RunResult.load(label_set_run)
    scores = evaluate(label_set_run, "validation", progress=False)
    assert scores.mean_average_precision == pytest.approx(stored.validation.mean_average_precision, abs=1e-6)
    assert [each.threshold for each in scores.per_class] == [
        each.threshold for each in stored.validation.per_class
    ]


class Interrupt(Callback):
    """Sends SIGINT after a step."""

    def on_step_end(self, step, loss, *, learning_rate):
        if step == 5:
            signal.raise_signal(signal.SIGINT)


def test_a_stopped_run_resumes_to_the_same_bytes(recipe, tmp_path):
    whole = train(recipe, tmp_path / "whole", progress=False)
    with pytest.raises(Interrupted):
        train(recipe, tmp_path / "part", callbacks=[Interrupt()], progress=False)
    resumed = train(recipe, tmp_path / "part", progress=False)
    assert resumed.cost.resumed == 1 and resumed.test == whole.test
    for name in ("adapter/adapter_model.safetensors", "adapter/orbitune.json", "predictions.npz"):
        assert (tmp_path / "part" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "linear", "cache_frozen": True},
        {"fast": False},
        {"loss": "asymmetric"},
        {"class_weights": "balanced"},
        {"mixup": 0.2, "label_smoothing": 0.1, "tta": "flips"},
        {"method": "full", "best_by": "micro-f1"},
    ],
    ids=lambda changes: ",".join(changes),
)
def test_each_way_to_train_learns_them(recipe, tmp_path, changes):
    if "method" in changes:
        recipe = recipe.replace(learning_rate=None)
    result = train(recipe.replace(augment=None, epochs=2, **changes), tmp_path / "run", progress=False)
    assert result.history[-1].train_loss < 0.69 or changes.get("loss") == "asymmetric"
    assert result.test.mean_average_precision > 0.6


def test_the_fast_path_and_transformers_give_the_same_loss(recipe, tmp_path):
    recipe = recipe.replace(lora=recipe.lora.model_copy(update={"dropout": 0.0}))
    losses = [
        train(recipe.replace(fast=fast), tmp_path / str(fast), progress=False).history[0].train_loss
        for fast in (True, False)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_full_model_says_so_to_transformers(recipe, tmp_path):
    train(recipe.replace(method="full", learning_rate=1e-4), tmp_path / "run", progress=False)
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"


def test_balanced_sampling_evens_out_the_classes(recipe, tmp_path):
    rows = [f"mosaic_{number:03d}.png,{'a|b' if number % 10 else 'a|c'}" for number in range(150)]
    table = tmp_path / "t.csv"
    folder = recipe.data.rpartition("/")[0]
    table.write_text("\n".join(["file_name,labels", *(f"tiles/{row}" for row in rows)]))
    (tmp_path / "tiles").symlink_to(folder)
    changed = recipe.replace(data=str(table), sampling="balanced", passes=20)
    setup = prepare_training(changed, progress=False)
    drawn = np.concatenate([batch_indices(setup, step) for step in range(setup.steps_per_epoch)])
    share = setup.tiles.labels[drawn].mean(0)
    assert setup.tiles.labels.mean(0)[2] == pytest.approx(0.1)
    assert share[2] > 0.3  # each draw is of a class first: a third of c, and those of a that have it


# --- the task ---------------------------------------------------------------------------------------------


def test_one_label_a_tile_can_be_trained_as_several(tiles, backbone, tmp_path):
    recipe = Recipe(data=tiles, backbone=backbone, task="multi-label", epochs=1, precision="fp32")
    result = train(recipe, tmp_path / "run", progress=False)
    assert result.recipe.task == "multi-label" and isinstance(result.test, LabelSetScores)
    assert evaluate(tmp_path / "run", progress=False) == result.test


def test_text_of_several_labels_is_one_class_where_the_task_says_so(recipe):
    asked: TaskName = "single-label"
    tiles = load_recipe_tiles(recipe.replace(task=asked, loss=None, best_by=None), progress=False)
    assert not tiles.multi_label and any("|" in name for name in tiles.classes)
    assert tiles.notes[-1].startswith("text with | or ; is one class, as --task is single-label, such as ")


def test_the_recipe_of_a_version_without_tasks_is_one_of_single_labels(recipe, tiles, backbone):
    old = Recipe(data=tiles, backbone=backbone)
    one = prepare_training(old, progress=False).recipe
    older = one.model_copy(update={"task": None, "loss": None, "best_by": None})
    assert one.differences(older) == []
    assert "--task: multi-label, not single-label" in map(str, recipe.differences(older))


def test_a_study_of_several_labels_is_refused_in_one_line(recipe, tmp_path):
    options = ("--data", recipe.data, "--backbone", recipe.backbone, "--epochs", 1, "--batch-size", 8)
    done = orbitune("study", *options, "--methods", "linear,lora", "--out", tmp_path / "study")
    assert done.returncode == 2
    assert "Studies compare methods on tiles of one label each, and these have several" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "study" / "lora").exists()


def test_a_plan_of_several_labels_is_measured(recipe):
    from orbitune import plan_run

    assert plan_run(recipe, progress=False).train_seconds > 0


# --- real tiles -------------------------------------------------------------------------------------------


def test_patches_of_bigearthnet_train_from_their_json_files(shared, tmp_path, backbone):
    """The classes are those of four or more of the eleven patches: fewer cannot be split."""
    folder = shared / "scenes" / "bigearthnet_tiny"
    tiles = load_tiles(str(folder), progress=False)
    common = [name for name, count in zip(tiles.classes, tiles.labels.sum(0), strict=True) if count >= 4]
    lines = [
        {
            "path": name,
            "labels": [each for each in np.array(tiles.classes)[row > 0].tolist() if each in common],
        }
        for name, row in zip(tiles.names, tiles.labels, strict=True)
    ]
    for name in tiles.names:
        (tmp_path / name).symlink_to(folder / name)
    (tmp_path / "patches.jsonl").write_text("\n".join(map(json.dumps, lines)))
    recipe = Recipe(
        data=str(tmp_path / "patches.jsonl"), backbone=backbone, epochs=2, batch_size=4, precision="fp32"
    )
    result = train(recipe, tmp_path / "run", progress=False)
    assert result.data.classes == tuple(common) and len(common) >= 3
    assert sum(result.data.sizes.values()) == 11
    assert 0 <= result.test.mean_average_precision <= 1


def test_classes_of_too_few_patches_are_named(shared, backbone):
    recipe = Recipe(data=str(shared / "scenes" / "bigearthnet_tiny"), backbone=backbone, epochs=1)
    with pytest.raises(OrbituneError, match=r"Too few tiles to split: .*Peatbogs \(1\)"):
        prepare_training(recipe, progress=False)


@pytest.mark.slow
def test_mosaics_of_real_tiles_are_learnt(shared, tmp_path):
    table = write_mosaics(tmp_path / "tiles", real_parts(shared), count=400)
    recipe = Recipe(
        data=str(table),
        backbone=str(shared / "vit-tiny-patch16-224"),
        image_size=64,
        epochs=4,
        batch_size=16,
        learning_rate=2e-3,
    )
    result = train(recipe, tmp_path / "run", progress=False)
    assert result.test.mean_average_precision > 0.9
    assert result.test.macro_f1 > 0.8
    assert result.test.ece < 0.1
