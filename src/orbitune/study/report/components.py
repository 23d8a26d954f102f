"""What a page of the report is made of. Each kind of block has one macro in each of the two templates."""

from dataclasses import dataclass, field
from typing import ClassVar

from orbitune.study.report.formatting import slug


@dataclass(frozen=True)
class Points:
    """Sentences, one a line."""

    lines: list[str]
    kind: ClassVar[str] = "points"


@dataclass(frozen=True)
class Table:
    """A caption, C column heads and rows of C cells; a row of fewer ends in one cell that fills it."""

    caption: str
    header: list[str]
    rows: list[list[str]]
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Panel:
    """One SVG: its file stem, what it shows in words, its markup and its natural width in CSS pixels."""

    name: str
    alt: str
    svg: str
    width: int


@dataclass(frozen=True)
class Plate:
    """Panels over one caption."""

    caption: str
    panels: list[Panel]
    kind: ClassVar[str] = "plate"


@dataclass(frozen=True)
class Tile:
    """An image that is looked at, as a data URI or None, with its label and what was said of it."""

    source: str | None
    name: str
    label: str
    lines: list[str]


@dataclass(frozen=True)
class Sheet:
    """Tiles side by side; `image` is the file of them all, relative to the report, where it is there."""

    caption: str
    image: str | None
    tiles: list[Tile]
    kind: ClassVar[str] = "sheet"


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    pairs: list[tuple[str, str]]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Code:
    """Text in the letters of a machine, in a language such as yaml or sh."""

    text: str
    language: str
    kind: ClassVar[str] = "code"


@dataclass(frozen=True)
class Folded:
    """Blocks that are shown when asked for."""

    title: str
    blocks: list["Block"]
    kind: ClassVar[str] = "folded"


Block = Points | Table | Plate | Sheet | Facts | Code | Folded


@dataclass(frozen=True)
class Section:
    """Blocks under one heading; measured ones say how to make them again."""

    title: str
    blocks: list[Block] = field(default_factory=list)
    measured: bool = True

    @property
    def anchor(self) -> str:
        """Its place in the page, which no id of a figure has."""
        return f"section-{slug(self.title)}"
