"""Export a run to formats that need no Orbitune: `export`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from orbitune.cli.help import OUTPUT, CommandSet
from orbitune.cli.options import Json, Quiet, split_names
from orbitune.cli.output import print_json, print_table
from orbitune.errors import RunError
from orbitune.exporting.formats import FORMATS

app = CommandSet("Trained models")


@app.command("export")
def export_(
    run: Annotated[Path, typer.Argument(help="Finished run folder")],
    to: Annotated[
        str,
        typer.Option(help=f"Formats, such as onnx,onnx-int8, or all of {', '.join(FORMATS)}"),
    ] = "all",
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the files [default: RUN/export]", rich_help_panel=OUTPUT),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            help="Points of validation accuracy, or of mAP and micro-F1, that int8 may lose, by the upper "
            "end of the 95 % interval"
        ),
    ] = 0.5,
    merge_tokens: Annotated[
        str,
        typer.Option(
            help="Blocks after which int8 formats merge half of the tokens, such as 3,6 [default: none]"
        ),
    ] = "",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Export a run to files that need no Orbitune, and validate each file."""
    from orbitune.exporting.exporter import export

    report = export(
        run,
        None if to == "all" else split_names("--to", to),
        out=out,
        tolerance=tolerance,
        merge_tokens=_parse_blocks(merge_tokens),
        progress=not quiet,
        log=lambda line: None if quiet else print(line, file=sys.stderr),
    )
    if as_json:
        print_json(report.to_json())
    else:
        print_table(*report.table())
        for line in filter(None, (*report.describe_tiles(), report.describe_earlier())):
            print(line)


def _parse_blocks(text: str) -> list[int]:
    """Return the block numbers of a comma-separated string such as `3,6`."""
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise RunError(f"--merge-tokens takes numbers of blocks, such as 3,6, not {text!r}.") from None
