"""Epochs of a run, as its log has them."""

from orbitune.evaluation.run_result import EpochMetrics


def epoch(number, **fields):
    """The metrics of an epoch, of which these fields matter."""
    values = {
        "train_loss": 1.0,
        "train_accuracy": 0.5,
        "validation_loss": 1.0,
        "validation_accuracy": 0.5,
        "validation_macro_f1": 0.5,
        "learning_rate": 1e-3,
        "train_seconds": 1.0,
        "evaluation_seconds": 1.0,
    }
    return EpochMetrics(epoch=number, **values | fields)
