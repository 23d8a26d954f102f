"""Plain words for what pydantic finds wrong in settings."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

# What a value must be, by pydantic's type of error; `{...}` are the limits of the field.
_MUST_BE = {
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing", "finite_number"), "a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("tuple_type", "list_type"), "a list"),
    **dict.fromkeys(("model_type", "dict_type", "model_attributes_type"), "a group of settings"),
    "string_type": "text",
}


def describe_errors(error: ValidationError, model: type[BaseModel]) -> str:
    """Describe invalid settings, such as "epochs: must be at least 1, not 0".

    Args:
        model: the settings that were validated; an unknown name is answered with the nearest of its fields.

    Returns:
        One line; settings are separated by semicolons.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for each in error.errors(include_url=False):
        # A union reports one error for each of its types: they belong to the same setting.
        found.setdefault(".".join(_setting(each["loc"], model)), []).append(each)
    return "; ".join(
        f"{name}: {_words(each, model)}" if name else _words(each, model) for name, each in found.items()
    )


def _setting(location: tuple[int | str, ...], model: type[BaseModel]) -> Iterable[str]:
    """Yield the names of an error's setting, without positions and types."""
    for name in location:
        yield str(name)
        field = model.model_fields.get(str(name))
        if field is None or not (
            isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        ):
            return
        model = field.annotation


def _words(errors: list[Mapping[str, Any]], model: type[BaseModel]) -> str:
    first = errors[0]
    if first["type"] == "extra_forbidden":
        return _unknown(first["loc"], model)
    if first["type"] == "too_short":
        return "must have at least {min_length} item, not {actual_length}".format(**first["ctx"])
    kinds = [_MUST_BE.get(each["type"]) for each in errors]
    if None in kinds:
        message = str(first.get("ctx", {}).get("error") or first["msg"])
        return message[:1].lower() + message[1:]
    wanted = dict.fromkeys(
        str(kind).format(**_limits(each)) for kind, each in zip(kinds, errors, strict=True)
    )
    return f"must be {' or '.join(wanted)}, not {first['input']!r}"


def _limits(error: Mapping[str, Any]) -> dict[str, str]:
    """Return the limits of a field as text, without pydantic's floats and quotes."""
    return {
        name: str(int(value))
        if isinstance(value, float) and value.is_integer()
        else str(value).replace("'", "")
        for name, value in error.get("ctx", {}).items()
    }


def _unknown(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    for name in location[:-1]:
        annotation = model.model_fields[str(name)].annotation
        assert isinstance(annotation, type) and issubclass(annotation, BaseModel)
        model = annotation
    near = difflib.get_close_matches(str(location[-1]), model.model_fields, n=1)
    return f"unknown setting{f'; did you mean {near[0]}?' if near else ''}"
