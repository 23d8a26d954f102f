"""Write the README's table, with the sentence above it, from the study.

python docs/readme_claim.py
"""

from pathlib import Path

from orbitune.study.records import StudyResults
from orbitune.study.report import comparison_table
from orbitune.study.report.answers.headline import write_headline
from orbitune.study.report.split_origins import scored_on_each, split_origins
from orbitune.study.report.view_model import ReportView
from orbitune.study.results import read_results

ROOT = Path(__file__).parent.parent
STUDY = ROOT / "docs" / "results" / "eurosat-study"
START, END = "<!-- written by docs/readme_claim.py -->", "<!-- end -->"
COLUMNS = ("Method", "Test accuracy", "Trainable", "Size on disk", "CPU time")


def claim(results: StudyResults) -> str:
    """Return the answer of the study, what was measured and its main columns as Markdown."""
    header, rows = comparison_table(results)
    chosen = [at for at, name in enumerate(header) if name.startswith(COLUMNS)]
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    table = "\n".join(f"| {' | '.join(line[at] for at in chosen)} |" for line in lines)
    view = ReportView(results)
    answer = " ".join(write_headline(view))
    return f"{answer}\n\n{_caption(view)}\n\n{table}"


def _caption(view: ReportView) -> str:
    results = view.results
    recipe, machine = results.recipe, results.environment
    seeds = max(len(group.seeds) for group in results.summaries)
    [drawn] = [each for each in split_origins(view) if each.startswith("Random")]
    rates = "tuned learning rates" if results.trials else "default learning rates"
    [precision] = {run.finished.compute.precision for run in results.done}
    code = f" (code {machine.code})" if machine.code else ""
    tiles = scored_on_each(view)
    return (
        f"ViT-Tiny/16 on EuroSAT RGB, {recipe.image_size} pixels, {recipe.epochs} epochs, {rates}, "
        f"{precision}, Orbitune {machine.orbitune}{code}, on {machine.cores} CPU cores.\n"
        f"Tested on {tiles}. {drawn} Accuracies are means of {seeds} seeds, CPU times means of the runs on "
        "both splits ([report](docs/results/eurosat-study/report.md)):"
    )


def with_claim(readme: str) -> str:
    """Return the README with the table between its two marks."""
    before, _, rest = readme.partition(START)
    return f"{before}{START}\n\n{claim(read_results(STUDY))}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    file = ROOT / "README.md"
    file.write_text(with_claim(file.read_text(encoding="utf-8")), encoding="utf-8")
