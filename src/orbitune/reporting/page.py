"""A report page: its content, and the templates that render it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orbitune.reporting import formatting as fmt
from orbitune.reporting.components import Collapsible, Component, Figure, Panel, Section, Table

SYNTHETIC = "synthetic tiles: these figures say nothing about real satellite images"
WARNING = f"{fmt.capital(SYNTHETIC)}."


@dataclass(frozen=True)
class Page:
    """Content of a report: the variables of both templates.

    Attributes:
        subject: what it reports on, such as study or run.
        title: heading.
        stamp: when it ended, UTC, or the hash of its recipe.
        subtitle: one line below the title, without a full stop.
        warning: of synthetic tiles, or empty.
        headline: sentences that can be quoted alone.
        cautions: what makes the results wrong, or may do so.
        conclusions: paragraphs.
        comparison: the main table.
        notes: what is needed to read it.
        picture: the main figure; None where there is nothing to draw.
        sections: in order.
        reproduction: what the commands do, without a full stop.
        commands: reproduce the results, and write the report again.
    """

    subject: str
    title: str
    stamp: str
    subtitle: str
    warning: str
    headline: list[str]
    cautions: list[str]
    conclusions: list[str]
    comparison: Table
    notes: list[str]
    picture: Figure | None
    sections: list[Section]
    reproduction: str
    commands: list[str]

    def panels(self) -> list[Panel]:
        """Return the panels of all figures, those in collapsed parts too."""
        pictures: list[Component] = [self.picture] if self.picture else []
        return [*_panels([*pictures, *(each for section in self.sections for each in section.components)])]

    def render(self, form: str) -> str:
        """Return the page as HTML, one file without others, or as Markdown.

        Args:
            form: html or md.

        Raises:
            jinja2.TemplateError: the content does not fit the template.
        """
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent),
            autoescape=form == "html",
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        environment.filters["markdown"] = fmt.markdown
        return environment.get_template(f"page.{form}.jinja").render(vars(self))


def _panels(components: Sequence[Component]) -> Iterator[Panel]:
    for component in components:
        if isinstance(component, Figure):
            yield from component.panels
        elif isinstance(component, Collapsible):
            yield from _panels(component.components)
