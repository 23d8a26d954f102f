"""Export a run to formats that need no Orbitune: `export`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from orbitune.cli.help import OUTPUT, CommandSet
from orbitune.cli.options import Json, Quiet
from orbitune.cli.output import print_json, print_table

app = CommandSet("Use of trained models")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Finished run folder")],
    to: Annotated[
        str,
        typer.Option(
            help="Formats, such as onnx,onnx-int8, or all: merged, onnx, onnx-int8, openvino, openvino-int8"
        ),
    ] = "all",
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the files [default: RUN/export]", rich_help_panel=OUTPUT),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="Validation accuracy that int8 may lose, in percentage points")
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
    """Export a run to formats that need no Orbitune; each is validated against the trained model."""
    from orbitune.exporting.exporter import export as write
    from orbitune.exporting.validation import check_table

    def say(line: str) -> None:
        if not quiet:
            print(line, file=sys.stderr)

    report = write(run, to, out, tolerance, merge_tokens, not quiet, say)
    if as_json:
        print_json(report)
    else:
        print_table(*check_table(report["forms"]))
