"""Measure one figure and print it: python -m orbitune.bench.figures ORDER, both JSON."""

import importlib
import json
import sys
from typing import Any

from orbitune.bench.child_process import answer


def measure(order: dict[str, Any]) -> dict[str, Any]:
    """The figure that an order names by `kind`, with its `settings`.

    Returns:
        value, in the unit of its kind, and details, what else was seen, as (name, words).
    """
    figure = importlib.import_module(f"orbitune.bench.figures.{order['kind'].replace('-', '_')}")
    return figure.measure(**order["settings"])


if __name__ == "__main__":
    sys.exit(answer(measure, json.loads(sys.argv[1])))
