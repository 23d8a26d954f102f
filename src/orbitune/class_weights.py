"""Class weights of a recipe: `balanced`, or one per class from a CSV or YAML file."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orbitune.errors import OrbituneError, as_written, one_line
from orbitune.suggestions import did_you_mean, did_you_mean_path
from orbitune.yaml_files import read_yaml

BALANCED = "balanced"
_HEADER = ["class", "weight"]


def parse_class_weights(value: Any) -> Any:
    """Return class weights as a recipe keeps them.

    Args:
        value: `balanced`, the path of a CSV or YAML file, a mapping of class names to weights, or None.

    Returns:
        `balanced`, a dict of class names to positive weights, or None.

    Raises:
        OrbituneError: the file cannot be read, or states a weight that is no positive number.
    """
    if value is None or value == BALANCED:
        return value
    if isinstance(value, str):
        return _positive(_read(Path(value).expanduser()), value)
    return _positive(list(value.items()), "class_weights") if isinstance(value, Mapping) else value


def _read(path: Path) -> list[tuple[str, Any]]:
    """Return the classes of a file with their weights, as they are written."""
    if path.suffix.lower() in (".yaml", ".yml"):
        return list(read_yaml(path, "class weights").items())
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if any(map(str.strip, row))]
    except OSError as error:
        meant = did_you_mean(str(path), [BALANCED]) or did_you_mean_path(path)
        advice = meant or f"pass {BALANCED}, or a CSV or YAML file."
        raise OrbituneError(f"Cannot read the class weights {path}: {error.strerror}; {advice}") from None
    except (UnicodeDecodeError, csv.Error):
        raise OrbituneError(f"{path} is not a CSV file of class weights.") from None
    if rows and [cell.lower() for cell in rows[0]] == _HEADER:
        rows = rows[1:]
    if wrong := next((row for row in rows if len(row) != len(_HEADER)), None):
        raise OrbituneError(f"{path}: expected lines of class,weight, not {one_line(','.join(wrong), 80)!r}.")
    return [(name, weight) for name, weight in rows]


def _positive(rows: list[tuple[str, Any]], source: str) -> dict[str, float]:
    """Return the weights by class, checked."""
    weights: dict[str, float] = {}
    for name, text in rows:
        try:
            weight = math.nan if isinstance(text, bool) else float(text)
        except (TypeError, ValueError):
            weight = math.nan
        if not 0 < weight < math.inf:
            raise OrbituneError(
                f"{source}: the weight of {name} must be a number above 0, not {as_written(text)}."
            )
        if name in weights:
            raise OrbituneError(f"{source}: class {name} is given twice.")
        weights[name] = weight
    if not weights:
        raise OrbituneError(f"{source} states no class weights.")
    return weights
