"""Task: what differs between one label a tile and several.

Training, evaluation and prediction ask the task, so that none of them knows which one it is.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from orbitune.errors import OrbituneError
from orbitune.evaluation.calibration import Calibration
from orbitune.evaluation.details.class_intervals import ClassIntervals
from orbitune.evaluation.details.misclassified import Misclassified
from orbitune.evaluation.metrics import SplitScores
from orbitune.evaluation.tasks.score_loss import ScoreLoss
from orbitune.models.metadata import ModelMetadata
from orbitune.recipe import Recipe
from orbitune.recipe_settings import TaskName, option_of

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Decision:
    """How probabilities and labels follow from logits, fitted on validation tiles.

    Attributes:
        temperature: logits are divided by it.
        offsets: added then, one for each class; None for none.
        thresholds: probability from which a tile has a class, one for each; None for one label a tile.
    """

    temperature: float = 1.0
    offsets: tuple[float, ...] | None = None
    thresholds: tuple[float, ...] | None = None

    @classmethod
    def of(cls, metadata: ModelMetadata) -> "Decision":
        """Return what the metadata of a saved model states."""
        return cls(metadata.temperature or 1.0, metadata.offsets, metadata.thresholds)

    def calibrate(self, logits: np.ndarray) -> np.ndarray:
        """Return calibrated logits, float64 (N, C), of those of the model."""
        return logits.astype(np.float64) / self.temperature + np.array(self.offsets or 0.0)


def describe_calibration(temperature: float, offsets: Sequence[float] | None) -> str:
    """Return a temperature and the range of offsets in words, such as "temperature 1.20"."""
    text = f"temperature {temperature:.2f}"
    return f"{text} and offsets of {min(offsets):.2f} to {max(offsets):.2f}" if offsets else text


UNCALIBRATED = Decision()


class Task(ABC):
    """One kind of labels, with all that depends on it.

    Labels are int64 (N,), indices of classes, with one label a tile, and uint8 (N, C) with several. Arrays of
    logits are float (N, C), before softmax or sigmoid.

    Attributes:
        name: as recipe, result and bundle store it.
        title: for people.
        activation: what makes probabilities of logits, softmax or sigmoid.
        problem_type: what transformers has to find in a config; None for its default.
        losses: names of the losses; the first is the default.
        criteria: names for `best_by`; the first is the default.
    """

    name: ClassVar[TaskName]
    title: ClassVar[str]
    activation: ClassVar[str]
    problem_type: ClassVar[str | None]
    losses: ClassVar[tuple[str, ...]]
    criteria: ClassVar[tuple[str, ...]]

    def resolve(self, recipe: Recipe) -> Recipe:
        """Return a recipe with its task, loss and criterion.

        Raises:
            OrbituneError: it asks for a loss or criterion of another task.
        """
        for setting, known in (("loss", self.losses), ("best_by", self.criteria)):
            asked = getattr(recipe, setting)
            if asked not in (None, *known):
                raise OrbituneError(
                    f"The tiles have {self.title}, for which {option_of(setting)} is {' or '.join(known)}, "
                    f"not {asked}."
                )
        return recipe.replace(
            task=self.name,
            loss=recipe.loss or self.losses[0],
            best_by=recipe.best_by or self.criteria[0],
        )

    # --- training -----------------------------------------------------------------------------------------

    @abstractmethod
    def targets(self, labels: "Tensor", classes: int) -> "Tensor":
        """Return the probability of each class, float32 (B, C), of labels."""

    @abstractmethod
    def loss(
        self, logits: "Tensor", targets: "Tensor", *, recipe: Recipe, class_weights: "Tensor | None"
    ) -> "Tensor":
        """Return the loss of a batch in nats, summed over its tiles.

        Args:
            logits: float32 (B, C).
            targets: probabilities of the classes, float32 (B, C).
            recipe: for the name of the loss and the label smoothing.
            class_weights: as `class_weights` returns them, on the device of the logits; None for equal ones.
        """

    @abstractmethod
    def count_correct(self, logits: "Tensor", targets: "Tensor") -> "Tensor":
        """Return the number of tiles of a batch, a scalar, whose labels are right without thresholds."""

    @abstractmethod
    def divergence(self, logits: "Tensor", wanted: "Tensor") -> "Tensor":
        """Return the Kullback-Leibler divergence from a teacher's predictions in nats, the mean of a batch.

        Args:
            logits: of the student, float32 (B, C).
            wanted: of the teacher.
        """

    @abstractmethod
    def class_weights(self, weights: np.ndarray | None, members: np.ndarray) -> np.ndarray:
        """Return the weights of the classes in the loss, float32 (C,).

        Args:
            weights: float (C,), as a user states them; None to balance the classes.
            members: bool (N, C), classes of the training tiles; every class has some.
        """

    @abstractmethod
    def epoch_scores(
        self, logits: np.ndarray, labels: np.ndarray, *, classes: Sequence[str]
    ) -> dict[str, float]:
        """Return the validation scores of an epoch by their names in `EpochMetrics`.

        Raises:
            RunError: there are no tiles, or a logit is not finite.
        """

    # --- evaluation ---------------------------------------------------------------------------------------

    def storable(self, logits: np.ndarray) -> np.ndarray:
        """Return logits as they are scored and stored, float32 (N, C)."""
        return logits

    @abstractmethod
    def fit_decision(self, logits: np.ndarray, labels: np.ndarray) -> Decision:
        """Fit calibration and thresholds on validation tiles.

        Raises:
            RunError: there are no tiles, or a logit is not finite.
        """

    @abstractmethod
    def score(
        self, logits: np.ndarray, labels: np.ndarray, *, classes: Sequence[str], decision: Decision
    ) -> SplitScores:
        """Score a split, with intervals.

        Raises:
            RunError: there are no tiles, or a logit is not finite.
        """

    @abstractmethod
    def decide(self, logits: np.ndarray, decision: Decision) -> np.ndarray:
        """Return the predicted labels, in the form of true ones."""

    @abstractmethod
    def correct(self, logits: np.ndarray, labels: np.ndarray, *, decision: Decision) -> np.ndarray:
        """Return whether each tile's label, or set of labels, is right, bool (N,)."""

    @abstractmethod
    def main_scores(
        self, probabilities: np.ndarray, *, labels: np.ndarray, decision: Decision
    ) -> dict[str, float]:
        """Return the scores of which `lost_scores` states the losses, by name, 0..1."""

    @abstractmethod
    def lost_scores(
        self, found: np.ndarray, reference: np.ndarray, *, labels: np.ndarray, decision: Decision
    ) -> tuple[ScoreLoss, ...]:
        """Return what a model loses against a reference model on the same tiles, the main score first.

        Args:
            found, reference: calibrated probabilities of each, float (N, C).
            labels: of the tiles.
            decision: of the reference model.
        """

    @abstractmethod
    def score_calibration(self, logits: np.ndarray, labels: np.ndarray) -> Calibration:
        """Measure the calibration on one split.

        Args:
            logits: calibrated, or those of the model to see what calibration corrects.
            labels: of the tiles.

        Raises:
            RunError: there are no tiles, or a logit is not finite.
        """

    @abstractmethod
    def labels_of(self, probabilities: np.ndarray, decision: Decision) -> np.ndarray:
        """Return the predicted labels of calibrated probabilities (N, C), in the form of true ones."""

    @abstractmethod
    def class_intervals(
        self, logits: np.ndarray, labels: np.ndarray, *, decision: Decision
    ) -> list[ClassIntervals]:
        """Return the intervals of precision, recall and F1 of each class."""

    @abstractmethod
    def misclassified(
        self, logits: np.ndarray, labels: np.ndarray, *, decision: Decision
    ) -> list[Misclassified]:
        """Return the tiles whose label, or set of labels, is wrong, the most confident first."""

    # --- prediction ---------------------------------------------------------------------------------------

    @abstractmethod
    def probabilities(self, logits: np.ndarray, decision: Decision = UNCALIBRATED) -> np.ndarray:
        """Return the probability of each class, float64 (N, C), of logits of the model."""

    @abstractmethod
    def mean_logits(self, views: "Sequence[Tensor]") -> "Tensor":
        """Return logits (B, C) of the mean probability of several views, logits (B, C) each."""

    @abstractmethod
    def label_count(self, classes: int, top_k: int | None) -> int | None:
        """Return the number of labels of each prediction; None if it varies.

        Args:
            classes: number of classes.
            top_k: as for `choose`.
        """

    @abstractmethod
    def choose(self, probabilities: np.ndarray, decision: Decision, *, top_k: int | None = None) -> list[int]:
        """Return the classes to report for a tile, the most probable first.

        Args:
            probabilities: float (C,), of one tile.
            decision: of the model.
            top_k: largest number of classes; None for the task's own.
        """
