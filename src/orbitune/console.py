"""What the verbs of the command line share: options, JSON and tables."""

import json
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else there")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress")]


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=1))


def print_table(header: list[str], rows: list[list[str]], prose: tuple[str, ...] = ()) -> None:
    """Columns of numbers, and of prose, which is wrapped to the window."""
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
