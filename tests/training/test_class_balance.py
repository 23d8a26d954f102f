"""Class weights, balanced sampling and the criterion of the best epoch."""

import numpy as np
import pytest
import torch
from commands import orbitune
from epochs import epoch
from samples import tile_folder
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from orbitune import Recipe
from orbitune.errors import DataError
from orbitune.evaluation.run_result import best_epoch
from orbitune.evaluation.tasks.known import find_task
from orbitune.training.batches import batch_indices
from orbitune.training.class_balance import loss_weights
from orbitune.training.gradients.accumulation import accumulate_gradients
from orbitune.training.run import open_run
from orbitune.training.setup import prepare_training

LABELS = np.repeat([0, 1, 2], [40, 10, 2])
MEMBERS, ONE_LABEL = np.eye(3, dtype=bool)[LABELS], find_task("single-label")


@pytest.fixture(scope="module")
def unequal(tmp_path_factory):
    """Three classes of 30, 20 and 6 tiles."""
    folder = tile_folder(tmp_path_factory.mktemp("unequal") / "t", each=30)
    for label, count in ((1, 20), (2, 6)):
        for file in sorted((folder / f"class_{label}").iterdir())[count:]:
            file.unlink()
    return folder


@pytest.fixture(scope="module")
def recipe(unequal, backbone):
    return Recipe(data=str(unequal), backbone=backbone, method="linear", epochs=2, batch_size=8)


def trained(recipe, out):
    with open_run(recipe, out, progress=False) as run:
        return run.fit()


def test_balanced_weights_are_those_of_scikit_learn():
    expected = compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
    np.testing.assert_allclose(
        loss_weights("balanced", MEMBERS, classes="abc", task=ONE_LABEL), expected, rtol=1e-6
    )


def test_given_weights_keep_their_ratios_and_have_a_mean_of_one_over_the_tiles():
    weights = loss_weights({"c": 8, "a": 2, "b": 4}, MEMBERS, classes="abc", task=ONE_LABEL)
    np.testing.assert_allclose(weights / weights[0], [1, 2, 4], rtol=1e-6)
    assert weights[LABELS].mean() == pytest.approx(1)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"a": 1, "b": 1, "c": 1, "d": 1}, r"d is no class of the data\. Classes: a, b, c\."),
        ({"a": 1}, r"there is no weight for b, c\."),
        ({"x": 1, "y": 1, "b": 1, "c": 1}, r"x, y are no classes of the data; there is no weight for a"),
    ],
)
def test_weights_of_other_classes_are_one_clear_line(weights, message):
    with pytest.raises(DataError, match=message):
        loss_weights(weights, MEMBERS, classes="abc", task=ONE_LABEL)


def test_unknown_classes_stop_a_run_before_it_writes_anything(recipe, tmp_path):
    file = tmp_path / "w.csv"
    file.write_text("class_0,1\nclass_1,1\nclas_2,1\n")
    options = ("--data", recipe.data, "--backbone", recipe.backbone, "--class-weights", str(file))
    done = orbitune("train", *options, "--out", str(tmp_path / "run"))
    assert done.returncode == 2 and not (tmp_path / "run").exists()
    assert "clas_2 is no class of the data; there is no weight for class_2" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_weighted_loss_and_its_gradients_are_those_of_pytorch(recipe):
    torch.manual_seed(0)
    weights, targets = torch.tensor([0.5, 1, 4]), F.one_hot(torch.tensor([0, 1, 2, 2]), 3).float()
    mine, theirs = (torch.nn.Linear(5, 3) for _ in range(2))
    theirs.load_state_dict(mine.state_dict())
    tiles = torch.randn(4, 5)
    sums = accumulate_gradients(
        lambda part, size: mine(part),
        tiles,
        targets=targets,
        task=ONE_LABEL,
        recipe=recipe.replace(micro_batch=3),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        weight=1.0,
        size=5,
        class_weights=weights,
    )
    expected = F.cross_entropy(theirs(tiles), targets.argmax(1), weight=weights, reduction="sum")
    expected.backward()
    assert sums[0].item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(mine.weight.grad, theirs.weight.grad)


def test_a_weighted_run_differs_in_its_training_loss_alone_from_the_first_step(recipe, tmp_path):
    plain, weighted = (
        trained(recipe.replace(class_weights=weights, epochs=1, learning_rate=1e-12), tmp_path / str(weights))
        for weights in (None, "balanced")
    )
    [before], [after] = plain.state.history, weighted.state.history
    assert after.train_loss != before.train_loss
    assert after.validation_loss == pytest.approx(before.validation_loss, rel=1e-4)


def test_balanced_sampling_draws_all_classes_alike_and_the_same_again(recipe):
    setup = prepare_training(recipe.replace(sampling="balanced", passes=40), progress=False)
    steps = range(setup.steps_per_epoch)
    drawn = np.concatenate([batch_indices(setup, step) for step in steps])
    assert len(drawn) == setup.tiles_per_epoch
    assert set(drawn) <= set(setup.splits["train"])
    counts = np.bincount(setup.tiles.labels[drawn])
    assert counts / counts.sum() == pytest.approx([1 / 3] * 3, abs=0.05)
    np.testing.assert_array_equal(batch_indices(setup, 3), drawn[3 * 8 : 4 * 8])


@pytest.mark.parametrize(("best_by", "expected"), [("accuracy", 1), ("macro-f1", 2), ("loss", 3)])
def test_the_best_epoch_is_the_first_one_by_the_criterion(best_by, expected):
    history = [
        epoch(1, validation_accuracy=0.9, validation_macro_f1=0.5, validation_loss=0.4),
        epoch(2, validation_accuracy=0.8, validation_macro_f1=0.7, validation_loss=0.5),
        epoch(3, validation_accuracy=0.9, validation_macro_f1=0.7, validation_loss=0.3),
    ]
    assert best_epoch(history, best_by).epoch == expected


def test_the_kept_weights_are_those_of_the_criterion(recipe, tmp_path):
    hot = recipe.replace(best_by="loss", learning_rate=3.0, schedule="constant", epochs=4)
    trainer = trained(hot, tmp_path / "run")
    losses = [each.validation_loss for each in trainer.state.history]
    assert trainer.best_epoch == 1 + int(np.argmin(losses))
    assert all(each.validation_macro_f1 is not None for each in trainer.state.history)
