"""Several labels a tile, or none: a sigmoid and a threshold for each class."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from orbitune.errors import OrbituneError
from orbitune.evaluation.calibration import Calibration
from orbitune.evaluation.details.class_intervals import ClassIntervals, class_intervals
from orbitune.evaluation.details.misclassified import Misclassified, find_wrong_sets
from orbitune.evaluation.metrics import SplitScores, check_logits
from orbitune.evaluation.tasks.label_set_scores import (
    binary_cross_entropy,
    label_calibration,
    mean_average_precision,
    score_label_sets,
)
from orbitune.evaluation.tasks.losses import asymmetric_loss, binary_loss
from orbitune.evaluation.tasks.platt_scaling import fit_sigmoids
from orbitune.evaluation.tasks.score_loss import ScoreLoss, label_set_losses, label_set_scores
from orbitune.evaluation.tasks.task import UNCALIBRATED, Decision, Task
from orbitune.evaluation.tasks.thresholds import HALF, best_thresholds, f1_scores
from orbitune.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor


class MultiLabel(Task):
    """Several labels a tile."""

    name = "multi-label"
    title = "several labels each"
    activation = "sigmoid"
    problem_type = "multi_label_classification"
    losses = ("bce", "asymmetric")
    criteria = ("map", "macro-f1", "micro-f1", "accuracy", "loss")

    def resolve(self, recipe: Recipe) -> Recipe:
        """Return a recipe with its task, loss, criterion and augmentation.

        The sensor augmentation is left out: which of a tile's labels a smaller window of it has is not known.

        Raises:
            OrbituneError: as `Task.resolve`, or a setting does not suit several labels a tile.
        """
        if recipe.augment == "sensor":
            raise OrbituneError(
                "--augment sensor shows smaller windows of a tile, and which of its labels they have is not "
                "known: choose flips or none."
            )
        if recipe.loss == "asymmetric" and recipe.class_weights:
            raise OrbituneError(
                "The asymmetric loss weighs present and absent labels itself: leave --class-weights out, "
                "or choose --loss bce."
            )
        return super().resolve(recipe).replace(augment=recipe.augment or "flips")

    def targets(self, labels: "Tensor", classes: int) -> "Tensor":
        """Return 1 for each class of a tile, and 0 for the others."""
        return labels.float()

    def loss(
        self, logits: "Tensor", targets: "Tensor", *, recipe: Recipe, class_weights: "Tensor | None"
    ) -> "Tensor":
        """Return the mean over the classes of the binary cross-entropy or of the asymmetric loss.

        Label smoothing moves each target towards one half.
        """
        targets = targets.lerp(targets.new_full((), 0.5), recipe.label_smoothing)
        if recipe.loss == "asymmetric":
            return asymmetric_loss(logits, targets).mean(1).sum()
        return binary_loss(logits, targets, positive_weights=class_weights).mean(1).sum()

    def count_correct(self, logits: "Tensor", targets: "Tensor") -> "Tensor":
        """Count the tiles of which each class is on the right side of one half."""
        return ((logits > 0) == (targets > 0.5)).all(1).sum()

    def divergence(self, logits: "Tensor", wanted: "Tensor") -> "Tensor":
        """Return the divergence of the labels' probabilities, summed over the classes."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        targets = wanted.sigmoid()
        crossed, own = (
            binary_cross_entropy_with_logits(each, targets, reduction="sum") for each in (logits, wanted)
        )
        return (crossed - own) / len(logits)

    def class_weights(self, weights: np.ndarray | None, members: np.ndarray) -> np.ndarray:
        """Return the weight of a present label; that of an absent one is 1.

        Balanced weights are the tiles without a class for each tile with it, as torch suggests for
        pos_weight.
        """
        present = members.sum(0)
        balanced = np.maximum(len(members) - present, 1) / present
        return (balanced if weights is None else weights).astype(np.float32)

    def epoch_scores(
        self, logits: np.ndarray, labels: np.ndarray, *, classes: Sequence[str]
    ) -> dict[str, float]:
        """Return loss, mean average precision, and F1 with the thresholds that these tiles give."""
        check_logits(logits, labels, classes=classes)
        found = self.probabilities(logits)
        macro, micro = f1_scores(found >= np.array(best_thresholds(found, labels)), labels)
        return {
            "validation_loss": binary_cross_entropy(logits, labels),
            "validation_accuracy": float(((logits > 0) == labels).all(1).mean()),
            "validation_macro_f1": macro,
            "validation_micro_f1": micro,
            "validation_map": mean_average_precision(logits, labels),
        }

    def fit_decision(self, logits: np.ndarray, labels: np.ndarray) -> Decision:
        """Fit temperature and offsets, see `fit_sigmoids`, and with them the thresholds by F1."""
        check_logits(logits, labels, classes=range(logits.shape[1]))
        calibrated = Decision(*fit_sigmoids(logits, labels))
        return replace(calibrated, thresholds=best_thresholds(self.probabilities(logits, calibrated), labels))

    def score(
        self, logits: np.ndarray, labels: np.ndarray, *, classes: Sequence[str], decision: Decision
    ) -> SplitScores:
        """Return mean average precision, F1 at the thresholds and at one half, and scores per class."""
        check_logits(logits, labels, classes=classes)
        return score_label_sets(
            decision.calibrate(logits),
            labels,
            classes=classes,
            thresholds=decision.thresholds or (HALF,) * len(classes),
        )

    def decide(self, logits: np.ndarray, decision: Decision) -> np.ndarray:
        """Return the labels that reach their thresholds, uint8 (N, C)."""
        return self.labels_of(self.probabilities(logits, decision), decision)

    def labels_of(self, probabilities: np.ndarray, decision: Decision) -> np.ndarray:
        """Return the labels that reach their thresholds, uint8 (N, C)."""
        return (probabilities >= _thresholds(decision)).astype(np.uint8)

    def correct(self, logits: np.ndarray, labels: np.ndarray, *, decision: Decision) -> np.ndarray:
        """Return whether exactly the labels of a tile reach their thresholds."""
        return np.asarray((self.decide(logits, decision) == labels).all(1))

    def main_scores(
        self, probabilities: np.ndarray, *, labels: np.ndarray, decision: Decision
    ) -> dict[str, float]:
        """Return the mean average precision and the micro-F1."""
        return label_set_scores(probabilities, labels=labels, thresholds=_thresholds(decision))

    def lost_scores(
        self, found: np.ndarray, reference: np.ndarray, *, labels: np.ndarray, decision: Decision
    ) -> tuple[ScoreLoss, ...]:
        """Return the mean average precision and the micro-F1 lost."""
        return label_set_losses(found, reference, labels=labels, thresholds=_thresholds(decision))

    def class_intervals(
        self, logits: np.ndarray, labels: np.ndarray, *, decision: Decision
    ) -> list[ClassIntervals]:
        """Return the intervals at the thresholds."""
        decided, truth = self.decide(logits, decision) > 0, labels > 0
        return class_intervals((decided & truth).sum(0), truth.sum(0), predicted=decided.sum(0))

    def misclassified(
        self, logits: np.ndarray, labels: np.ndarray, *, decision: Decision
    ) -> list[Misclassified]:
        """Return the tiles with a label too many or too few."""
        found = self.probabilities(logits, decision)
        return find_wrong_sets(found, labels, decided=self.decide(logits, decision) > 0)

    def score_calibration(self, logits: np.ndarray, labels: np.ndarray) -> Calibration:
        """Measure the calibration of the probabilities of all labels of all tiles together."""
        check_logits(logits, labels, classes=range(logits.shape[1]))
        return label_calibration(logits, labels)

    def probabilities(self, logits: np.ndarray, decision: Decision = UNCALIBRATED) -> np.ndarray:
        """Return the sigmoid."""
        from scipy.special import expit

        return np.asarray(expit(decision.calibrate(logits)))

    def mean_logits(self, views: "Sequence[Tensor]") -> "Tensor":
        """Return the logit of the mean sigmoid."""
        import torch
        from torch.nn.functional import logsigmoid

        stacked = torch.stack(list(views))
        # The common factor 1 / views cancels.
        return logsigmoid(stacked).logsumexp(0) - logsigmoid(-stacked).logsumexp(0)

    def label_count(self, classes: int, top_k: int | None) -> int | None:
        """Return None: a tile has as many labels as reach their thresholds."""
        return None

    def choose(self, probabilities: np.ndarray, decision: Decision, *, top_k: int | None = None) -> list[int]:
        """Return the classes that reach their thresholds, maybe none."""
        reached = probabilities >= _thresholds(decision)
        order = probabilities.argsort(kind="stable")[::-1]
        return order[reached[order]][:top_k].tolist()


def _thresholds(decision: Decision) -> np.ndarray:
    """Return the thresholds (C,), or one half for all classes."""
    return np.array(decision.thresholds or HALF)
