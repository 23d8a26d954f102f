"""Components of a report page.

Each kind has one macro in each of the two templates.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from orbitune.reporting.formatting import slug


@dataclass(frozen=True)
class BulletList:
    """Sentences, one per bullet."""

    lines: list[str]
    kind: ClassVar[str] = "bullets"


@dataclass(frozen=True)
class Table:
    """A caption, column heads and rows; the last cell of a short row spans the rest."""

    caption: str
    header: list[str]
    rows: list[list[str]]
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Panel:
    """One SVG image of a figure.

    Attributes:
        name: stem of its file, unique in the report.
        alt: text alternative.
        svg: markup.
        width: natural width in CSS pixels.
        shrinks: whether it is legible on a narrow screen that shows all of it; else it scrolls there.
    """

    name: str
    alt: str
    svg: str
    width: int
    shrinks: bool = True


@dataclass(frozen=True)
class Figure:
    """Panels with one caption."""

    caption: str
    panels: list[Panel]
    kind: ClassVar[str] = "figure"


@dataclass(frozen=True)
class GalleryTile:
    """A tile with its label and notes; `source` is a data URI or None."""

    source: str | None
    name: str
    label: str
    lines: list[str]


@dataclass(frozen=True)
class Gallery:
    """Tiles side by side; `image` is the path of all tiles, or None."""

    caption: str
    image: str | None
    tiles: list[GalleryTile]
    kind: ClassVar[str] = "gallery"


@dataclass(frozen=True)
class DescriptionList:
    """Names and values."""

    pairs: list[tuple[str, str]]
    kind: ClassVar[str] = "descriptions"


@dataclass(frozen=True)
class CodeBlock:
    """Preformatted text in a language such as yaml or sh."""

    text: str
    language: str
    kind: ClassVar[str] = "code"


@dataclass(frozen=True)
class Collapsible:
    """Components that are hidden until they are opened."""

    title: str
    components: list["Component"]
    kind: ClassVar[str] = "collapsible"


Component = BulletList | Table | Figure | Gallery | DescriptionList | CodeBlock | Collapsible


@dataclass(frozen=True)
class Section:
    """Components under one heading; a measured one shows how to reproduce it."""

    title: str
    components: list[Component] = field(default_factory=list)
    measured: bool = True

    @property
    def anchor(self) -> str:
        """HTML id, which no figure uses."""
        return f"section-{slug(self.title)}"
