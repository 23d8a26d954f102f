"""The pages of the documentation and the committed results."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
STUDY = DOCS / "results" / "eurosat-6-epochs"  # the one of two splits
STUDIES = [
    DOCS / "results" / name
    for name in (
        "eurosat-study/random",
        "eurosat-study/spatial",
        "eurosat-6-epochs",
        "eurosat-methods",
        "eurosat-methods-random",
        "eurosat-ranks",
        "eurosat-sizes",
        "eurosat-dinov2",
        "eurosat-shots",
        "eurosat-pretraining",
        "aid-study",
        "best-accuracy",
    )
]
PAGES = [ROOT / "README.md", *sorted(p for p in DOCS.rglob("*.md") if "results" not in p.parts)]


def page_name(page):
    return str(page.relative_to(ROOT))


def read_page(name):
    """The text of a page of docs/ in one line."""
    return (DOCS / name).read_text().replace("\n", " ")
