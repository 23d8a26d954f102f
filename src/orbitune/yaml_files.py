"""YAML files of settings, as recipes and suites are."""

from pathlib import Path
from typing import Any

import yaml

from orbitune.errors import OrbituneError
from orbitune.suggestions import cannot_read


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
        raise OrbituneError(cannot_read(content, path, error=error)) from None
    # PyYAML also raises ValueError and TypeError, on invalid dates and unhashable keys.
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        raise OrbituneError(f"{path} is not a YAML file.") from None
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise OrbituneError(f"{path} holds no {content}: expected `name: value` lines.")
    return values
