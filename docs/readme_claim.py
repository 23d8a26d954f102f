"""Write the table of the README from the committed study.

python docs/readme_claim.py
"""

from pathlib import Path

from orbitune.study.report import comparison_table
from orbitune.study.results import read_results

ROOT = Path(__file__).parent.parent
STUDY = ROOT / "docs" / "results" / "eurosat-study"
START, END = "<!-- written by docs/readme_claim.py -->", "<!-- end -->"
COLUMNS = (
    "Method",
    "Test accuracy, random",
    "Test accuracy, spatial",
    "Trainable",
    "Size on disk",
    "CPU time",
)


def claim() -> str:
    """Return the main columns of the study's table as Markdown."""
    header, rows = comparison_table(read_results(STUDY))
    chosen = [next(at for at, name in enumerate(header) if name.startswith(start)) for start in COLUMNS]
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line[at] for at in chosen)} |" for line in lines)


def with_claim(readme: str) -> str:
    """Return the README with the table between its two marks."""
    before, _, rest = readme.partition(START)
    return f"{before}{START}\n\n{claim()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    file = ROOT / "README.md"
    file.write_text(with_claim(file.read_text(encoding="utf-8")), encoding="utf-8")
