"""YAML files of settings, as recipes and suites are."""

from pathlib import Path
from typing import Any

import yaml

from orbitune.errors import OrbituneError
from orbitune.suggestions import did_you_mean_path


def read_yaml(path: str | Path, content: str = "recipe") -> dict[str, Any]:
    """Read a mapping from a YAML file.

    Args:
        path: the file.
        content: what the mapping is, for error messages.

    Raises:
        OrbituneError: the file is missing, or not a YAML mapping.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        near = None if Path(path).exists() else did_you_mean_path(path)
        end = f"; {near}" if near else "."
        raise OrbituneError(f"Cannot read the {content} {path}: {error.strerror}{end}") from None
    # PyYAML also raises ValueError and TypeError, on invalid dates and unhashable keys.
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        raise OrbituneError(f"{path} is not a YAML file.") from None
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise OrbituneError(f"{path} holds no {content}: expected `name: value` lines.")
    return values
