"""Scores of a saved model on one set of tiles."""

from typing import Annotated

from pydantic import Field, FiniteFloat, NonNegativeInt, Strict

from orbitune.records import Record

Fraction = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Scores(Record):
    """Scores on one split.

    Attributes:
        accuracy: 0..1.
        interval: its 95 % Wilson interval, low and high.
        macro_f1: 0..1, the mean over the classes.
        count: number of tiles.
    """

    accuracy: Fraction
    interval: Annotated[tuple[FiniteFloat, FiniteFloat], Strict(False)]
    macro_f1: FiniteFloat = 0.0
    count: NonNegativeInt = 0
