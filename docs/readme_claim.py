"""Write what the README and the first page of the docs say of the study: its answer and its table.

python docs/readme_claim.py
"""

from pathlib import Path

from orbitune.study.records import StudyResults
from orbitune.study.report import comparison_table
from orbitune.study.report.answers.answer import write_answer
from orbitune.study.report.answers.headline import write_headline
from orbitune.study.report.split_origins import scored_on_each
from orbitune.study.report.view_model import ReportView
from orbitune.study.results import read_results

ROOT = Path(__file__).parent.parent
STUDY = ROOT / "docs" / "results" / "eurosat-study"
START, END = "<!-- written by docs/readme_claim.py -->", "<!-- end -->"
ALT = "The difference to full fine-tuning on each split with its interval, beside the margin"
LISTS = (
    "The random lists are a stratified draw, not those of the hub, and the spatial ones those of TorchGeo."
)
COLUMNS = ("Method", "Test accuracy", "Macro-F1", "Trainable", "Size on disk", "CPU time")


def claim(results: StudyResults) -> str:
    """Return the answer of the study, what was measured and its main columns as Markdown."""
    view = ReportView(results)
    return f"{answer(view, 'docs/')}\n\n{_caption(view)}\n\n{_table(results)}"


def answer(view: ReportView, docs: str) -> str:
    """Return headline, answer and picture of the study as Markdown.

    Args:
        view: of the study.
        docs: path of the docs from the page.
    """
    headline = [f"**{each}.**" for each in write_headline(view)]
    picture = f"![{ALT}]({docs}results/eurosat-study/figures/differences.svg)"
    return "\n\n".join([*headline, *write_answer(view)[:1], picture])


def _table(results: StudyResults) -> str:
    """Return the main columns of the comparison."""
    header, rows = comparison_table(results)
    chosen = [at for at, name in enumerate(header) if name.startswith(COLUMNS)]
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line[at] for at in chosen)} |" for line in lines)


def _caption(view: ReportView) -> str:
    return (
        f"{_settings(view)}.\nTested on {scored_on_each(view)}. {LISTS} Scores are means of the seeds, CPU "
        "times means of the runs on both splits, beside them the lowest and the highest "
        "([report](docs/results/eurosat-study/report.md)):"
    )


def _settings(view: ReportView) -> str:
    results = view.results
    recipe, machine = results.recipe, results.environment
    seeds = max(len(group.seeds) for group in results.summaries)
    [precision] = {run.finished.compute.precision for run in results.done}
    return (
        f"ViT-Tiny/16 on EuroSAT RGB, {recipe.image_size} pixels, {recipe.epochs} epochs, tuned learning "
        f"rates, {seeds} seeds, {precision}, Orbitune {machine.orbitune} (code {machine.code}), on "
        f"{machine.cores} CPU cores, one thread a run"
    )


def with_claim(readme: str) -> str:
    """Return the README with answer and table between its two marks."""
    return _between_marks(readme, claim(read_results(STUDY)))


def with_answer(page: str) -> str:
    """Return the first page of the docs with the answer between its two marks."""
    view = ReportView(read_results(STUDY))
    report = "[the whole report](results/eurosat-study/report.md)"
    return _between_marks(page, f"{answer(view, '')}\n\n{_settings(view)}: {report}.")


def _between_marks(text: str, written: str) -> str:
    before, _, rest = text.partition(START)
    return f"{before}{START}\n\n{written}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    for file, write in ((ROOT / "README.md", with_claim), (ROOT / "docs" / "index.md", with_answer)):
        file.write_text(write(file.read_text(encoding="utf-8")), encoding="utf-8")
