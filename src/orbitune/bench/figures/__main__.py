"""Measure one figure and print it: python -m orbitune.bench.figures SPEC (JSON)."""

import importlib
import json
import sys
from typing import Any

from orbitune.bench.child_process import print_result


def measure(spec: dict[str, Any]) -> dict[str, Any]:
    """Measure the figure that a spec names by `kind`, with its `settings`.

    Returns:
        value, in the unit of its kind, and details as (name, text) pairs.
    """
    figure = importlib.import_module(f"orbitune.bench.figures.{spec['kind'].replace('-', '_')}")
    return figure.measure(**spec["settings"])


if __name__ == "__main__":
    sys.exit(print_result(measure, json.loads(sys.argv[1])))
