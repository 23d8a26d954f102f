"""Predictions as lines of text: a table for people, CSV and JSON lines for programs. All are streams."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict

from orbitune.deploy.classifier import Prediction
from orbitune.errors import OrbituneError

Form = Callable[[Iterable[Prediction], Sequence[str], int], Iterator[str]]


def find_form(name: str) -> Form:
    """The form of this name: a function of predictions, the class names and the number of labels.

    Raises:
        OrbituneError: there is none.
    """
    if name not in FORMS:
        raise OrbituneError(f"There is no format {name!r}; there is: {', '.join(FORMS)}.")
    return FORMS[name]


def _table(predictions: Iterable[Prediction], classes: Sequence[str], top_k: int) -> Iterator[str]:
    width = max(map(len, classes))
    for each in predictions:
        if each.error:
            yield f"{each.input}: {each.error}"
            continue
        labels = "  ".join(f"{label:<{width}} {share:6.1%}" for label, share in each.labels)
        yield f"{labels}  {'' if each.sure is not False else 'not sure':<8}  {each.input}"


def _csv(predictions: Iterable[Prediction], classes: Sequence[str], top_k: int) -> Iterator[str]:
    count = min(top_k, len(classes))
    ranked = [name for rank in range(1, count + 1) for name in (f"label_{rank}", f"probability_{rank}")]
    yield _csv_line(["input", *ranked, "sure", "distance", "error"])
    for each in predictions:
        labels: list[object] = [value for pair in each.labels for value in pair] or [None] * (2 * count)
        sure = None if each.sure is None else str(each.sure).lower()
        yield _csv_line([each.input, *labels, sure, each.distance, each.error])


def _csv_line(values: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()


def _jsonl(predictions: Iterable[Prediction], classes: Sequence[str], top_k: int) -> Iterator[str]:
    for each in predictions:
        labels = [{"label": label, "probability": share} for label, share in each.labels]
        yield json.dumps({**asdict(each), "labels": labels})


FORMS: dict[str, Form] = {"table": _table, "csv": _csv, "jsonl": _jsonl}
