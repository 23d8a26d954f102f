"""Stored records: the typed contents of JSON files, with a format version.

Every JSON file that Orbitune reads again has one subclass of `StoredRecord`, whose `upgrade` is the only
place that knows older versions of that file.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, PositiveInt, Strict, ValidationError, model_validator
from typing_extensions import Self

from orbitune.errors import OrbituneError, RunError, one_line
from orbitune.integrity import read_checksummed_json, write_checksummed_json

_Item = TypeVar("_Item")
JsonTuple = Annotated[tuple[_Item, ...], Strict(False)]  # a JSON list, read as a tuple


class Record(BaseModel):
    """A part of a stored file; immutable, and strict about types.

    Fields that are not known are kept as they are.
    """

    # Most commands use few of the records: a record's validator is built when it is first used.
    model_config = ConfigDict(strict=True, frozen=True, extra="allow", defer_build=True)

    def to_json(self) -> dict[str, Any]:
        """Return the record as a JSON object."""
        return self.model_dump(mode="json")


class RecordError(ValueError):
    """Invalid values of a record; the message continues after the file's name."""


class NewerFormatError(RecordError):
    """A record of a newer version; its file is not damaged."""


class StoredRecord(Record):
    """The content of one stored JSON file.

    Attributes:
        FORMAT: the version of the format that is written.
        UNVERSIONED: the version of files that state none; None where every version states one.
        format: the version of the file's format, at most `FORMAT`.
    """

    FORMAT: ClassVar[int] = 1
    UNVERSIONED: ClassVar[int | None] = None

    format: PositiveInt = 1

    @classmethod
    def upgrade(cls, values: dict[str, Any], version: int) -> dict[str, Any]:
        """Return the values of a file of an older version as one of `FORMAT` has them.

        Args:
            values: a copy that may be changed; not validated yet.
            version: 1 <= version < `FORMAT`.
        """
        return values

    @model_validator(mode="before")
    @classmethod
    def _read_older(cls, values: Any) -> Any:
        """Convert values of an older version, nested ones included, to today's version."""
        if not isinstance(values, dict):
            return values
        version = values.get("format", cls.FORMAT)
        if isinstance(version, int) and 0 < version < cls.FORMAT:
            values, version = cls._upgraded(dict(values), version), cls.FORMAT
        return {**values, "format": version}

    @classmethod
    def _upgraded(cls, values: dict[str, Any], version: int) -> dict[str, Any]:
        """Return upgraded values; if `upgrade` fails on damaged ones, a ValueError."""
        try:
            return cls.upgrade(values, version)
        except KeyError as error:
            raise ValueError(f"expected {error.args[0]} in format {version}") from None
        except (AttributeError, IndexError, TypeError, ValueError):
            raise ValueError(f"its values are not those of format {version}") from None

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the record of a JSON object, of any version up to `FORMAT`.

        Raises:
            NewerFormatError: it is of a newer version.
            RecordError: a field is missing or invalid.
        """
        version = values.get("format", cls.UNVERSIONED)
        if version is None:
            raise RecordError("lacks format; it is damaged. Restore it.")
        if not isinstance(version, int) or version < 1:
            raise RecordError(f"is damaged: format: expected a version number, not {version!r}. Restore it.")
        if version > cls.FORMAT:
            raise NewerFormatError("was written by a newer Orbitune; update it to read this.")
        try:
            return cls.model_validate({**values, "format": version})
        except ValidationError as error:
            absent = [each["loc"] for each in error.errors() if each["type"] == "missing"]
            names = ", ".join(str(place[0]) for place in absent if len(place) == 1)
            fault = f"lacks {names}; it is damaged" if names else f"is damaged: {first_fault(error)}"
            raise RecordError(f"{fault}. Restore it.") from None
        except OrbituneError as error:  # of a recipe in it
            raise RecordError(f"is damaged: {error}") from None

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a file that `write` wrote, of any version up to `FORMAT`.

        Raises:
            OrbituneError: it is missing, no JSON, or does not match its digest.
            NewerFormatError, RecordError: as `from_json`.
        """
        return cls.from_json(read_checksummed_json(file))

    def write(self, file: Path) -> None:
        """Write the record as JSON with a digest.

        Raises:
            OrbituneError: the file cannot be written.
        """
        write_checksummed_json(file, self.to_json())


def unreadable(file: Path, error: Exception, *, damaged: str) -> RunError:
    """Return the error for a file of a run whose record cannot be read.

    Args:
        file: the file.
        error: what reading it raised.
        damaged: the message after the file's name, unless the file is of a newer version.
    """
    return RunError(f"{file} {error if isinstance(error, NewerFormatError) else damaged}")


def rename_keys(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return a JSON object with some keys renamed, by their older names."""
    return {names.get(key, key): value for key, value in values.items()}


def flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with the entries of nested objects as `outer.inner`."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= {f"{name}.{n}": v for n, v in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def first_fault(error: ValidationError) -> str:
    """Return the first invalid field and the reason, in one line."""
    fault = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, fault["loc"]))
    reason = fault["msg"].removeprefix("Value error, ")
    return one_line(f"{place}: {reason}" if place else reason).rstrip(".")
