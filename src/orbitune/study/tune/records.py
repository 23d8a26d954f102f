"""Records of tuning in results.json: every trial, and how each search chose."""

from typing import Literal

from orbitune.records import JsonTuple, Record
from orbitune.study.status import Status


class TrialRecord(Record):
    """A learning rate tried for a method on a split, with one seed; no scores if it failed.

    Attributes:
        epochs: number of epochs it trained, of the whole run's schedule.
        validation_accuracy: of the best of these epochs.
        scores: validation score of each epoch by the recipe's criterion, see `SearchRecord`; higher is
            better.
        chosen: whether its learning rate was chosen.
        added: whether the rate lies beyond those that were tried first.
        code: version of the code that trained it last, see `orbitune.machine.environment`; None where an
            earlier version stored the study.
    """

    method: str
    split: str
    fold: str | None = None
    seed: int
    learning_rate: float
    epochs: int
    validation_accuracy: float | None
    scores: JsonTuple[float] = ()
    seconds: float | None
    test_reads: int | None
    chosen: bool
    added: bool = False
    status: Status
    error: str | None = None
    code: str | None = None


class FinalistRecord(Record):
    """A learning rate that trained all epochs.

    Attributes:
        scores: best validation score of each seed; empty where one of them diverged or failed.
        mean: of the scores.
        tied: whether it is within one standard error of the best.
    """

    learning_rate: float
    scores: JsonTuple[float]
    mean: float | None
    tied: bool


class SearchRecord(Record):
    """The search for the learning rate of a method on a split.

    Attributes:
        fold: of a cross-validation, such as 2/5; None for an ordinary split.
        criterion: validation score that is compared: `accuracy`, `macro-f1` or `loss` (negative).
        first: learning rates that were tried first, rising.
        added: learning rates that were added beyond them, rising.
        seeds: seeds of the finalists.
        epochs: epochs of a whole run.
        validation_tiles: number of tiles that the scores are of; None if no trial succeeded.
        finalists: rates that trained all epochs, rising.
        spread: standard deviation of the score between the seeds of a rate.
        standard_error: of the best mean score; rates within it are tied.
        best: learning rate of the highest mean score.
        chosen: learning rate of all runs of the method on the split; None if a trial failed, or all diverged.
        edge: the end of the finalists at which the best rate lies, so that a rate beyond may be better; None
            where both its neighbours trained all epochs or diverged.
    """

    method: str
    split: str
    fold: str | None = None
    criterion: str
    first: JsonTuple[float]
    added: JsonTuple[float]
    seeds: JsonTuple[int]
    epochs: int
    validation_tiles: int | None
    finalists: JsonTuple[FinalistRecord]
    spread: float | None
    standard_error: float | None
    best: float | None
    chosen: float | None
    edge: Literal["low", "high"] | None
