"""Print results: JSON, tables, and what a result rests on."""

import json
from typing import TYPE_CHECKING, Any

from orbitune.errors import counted

if TYPE_CHECKING:
    from orbitune.evaluation.metrics import SplitScores
    from orbitune.evaluation.run_result import RunData
    from orbitune.mapping.areas.area_records import AreaReport, ChangeReport


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=1))


def print_table(header: list[str], rows: list[list[str]], *, prose: tuple[str, ...] = ()) -> None:
    """Print a table.

    Args:
        header: name of each column.
        rows: one text per column.
        prose: names of columns whose text is wrapped to the window; others are numbers.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, name in enumerate(header):
        is_prose = name in prose
        table.add_column(
            name,
            justify="right" if number and not is_prose else "left",
            no_wrap=not is_prose,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*row)
    console = Console()
    if not (prose and console.is_terminal):
        # A table that is piped or wider than the window is printed whole, not cut.
        whole = console.measure(table, options=console.options.update_width(1000)).maximum
        console = Console(width=max(console.width, whole))
    console.print(table)


def print_areas(report: "AreaReport | ChangeReport") -> None:
    """Print a table of areas, and what it rests on."""
    print_table(*report.table())
    for line in report.remarks():
        print(line)


def print_inputs(data: "RunData", backbone: str) -> None:
    """Print the tiles, what was done to them, and what the backbone is.

    Args:
        data: the tiles.
        backbone: its description.
    """
    print_tiles(data)
    print(f"backbone: {backbone}")


def print_tiles(data: "RunData", *, part: str = "") -> None:
    """Print the tiles and what was done to them.

    Args:
        data: the tiles.
        part: what they are of, such as "fold 1 of 5" or "the spatial split".
    """
    sizes = ", ".join(f"{count:,} {name}" for name, count in data.sizes.items())
    where = f" of {part}" if part else ""
    print(f"tiles{where}: {data.source}; {sizes}; {counted(len(data.classes), 'class')}")
    for note in data.notes:
        print(f"  {note}")
    if data.skipped:
        print(f"  {counted(data.skipped, 'image was', several='images were')} skipped")


def print_scores(split: str, scores: "SplitScores", *, of: str, whose: str = "") -> None:
    """Print the scores of a split with their intervals, and how many of its tiles were seen before.

    Args:
        split: what the tiles are called.
        scores: of them.
        of: what they are of, such as "random split drawn with seed 42".
        whose: the models that have seen the tiles of `scores.seen`.
    """
    print(f"{split} {scores.describe()}, on the {of}")
    if line := scores.describe_seen(split, whose):
        print(f"warning: {line}")
