"""Plain words for what pydantic finds wrong in settings."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from orbitune.errors import OrbituneError, as_written
from orbitune.suggestions import did_you_mean

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

Name = Callable[[str], str]
"""From a setting, such as `lora.rank`, its name for the reader."""


class ContradictionError(ValueError):
    """Settings that exclude each other.

    Args:
        text: message with the settings in braces, such as "{fold} needs {split} random".
        values: of what else is in braces.
    """

    def __init__(self, text: str, **values: object) -> None:
        super().__init__(text)
        self.text, self.values = text, values

    def describe(self, name: Name) -> str:
        """Return the message with the settings' names for the reader."""
        return self.text.format_map(_Names(self.values, name))


class _Names(dict[str, object]):
    """Values by name; any other name is that of a setting."""

    def __init__(self, values: Mapping[str, object], name: Name) -> None:
        super().__init__(values)
        self._name = name

    def __missing__(self, setting: str) -> str:
        return self._name(setting)


@dataclass(frozen=True)
class Fault:
    """What is wrong with a setting, or with several of them.

    Attributes:
        setting: the one that is wrong; empty for several.
        words: what is wrong.
    """

    setting: str
    words: str | ContradictionError

    def describe(self, name: Name) -> str:
        """Return the fault with the settings' names for the reader."""
        words = self.words if isinstance(self.words, str) else self.words.describe(name)
        return f"{name(self.setting)}: {words}" if self.setting else words


class InvalidSettingsError(OrbituneError):
    """Settings that are invalid, such as "Invalid recipe: epochs: must be at least 1, not 0."

    Attributes:
        faults: all that is wrong.
    """

    faults: tuple[Fault, ...] = ()

    @classmethod
    def of(cls, what: str, faults: Sequence[Fault]) -> "InvalidSettingsError":
        """Return the error of the faults of a recipe or the like, which `what` names."""
        error = cls(f"Invalid {what}: {_join(faults, str)}")
        error.faults = tuple(faults)
        return error

    def renamed(self, name: Name) -> OrbituneError:
        """Return the error with the settings' names for the reader, such as those of options."""
        return OrbituneError(_join(self.faults, name))


def _join(faults: Iterable[Fault], name: Name) -> str:
    """Return faults as one line."""
    line = "; ".join(fault.describe(name) for fault in faults)
    return line if line.endswith("?") else f"{line}."


def find_faults(error: ValidationError, model: type[BaseModel]) -> list[Fault]:
    """Return what pydantic found wrong.

    Args:
        error: of pydantic.
        model: the settings that were validated; an unknown name is answered with the nearest of its fields.
    """
    errors = [(".".join(_setting(each["loc"], model)), each) for each in error.errors(include_url=False)]
    return _faults(errors, model)


def _faults(errors: Iterable[tuple[str, Mapping[str, Any]]], model: type[BaseModel]) -> list[Fault]:
    """Return a fault for each name: a union reports one error for each of its types."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for name, each in errors:
        found.setdefault(name, []).append(each)
    return [Fault(name, _words(each, model)) for name, each in found.items()]


def describe_value(error: ValidationError) -> str:
    """Describe what is wrong with a single value, such as "must be a whole number, not 'x'"."""
    return str(_words(error.errors(include_url=False), BaseModel))


def describe_fields(errors: Sequence[Mapping[str, Any]]) -> str:
    """Describe what is wrong with the parameters of a request, such as "top_k: must be at least 1."."""
    return _join(_faults([(str(each["loc"][-1]), each) for each in errors], BaseModel), str)


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


def _words(errors: list[Any], model: type[BaseModel]) -> str | ContradictionError:
    first = errors[0]
    if first["type"] == "extra_forbidden":
        return _unknown(first["loc"], model)
    if first["type"] == "too_short":
        return "must have at least {min_length} item, not {actual_length}".format(**first["ctx"])
    kinds = [_MUST_BE.get(each["type"]) for each in errors]
    if None in kinds:
        reason = first.get("ctx", {}).get("error")
        if isinstance(reason, ContradictionError):
            return reason
        message = str(reason or first["msg"])
        return message[:1].lower() + message[1:]
    wanted = dict.fromkeys(
        str(kind).format(**_limits(each)) for kind, each in zip(kinds, errors, strict=True)
    )
    return f"must be {' or '.join(wanted)}, not {as_written(first['input'])}{_suggestion(errors)}"


def _suggestion(errors: list[Any]) -> str:
    """Return a question for the nearest of the words that a setting takes, if it is near."""
    stated = " ".join(each["ctx"]["expected"] for each in errors if each["type"] == "literal_error")
    question = did_you_mean(errors[0]["input"], re.findall(r"'([^']+)'", stated))
    return f"; {question}" if question else ""


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
    question = did_you_mean(str(location[-1]), model.model_fields)
    return "unknown setting" + (f"; {question}" if question else "")
