"""Write the table of backbones into guides/backbone.md: python docs/backbone_table.py."""

from pathlib import Path

from orbitune.models.families.checkpoints import backbones_table, describe_backbones

PAGE = Path(__file__).parent / "guides" / "backbone.md"
START, END = "<!-- written by docs/backbone_table.py -->\n", "<!-- end -->"


def page_with_table(text: str) -> str:
    """Return the page with the table that `orbitune backbones` prints."""
    header, rows = backbones_table(describe_backbones())
    lines = [header, ["---"] * len(header), *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    before, _, rest = text.partition(START)
    return f"{before}{START}\n{table}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page_with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
