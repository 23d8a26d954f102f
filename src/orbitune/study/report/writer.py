"""Write a report from the results of a study, or its short forms for a terminal."""

from pathlib import Path
from typing import Any

from orbitune.errors import RunError, one_line
from orbitune.files import replacing, write_text
from orbitune.study.report import comparison
from orbitune.study.report.components import Collapsible, Component, Figure, Subfigure
from orbitune.study.report.conclusions import WARNING, write_conclusions
from orbitune.study.report.formatting import markdown
from orbitune.study.report.pages import page
from orbitune.study.report.view_model import ReportView, Results


def write_report(results: Results, folder: Path) -> None:
    """Write report.html, report.md and figures/*.svg into `folder` from what results.json holds.

    The images that the results name are looked for in the folder too.

    Raises:
        RunError: the results lack something, as those of a damaged results.json.
        OrbituneError: the folder cannot be written.
    """
    from jinja2 import TemplateError

    folder = Path(folder)
    try:
        shown = page(results, folder)
        texts = {kind: _rendered(shown, kind) for kind in ("html", "md")}
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, TemplateError) as error:
        reason = f"{type(error).__name__}: {one_line(str(error))}"
        raise RunError(f"The results of {folder} are damaged or not complete ({reason}).") from error
    blocks = [block for section in shown["sections"] for block in section.blocks]
    with replacing(folder / "figures") as figures:
        figures.mkdir()
        for save_svg in _panels([*([shown["picture"]] if shown["picture"] else []), *blocks]):
            (figures / f"{subfigure.name}.svg").write_text(save_svg.svg, encoding="utf-8")
    for kind, text in texts.items():
        write_text(folder / f"report.{kind}", text)


def _rendered(shown: dict[str, Any], kind: str) -> str:
    """The page as HTML (`html`) or Markdown (`md`)."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=kind == "html",
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["markdown"] = markdown
    return environment.get_template(f"report.{kind}.jinja").render(shown)


def comparison_table(results: Results) -> tuple[list[str], list[list[str]]]:
    """The head and the rows, one a method, of what was reached and what it cost on this machine.

    Costs are means over the runs of a method, and carry their ratio to full fine-tuning where that was run. A
    failed or diverged run has a row of its name and its error alone.
    """
    view = ReportView(results)
    columns = comparison.columns(view)
    return ["Method", *(head for head, _ in columns)], comparison.comparison_rows(view, columns)


def terminal_table(results: Results) -> tuple[list[str], list[list[str]]]:
    """The same for a window of 100 characters: fewer columns, and finished runs alone."""
    view = ReportView(results)
    columns = comparison.narrow_columns(view)
    rows = [[row.title, *(cell(row) for _, cell in columns)] for row in view.rows]
    return ["method", *(head for head, _ in columns)], rows


def failure_lines(results: Results) -> list[str]:
    """A line for each run that was not finished, with its error."""
    return [" ".join(failure) for failure in comparison.failures(ReportView(results))]


def conclusions_text(results: Results) -> str:
    """What the study shows, in a few paragraphs of careful sentences."""
    warning = [WARNING] if results["data"]["synthetic"] else []
    return "\n".join([*warning, *write_conclusions(ReportView(results))])


def _panels(blocks: list[Component]) -> list[Subfigure]:
    """All panels, folded ones too."""
    found: list[Subfigure] = []
    for block in blocks:
        if isinstance(block, Figure):
            found += block.subfigures
        elif isinstance(block, Collapsible):
            found += _panels(block.blocks)
    return found
