"""The record of an export folder: validation.json."""

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, PrivateAttr

from orbitune.errors import RunError, counted
from orbitune.exporting.validation import ExportCheck
from orbitune.records import JsonTuple, RecordError, StoredRecord, rename_keys, unreadable

FILE = "validation.json"
_FILE_BEFORE_0_2 = "gate.json"


class ExportedFormat(ExportCheck):
    """One exported format that passed validation.

    Attributes:
        path: file or folder, relative to the export folder.
        merge_tokens: blocks after which it merges half of the patch tokens.
        tolerance: percentage points of each score that a format in int8 was shown to lose at most; None for
            other formats, and where an earlier version exported.
    """

    path: str
    merge_tokens: JsonTuple[int] = ()
    tolerance: float | None = None


class ExportReport(StoredRecord):
    """Content of an export folder.

    Attributes:
        hashes: of the model: its recipe, its tiles and its backbone.
        formats: validated formats by name.
    """

    FORMAT: ClassVar[int] = 3
    UNVERSIONED: ClassVar[int | None] = 1

    hashes: dict[str, str]
    formats: dict[str, ExportedFormat] = Field(default_factory=dict)
    _made: tuple[str, ...] = PrivateAttr(default=())  # by this process

    @classmethod
    def upgrade(cls, values: dict[str, Any], version: int) -> dict[str, Any]:
        """Convert a report of format 1 or 2.

        That of version 0.1 stated none and called the formats forms; later ones stated it as `version`. Until
        format 2 only the median latency was measured.
        """
        values.pop("version", None)
        values = rename_keys(values, {"forms": "formats"})
        return {**values, "formats": {name: _with_latency(each) for name, each in values["formats"].items()}}

    @classmethod
    def load(cls, folder: Path) -> "ExportReport":
        """Read the report of a folder, as this or an earlier version wrote it.

        Raises:
            OrbituneError: there is none, it is of a newer version, or it is damaged.
        """
        file = _report_file(folder)
        try:
            return cls.read(file)
        except RecordError as error:
            remedy = "is damaged; remove it to export again, or choose another --out."
            raise unreadable(file, error, damaged=remedy) from None

    @classmethod
    def resume(cls, folder: Path, hashes: dict[str, str]) -> "ExportReport":
        """Return the report of a folder to add formats to.

        Without one, the report is empty.

        Args:
            folder: folder of exported files.
            hashes: hashes of the model that is exported now.

        Returns:
            The stored report, or an empty one.

        Raises:
            OrbituneError: the folder holds exports of another model, or its report cannot be read.
        """
        if not _report_file(folder).is_file():
            return cls(hashes=hashes)
        report = cls.load(folder)
        if report.hashes != hashes:
            raise RunError(f"{folder} holds exports of another model; choose another --out.")
        return report

    def with_format(self, name: str, exported: ExportedFormat) -> "ExportReport":
        """Return the report with a format added or replaced, as one that was made now."""
        report = self.model_copy(update={"formats": {**self.formats, name: exported}})
        report._made = (*self._made, name)
        return report

    @property
    def made(self) -> dict[str, ExportedFormat]:
        """Return the formats that were made now; all of a report that was read."""
        return {name: self.formats[name] for name in self._made or self.formats}

    def save(self, folder: Path) -> None:
        """Write the report into its folder."""
        self.write(folder / FILE)
        (folder / _FILE_BEFORE_0_2).unlink(missing_ok=True)

    def describe_tiles(self) -> list[str]:
        """Return what the formats were validated on, a line for each set of tiles."""
        found = dict.fromkeys((each.tiles, each.split) for each in self.made.values())
        return [
            f"validated on {counted(tiles, 'validation tile')}" + (f" of the {split}" if split else "")
            for tiles, split in found
        ]

    def describe_earlier(self) -> str:
        """Return which formats the folder holds from earlier exports, in one line; empty for none."""
        earlier = [name for name in self.formats if name not in self.made]
        return f"exported earlier: {', '.join(earlier)}" if earlier else ""

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return header and rows of a table with a row per format that was made now."""
        found = [
            {"format": _title(name, each.merge_tokens), **each.table_row()}
            for name, each in self.made.items()
        ]
        return list(found[0]) if found else [], [list(row.values()) for row in found]


def _with_latency(values: dict[str, Any]) -> dict[str, Any]:
    """Return a format of an earlier report, with its median latencies as `latency`."""
    medians = values.pop("milliseconds")
    return {**values, "latency": {count: {"p50": median} for count, median in medians.items()}}


def _report_file(folder: Path) -> Path:
    """Return the report's path; that of version 0.1 if only such a report is there."""
    current, before = folder / FILE, folder / _FILE_BEFORE_0_2
    return before if before.is_file() and not current.is_file() else current


def _title(name: str, blocks: tuple[int, ...]) -> str:
    return f"{name}, tokens merged after {', '.join(map(str, blocks))}" if blocks else name
