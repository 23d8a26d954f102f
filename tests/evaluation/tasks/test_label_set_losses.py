"""Losses of several labels a tile, and their means over views."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from orbitune import Recipe
from orbitune.errors import OrbituneError
from orbitune.evaluation.tasks.known import find_task
from orbitune.evaluation.tasks.losses import asymmetric_loss

TASK = find_task("multi-label")
LOGITS = torch.tensor([[2.0, -1.0, 0.3], [-4.0, 3.0, 0.0]])
TARGETS = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])


def test_the_cross_entropy_is_pytorchs_averaged_over_classes():
    weights = torch.tensor([1.0, 2.0, 5.0])
    loss = TASK.loss(LOGITS, TARGETS, recipe=Recipe(loss="bce"), class_weights=weights)
    expected = F.binary_cross_entropy_with_logits(LOGITS, TARGETS, pos_weight=weights, reduction="sum") / 3
    torch.testing.assert_close(loss, expected)


def test_the_asymmetric_loss_without_focus_and_shift_is_the_cross_entropy():
    loss = asymmetric_loss(LOGITS, TARGETS, focus_absent=0, shift=0)
    expected = F.binary_cross_entropy_with_logits(LOGITS, TARGETS, reduction="none")
    torch.testing.assert_close(loss, expected)


def test_the_asymmetric_loss_is_that_of_the_paper():
    loss = TASK.loss(LOGITS, TARGETS, recipe=Recipe(loss="asymmetric"), class_weights=None)
    p = LOGITS.sigmoid().numpy().astype(float)
    shifted = np.maximum(p - 0.05, 0)
    expected = np.where(TARGETS.numpy() == 1, -np.log(p), -(shifted**4) * np.log(1 - shifted))
    assert loss.item() == pytest.approx(expected.mean(1).sum(), rel=1e-5)


def test_an_absent_label_below_the_shift_has_no_gradient():
    logits = torch.tensor([[-4.0, 1.0]], requires_grad=True)
    asymmetric_loss(logits, torch.zeros(1, 2)).sum().backward()
    assert logits.grad[0, 0] == 0 and logits.grad[0, 1] > 0


@pytest.mark.parametrize("loss", ["bce", "asymmetric"])
def test_losses_of_certain_labels_stay_finite(loss):
    logits = torch.tensor([[80.0, -80.0], [-80.0, 80.0]], requires_grad=True)
    total = TASK.loss(logits, torch.tensor([[1.0, 0.0]] * 2), recipe=Recipe(loss=loss), class_weights=None)
    total.backward()
    assert total.isfinite() and logits.grad.isfinite().all()


def test_smoothing_moves_targets_towards_one_half():
    recipe = Recipe(loss="bce", label_smoothing=0.2)
    loss = TASK.loss(LOGITS, TARGETS, recipe=recipe, class_weights=None)
    smoothed = TARGETS * 0.8 + 0.1
    expected = F.binary_cross_entropy_with_logits(LOGITS, smoothed, reduction="sum") / 3
    torch.testing.assert_close(loss, expected)


def test_the_logits_of_several_views_have_their_mean_probability():
    views = [LOGITS, LOGITS - 1, -LOGITS]
    mean = torch.stack([view.sigmoid() for view in views]).mean(0)
    torch.testing.assert_close(TASK.mean_logits(views).sigmoid(), mean)


def test_balanced_weights_are_the_absent_tiles_for_each_present_one():
    members = np.array([[True, False], [False, False], [False, True], [True, False]])
    assert TASK.class_weights(None, members).tolist() == [1, 3]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"loss": "cross-entropy"},
            "have several labels each, for which --loss is bce or asymmetric, not cross",
        ),
        ({"augment": "sensor"}, "which of its labels they have is not known: choose flips or none"),
        (
            {"loss": "asymmetric", "class_weights": "balanced"},
            "leave --class-weights out, or choose --loss bce",
        ),
    ],
)
def test_settings_that_do_not_suit_several_labels_are_one_line(settings, message):
    with pytest.raises(OrbituneError, match=message) as caught:
        TASK.resolve(Recipe(**settings))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("settings", [{"loss": "bce"}, {"best_by": "map"}, {"best_by": "micro-f1"}])
def test_settings_of_several_labels_are_refused_for_one(settings):
    with pytest.raises(OrbituneError, match="The tiles have one label each, for which"):
        find_task("single-label").resolve(Recipe(**settings))


def test_what_is_left_open_is_resolved_by_the_task():
    several, one = TASK.resolve(Recipe()), find_task("single-label").resolve(Recipe())
    assert (several.task, several.loss, several.best_by, several.augment) == (
        "multi-label",
        "bce",
        "map",
        "flips",
    )
    assert (one.task, one.loss, one.best_by) == ("single-label", "cross-entropy", "accuracy")
    assert one.augment is None  # of the model
