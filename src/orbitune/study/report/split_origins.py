"""How the splits of a study came about."""

import re

from orbitune.reporting import formatting as fmt
from orbitune.study.report.view_model import ReportView

_NOTE = re.compile(r"\w+ split: (?:fold \d+ of (?:\d+), )?(?P<origin>.+)")


def split_origins(view: ReportView) -> list[str]:
    """Return a sentence on each split that the methods are compared on: its lists, or how it was drawn."""
    lines = []
    for split in view.splits:
        notes = view.results.compared(split)[0].finished.data.notes
        found = next((match["origin"] for note in notes if (match := _NOTE.match(note))), None)
        found = found or next((note for note in notes if note.startswith("the data has no ")), None)
        if found:
            lines.append(f"{fmt.capital(split)} split: {found}.")
    return lines
