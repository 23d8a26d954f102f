"""The licence of a checkpoint, as its model card states it."""

import re
from pathlib import Path
from typing import Any

CARD = "README.md"
_FRONT_MATTER = re.compile(r"\s*^---[ \t]*\n(.*?)^---[ \t]*$", re.MULTILINE | re.DOTALL)


def read_licence(folder: Path) -> str | None:
    """Return the licence that a checkpoint's card states: empty for none, None without a readable card.

    The front matter of the hub's cards is read: `license`, or `license_name` where that is `other`.

    Args:
        folder: of the checkpoint.
    """
    stated = _front_matter(folder / CARD)
    if stated is None:
        return None
    name = stated.get("license")
    if name in (None, "other"):
        name = stated.get("license_name") or name
    return ", ".join(map(str, name)) if isinstance(name, list) else str(name or "")


def _front_matter(card: Path) -> dict[str, Any] | None:
    """Return the metadata at the top of a card, if any; None where it cannot be read or they are damaged."""
    import yaml

    try:
        found = _FRONT_MATTER.match(card.read_text(encoding="utf-8-sig"))
        stated = yaml.safe_load(found[1]) if found else None
    # PyYAML also raises TypeError, on unhashable keys.
    except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError):
        return None
    return stated if isinstance(stated, dict) else {}
