"""Write a report from the results of a study, or its short forms for a terminal."""

from pathlib import Path

from orbitune.errors import RunError, one_line
from orbitune.evaluation.run_result import RunData
from orbitune.files import replacing, write_text
from orbitune.reporting.page import WARNING
from orbitune.study.display_names import fold_name
from orbitune.study.records import StudyResults
from orbitune.study.report import comparison
from orbitune.study.report.answers.answer import write_answer
from orbitune.study.report.answers.conclusions import write_conclusions
from orbitune.study.report.answers.headline import write_headline
from orbitune.study.report.cautions import find_cautions
from orbitune.study.report.methods.tuning import terminal_searches
from orbitune.study.report.pages import build_page
from orbitune.study.report.view_model import ReportView


def write_report(results: StudyResults, folder: str | Path) -> None:
    """Write report.html, report.md and figures/*.svg.

    Args:
        results: of the study.
        folder: the report's folder, which also holds the images that the results name.

    Raises:
        RunError: the results are incomplete, as those of a damaged results.json.
        OrbituneError: the folder cannot be written.
    """
    from jinja2 import TemplateError

    folder = Path(folder)
    try:
        page = build_page(results, folder)
        texts = {kind: page.render(kind) for kind in ("html", "md")}
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, TemplateError) as error:
        reason = f"{type(error).__name__}: {one_line(str(error))}"
        raise RunError(f"The results of {folder} are damaged or not complete ({reason}).") from error
    with replacing(folder / "figures") as figures:
        figures.mkdir()
        for panel in page.panels():
            (figures / f"{panel.name}.svg").write_text(panel.svg, encoding="utf-8")
    for kind, text in texts.items():
        write_text(folder / f"report.{kind}", text)


def comparison_table(results: StudyResults) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of accuracy and cost, one row per method and backbone.

    Costs are means over the runs of a method, with their ratio to full fine-tuning where that was run. A
    failed or diverged run has a row with its name and its error.
    """
    view = ReportView(results)
    columns = comparison.comparison_columns(view)
    return [comparison.name_head(view), *(head for head, _ in columns)], comparison.comparison_rows(
        view, columns
    )


def terminal_table(results: StudyResults) -> tuple[list[str], list[list[str]]]:
    """Return the comparison table of finished runs for 100 characters."""
    return comparison.terminal_rows(ReportView(results))


def backbone_text(results: StudyResults) -> str:
    """Return the description of the study's backbone with its licence, or of each with its label."""
    named = [f"{label}: {each.summary}" for label, each in results.backbones.items()]
    return "; ".join(named) or results.backbone.summary


def tiles_of_splits(results: StudyResults) -> list[tuple[str, RunData]]:
    """Return the tiles of each split with what they are of; notes on several splits are those of the first.

    Returns:
        Such as "the spatial split", or "" in a study of one split, with the tiles.
    """
    view = ReportView(results)
    found: list[tuple[str, RunData]] = []
    for split in view.splits:
        run = results.compared(split)[0]
        data, noted = run.finished.data, {note for _, each in found for note in each.notes}
        named = [
            fold_name(run.fold) if run.fold else "",
            f"the {split} split" if len(view.splits) > 1 else "",
        ]
        notes = tuple(note for note in data.notes if note not in noted)
        found.append((" of ".join(filter(None, named)), data.model_copy(update={"notes": notes})))
    return found or [("", results.data)]


def failure_lines(results: StudyResults) -> list[str]:
    """Return one line for each reason that runs are not finished for, with their names."""
    return [" ".join(failure) for failure in comparison.failures(results)]


def cautions(results: StudyResults) -> list[str]:
    """Return the warnings that stand above the answer: seen tiles, edges of searches, trivial classifiers."""
    return find_cautions(ReportView(results))


def search_table(results: StudyResults) -> tuple[list[str], list[list[str]]]:
    """Return the table of the searches for learning rates: what was tried, chosen and tied."""
    return terminal_searches(ReportView(results))


def conclusions_text(results: StudyResults) -> str:
    """Return headline and conclusions of the study, one paragraph per line."""
    warning = [WARNING] if results.data.synthetic else []
    view = ReportView(results)
    headline = [f"{each}." for each in write_headline(view)] if results.verdicts else []
    answer = [*headline, *write_answer(view)]
    return "\n".join([*warning, *find_cautions(view), *answer, *write_conclusions(view)])
