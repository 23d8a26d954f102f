"""The licence of a checkpoint, as its model card states it."""

from pathlib import Path
from typing import Any

CARD = "README.md"
_FENCE = "---"


def read_licence(folder: Path) -> str:
    """Return the licence that the card of a checkpoint states; empty where it states none.

    The front matter of the hub's cards is read: `license`, or `license_name` where that is `other`.

    Args:
        folder: of the checkpoint.
    """
    stated = _front_matter(folder / CARD)
    name = stated.get("license")
    if name in (None, "other"):
        name = stated.get("license_name") or name
    return ", ".join(map(str, name)) if isinstance(name, list) else str(name or "")


def _front_matter(card: Path) -> dict[str, Any]:
    """Return the metadata at the top of a card; empty where there are none or they are damaged."""
    import yaml

    try:
        text = card.read_text(encoding="utf-8")
        start, inside, _ = text.split(f"{_FENCE}\n", 2)
        stated = yaml.safe_load(inside) if not start.strip() else None
    # PyYAML also raises TypeError, on unhashable keys.
    except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError):
        return {}
    return stated if isinstance(stated, dict) else {}
