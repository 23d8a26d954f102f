"""Access to the scripts of benchmarks/reliability for their tests."""

import importlib
import sys
from pathlib import Path


def script(name):
    """Import and return a script by its module name."""
    folder = str(Path(__file__).parent.parent / "benchmarks" / "reliability")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(name)
