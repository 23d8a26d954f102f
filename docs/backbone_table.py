"""Write the backbones into guides/backbone.md, index.md and README.md: python docs/backbone_table.py."""

import textwrap
from pathlib import Path

from orbitune.models.families.checkpoints import backbones_table, describe_backbones

PAGE = Path(__file__).parent / "guides" / "backbone.md"
FAMILIES = {
    Path(__file__).parent.parent / "README.md": "docs/guides/backbone.md",
    Path(__file__).parent / "index.md": "guides/backbone.md",
}
"""Pages that name the families, with their link to `PAGE`."""
START, END = "<!-- written by docs/backbone_table.py -->\n", "<!-- end -->"


def page_with_table(text: str) -> str:
    """Return the page with the table that `orbitune backbones` prints."""
    header, rows = backbones_table(describe_backbones())
    lines = [header, ["---"] * len(header), *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return _replaced(text, f"{table}\n")


def page_with_families(text: str, link: str) -> str:
    """Return a page with the names of the families, and a link to the table."""
    *titles, last = dict.fromkeys(each.title for each in describe_backbones())
    sentence = (
        f"Backbones of the families {', '.join(titles)}, and any other {last}, from the hub or a folder"
    )
    return _replaced(text, textwrap.fill(f"{sentence} ([which one]({link})).", 120) + "\n")


def _replaced(text: str, written: str) -> str:
    """Return the text with what was written between the marks."""
    before, _, rest = text.partition(START)
    return f"{before}{START}\n{written}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page_with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    for path, link in FAMILIES.items():
        path.write_text(page_with_families(path.read_text(encoding="utf-8"), link), encoding="utf-8")
