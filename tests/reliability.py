"""The scripts of benchmarks/reliability, for tests that run a part of what they measure."""

import importlib
import sys
from pathlib import Path


def script(name):
    """The module of that name."""
    folder = str(Path(__file__).parent.parent / "benchmarks" / "reliability")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(name)
