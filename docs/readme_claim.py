"""Write what the README says of LoRA against full fine-tuning, from the committed study alone.

python docs/readme_claim.py
"""

from pathlib import Path

from orbitune.study.report import comparison_table, conclusions_text
from orbitune.study.results import read_results

ROOT = Path(__file__).parent.parent
STUDY = ROOT / "docs" / "results" / "eurosat-study"
START, END = "<!-- written by docs/readme_claim.py -->", "<!-- end -->"


def claim() -> str:
    """Verdict and table of the study, as Markdown."""
    results = read_results(STUDY)
    header, rows = comparison_table(results)
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n\n".join([*conclusions_text(results).splitlines(), table])


def with_claim(readme: str) -> str:
    """The README with the claim between its two marks."""
    before, _, rest = readme.partition(START)
    return f"{before}{START}\n\n{claim()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    file = ROOT / "README.md"
    file.write_text(with_claim(file.read_text(encoding="utf-8")), encoding="utf-8")
