"""Configuration files of other libraries: their validation, and their class names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from orbitune.errors import ModelError, OrbituneError, first_line
from orbitune.integrity import read_json
from orbitune.records import first_fault

_Model = TypeVar("_Model", bound=BaseModel)


def read_config_file(file: Path, schema: type[_Model]) -> _Model:
    """Read a JSON file and validate its fields.

    Args:
        schema: a pydantic model of the fields that matter; with extra="allow" the others are kept.

    Raises:
        ModelError: it is missing, no JSON, or a field is invalid; the message names file and field.
    """
    try:
        return schema.model_validate(read_json(file))
    except (OrbituneError, ValidationError) as error:
        reason = first_fault(error) if isinstance(error, ValidationError) else first_line(error)
        raise ModelError(f"The {file.name} of {file.parent} cannot be read: {reason}. Restore it.") from None


def label_settings(classes: Sequence[str]) -> dict[str, Any]:
    """Return the settings by which a config.json of transformers names these classes."""
    return {"id2label": dict(enumerate(classes)), "label2id": {n: i for i, n in enumerate(classes)}}
