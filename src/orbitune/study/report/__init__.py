"""Report of a study: report.html (self-contained), report.md and its figures.

Reports are written from the results alone, and are the same bytes each time. They begin with the conclusions,
one table and one figure; then come all numbers, each with its interval and the command that reproduces it.
Numbers of synthetic tiles are marked as such.
"""

from orbitune.study.report.writer import (
    backbone_text,
    cautions,
    comparison_table,
    conclusions_text,
    failure_lines,
    search_table,
    terminal_table,
    tiles_of_splits,
    write_report,
)

__all__ = [
    "backbone_text",
    "cautions",
    "comparison_table",
    "conclusions_text",
    "failure_lines",
    "search_table",
    "terminal_table",
    "tiles_of_splits",
    "write_report",
]
