"""What a page of the report is made of. Each kind of block has one macro in each of the two templates."""

from dataclasses import dataclass, field
from typing import ClassVar

from orbitune.study.report.formatting import slug


@dataclass(frozen=True)
class BulletList:
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
class Subfigure:
    """One SVG: its file stem, what it shows in words, its markup and its natural width in CSS pixels."""

    name: str
    alt: str
    svg: str
    width: int


@dataclass(frozen=True)
class Figure:
    """Panels over one caption."""

    caption: str
    subfigures: list[Subfigure]
    kind: ClassVar[str] = "plate"


@dataclass(frozen=True)
class GalleryTile:
    """An image that is looked at, as a data URI or None, with its label and what was said of it."""

    source: str | None
    name: str
    label: str
    lines: list[str]


@dataclass(frozen=True)
class Gallery:
    """Tiles side by side; `image` is the file of them all, relative to the report, where it is there."""

    caption: str
    image: str | None
    tiles: list[GalleryTile]
    kind: ClassVar[str] = "sheet"


@dataclass(frozen=True)
class DescriptionList:
    """Names and values."""

    pairs: list[tuple[str, str]]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class CodeBlock:
    """Text in the letters of a machine, in a language such as yaml or sh."""

    text: str
    language: str
    kind: ClassVar[str] = "code"


@dataclass(frozen=True)
class Collapsible:
    """Blocks that are shown when asked for."""

    title: str
    blocks: list["Component"]
    kind: ClassVar[str] = "folded"


Component = BulletList | Table | Figure | Gallery | DescriptionList | CodeBlock | Collapsible


@dataclass(frozen=True)
class Section:
    """Blocks under one heading; measured ones say how to make them again."""

    title: str
    blocks: list[Component] = field(default_factory=list)
    measured: bool = True

    @property
    def anchor(self) -> str:
        """Its place in the page, which no id of a figure has."""
        return f"section-{slug(self.title)}"
