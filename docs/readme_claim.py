"""Write what the README and the first page of the docs say of the studies: their answers and a table.

python docs/readme_claim.py
"""

from functools import cache
from pathlib import Path

from orbitune.study.report import comparison_table
from orbitune.study.report.answers.answer import write_answer
from orbitune.study.report.answers.headline import write_headline
from orbitune.study.report.split_origins import scored_on_each
from orbitune.study.report.view_model import ReportView
from orbitune.study.results import read_results

ROOT = Path(__file__).parent.parent
STUDIES = ("eurosat-study/random", "eurosat-study/spatial")  # one split each
START, END = "<!-- written by docs/readme_claim.py -->", "<!-- end -->"
ALT = "The difference to full fine-tuning with its interval, beside the margin"
LISTS = (
    "The random lists are a stratified draw, not those of the hub, and the spatial ones those of TorchGeo."
)
COLUMNS = ("Method", "Test accuracy", "Macro-F1", "Trainable", "Size on disk", "CPU time")


def claim() -> str:
    """Return the answers of the studies, what was measured and their main columns as Markdown."""
    return f"{answers('docs/')}\n\n{_caption()}\n\n{_table()}"


def answers(docs: str) -> str:
    """Return headline, answer and picture of each study as Markdown.

    Args:
        docs: path of the docs from the page.
    """
    return "\n\n".join(_answer(name, f"{docs}results/{name}") for name in STUDIES)


@cache
def _view(name: str) -> ReportView:
    return ReportView(read_results(ROOT / "docs" / "results" / name))


def _answer(name: str, folder: str) -> str:
    view = _view(name)
    (headline,), (sentences, *_) = write_headline(view), write_answer(view)
    return (
        f"On the {view.splits[0]} split: **{headline}.** {sentences} ([Report]({folder}/report.md))\n\n"
        f"![{ALT}]({folder}/figures/differences.svg)"
    )


def _table() -> str:
    """Return the main columns of the comparison on each split."""
    lines = []
    for view in map(_view, STUDIES):
        header, rows = comparison_table(view.results)
        chosen = [at for at, name in enumerate(header) if name.startswith(COLUMNS)]
        head = ["Split", *(header[at] for at in chosen)]
        lines += [] if lines else [head, ["---", "---", *["---:"] * (len(head) - 2)]]
        lines += [[view.splits[0], *(row[at] for at in chosen)] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _caption() -> str:
    views = [_view(name) for name in STUDIES]
    tiles = " and ".join(map(scored_on_each, views))
    [settings] = {_settings(view) for view in views}
    return (
        f"{settings}\nTested on {tiles}. {LISTS} Scores and CPU times are means of the seeds; beside a time "
        "stand the lowest and the highest:"
    )


def _settings(view: ReportView) -> str:
    """Return the settings that the studies share."""
    results = view.results
    recipe, machine = results.recipe, results.environment
    seeds = max(len(group.seeds) for group in results.summaries)
    [precision] = {run.finished.compute.precision for run in results.done}
    return (
        f"ViT-Tiny/16 on EuroSAT RGB, {recipe.image_size} pixels, {recipe.epochs} epochs, tuned learning "
        f"rates, {seeds} seeds, {precision}, Orbitune {machine.orbitune} (code {machine.code}), on "
        f"{machine.cores} CPU cores, one thread a run."
    )


def with_claim(readme: str) -> str:
    """Return the README with answers and table between its two marks."""
    return _between_marks(readme, claim())


def with_answer(page: str) -> str:
    """Return the first page of the docs with the answers between its two marks."""
    return _between_marks(page, f"{answers('')}\n\n{_caption().splitlines()[0]}")


def _between_marks(text: str, written: str) -> str:
    before, _, rest = text.partition(START)
    return f"{before}{START}\n\n{written}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    for file, write in ((ROOT / "README.md", with_claim), (ROOT / "docs" / "index.md", with_answer)):
        file.write_text(write(file.read_text(encoding="utf-8")), encoding="utf-8")
