"""The report of a study: report.html (one file, nothing loaded), report.md and its figures.

Everything is said from the results alone and in the same bytes each time. A reader with two minutes finds
the verdict, one table and one picture; one with an hour finds every figure with its interval, and the command
that makes it again. Synthetic tiles are named wherever a number stands.
"""

from orbitune.study.report.writer import (
    comparison_table,
    conclusions_text,
    failure_lines,
    terminal_table,
    write_report,
)

__all__ = [
    "comparison_table",
    "conclusions_text",
    "failure_lines",
    "terminal_table",
    "verdict",
    "write_report",
]
