"""A small network with random weights, as a backbone and as an arm of a study."""

import json

import numpy as np
import pytest
import torch
from commands import orbitune
from safetensors.torch import load_file

from orbitune import Recipe, Study, train
from orbitune.assessment.evaluate import evaluate as assess
from orbitune.errors import ModelError, OrbituneError
from orbitune.inference.classifier import Classifier
from orbitune.models.factory import build, plan_parameters, resolve
from orbitune.models.files.location import check_unambiguous
from orbitune.models.lineage.fine_tuned import open_backbone
from orbitune.study.grid import Grid
from orbitune.study.report.tables import verdict_sentences
from orbitune.study.report.view_model import ReportView
from orbitune.training.evaluate import evaluate

CLASSES = tuple("abcdefghij")
STATISTICS = "resnet.encoder.stages.0.layers.0.layer.0.normalization.running_mean"


@pytest.fixture(scope="module")
def trained(recipe, tmp_path_factory):
    """The result of two epochs of the network, and its folder."""
    folder = tmp_path_factory.mktemp("scratch") / "run"
    own = Recipe(data=recipe.data, backbone="scratch", method="full", epochs=2, batch_size=8, image_size=64)
    return train(own, folder, progress=False), folder


def test_it_has_less_than_a_million_parameters():
    recipe = Recipe(backbone="scratch", method="full")
    counts = plan_parameters(recipe, open_backbone("scratch"), classes=CLASSES)
    assert counts.trainable == counts.total == 757_226


def test_training_it_shows_no_progress_bar_of_another_library(tmp_path):
    options = "--data synthetic:40 --backbone scratch --method full --epochs 1 --batch-size 8 --image-size 64"
    done = orbitune("train", *options.split(), "--out", tmp_path / "run")
    assert done.returncode == 0 and "epoch 1/1" in done.stderr and "model shards" not in done.stderr


def test_it_is_one_arm_of_a_study_and_not_two(tmp_path):
    recipe = Recipe(data="synthetic:40", backbone="scratch", method="full")
    with pytest.raises(OrbituneError, match="are the same network: leave out --scratch"):
        Study(recipe, tmp_path / "study", scratch=2)


def test_a_model_in_a_folder_of_its_name_is_not_taken_over(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = Recipe(data="synthetic", backbone="scratch", method="full")
    (tmp_path / "scratch").mkdir()
    check_unambiguous("scratch")
    (tmp_path / "scratch" / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"write \./scratch for the folder"):
        train(recipe, tmp_path / "run", progress=False)
    assert "licence: unknown" not in open_backbone("scratch").record.summary


def test_each_seed_draws_other_weights_and_the_same_seed_the_same():
    backbone = open_backbone("scratch")
    one, same, other = (
        build(Recipe(backbone="scratch", method="full", seed=seed), backbone, classes=CLASSES).state_dict()
        for seed in (0, 0, 1)
    )
    name = "resnet.embedder.embedder.convolution.weight"
    assert torch.equal(one[name], same[name]) and not torch.equal(one[name], other[name])


def test_its_length_learning_rate_and_image_size_are_its_own():
    recipe = resolve(Recipe(backbone="scratch", method="full"), open_backbone("scratch"))
    assert (recipe.max_epochs, recipe.learning_rate, recipe.image_size) == (40, 2e-3, 128)
    assert Recipe(backbone="scratch", method="full", epochs=5).max_epochs == 5


@pytest.mark.parametrize("method", ["lora", "linear", "norm"])
def test_a_method_that_trains_a_part_of_random_weights_is_refused(recipe, tmp_path, method):
    with pytest.raises(ModelError, match=rf"are random, .* pass --method full, not {method}\."):
        train(Recipe(data=recipe.data, backbone="scratch", method=method), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_the_saved_network_gives_the_scores_of_the_run_with_its_statistics_of_batches(trained):
    """Batch normalisations learn statistics that are no parameters."""
    result, folder = trained
    assert abs(load_file(folder / "model" / "model.safetensors")[STATISTICS]).max() > 0.01
    assert evaluate(folder, progress=False).accuracy == result.test.accuracy
    assert result.backbone.description == "small residual network with random weights"


def test_an_interrupted_run_ends_as_a_whole_one(recipe, trained, tmp_path):
    own = trained[0].recipe
    train(own.replace(epochs=1), tmp_path / "run", progress=False)
    longer = train(own, tmp_path / "run", progress=False)
    whole = train(own.replace(restarts=[1]), tmp_path / "whole", progress=False)
    assert longer.test.accuracy == whole.test.accuracy
    assert longer.history[1].train_loss == whole.history[1].train_loss


def test_it_predicts_and_is_scored_on_other_data(recipe, trained):
    result, folder = trained
    scores = assess(folder, data=recipe.data, progress=False).scores
    assert scores.count > result.test.count
    [prediction] = Classifier.from_pretrained(folder).predict(np.zeros((1, 16, 16, 3), np.uint8))
    assert prediction.labels


def test_an_arm_of_a_study_has_its_own_epochs_and_is_compared_with_the_others(recipe, forked, tmp_path):
    study = Study(recipe, tmp_path / "s", methods=["full", "linear"], seeds=2, scratch=2)
    results = study.run(progress=False)
    assert [run.name for run in results.runs if run.method == "scratch"] == ["scratch-seed0", "scratch-seed1"]
    arms = {run.method: run.finished.recipe for run in results.runs}
    assert (arms["scratch"].epochs, arms["full"].epochs) == (2, 1)
    assert {"backbone", "epochs", "image_size"} <= set(results.varied)
    assert ("scratch", "full") in [(each.method, each.reference) for each in results.verdicts]
    assert any("mall network from scratch" in each for each in verdict_sentences(ReportView(results)))
    assert "mall network from scratch" in (tmp_path / "s" / "report.md").read_text()
    assert "--scratch 2" in json.loads((tmp_path / "s" / "results.json").read_text())["command"]


def test_it_is_one_arm_beside_several_backbones_and_sweeps_of_their_sizes():
    recipes = [Recipe(method="lora", backbone="demo"), Recipe(method="full", backbone="scratch", epochs=40)]
    grid = Grid.of(backbones=["demo", "ann/model"], image_sizes=[56, 112], shots=[5, "all"])
    names = [spec.name for spec in grid.runs(recipes)]
    assert [name for name in names if "scratch" in name] == ["scratch", "scratch-shots5"]


def test_no_epochs_are_refused(recipe, tmp_path):
    with pytest.raises(OrbituneError, match="--scratch takes a number of epochs of at least 1"):
        Study(recipe, tmp_path / "s", scratch=0)
