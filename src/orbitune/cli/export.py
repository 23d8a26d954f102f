"""Export a run to formats that need no Orbitune: `export`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from orbitune.cli.options import Json, Quiet
from orbitune.cli.output import print_json, print_table

app = typer.Typer()


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A finished run folder")],
    to: Annotated[
        str, typer.Option(help="merged, onnx, onnx-int8, openvino, openvino-int8, some of them, or all")
    ] = "all",
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the files [default: RUN/export]")
    ] = None,
    tolerance: Annotated[float, typer.Option(help="Points of validation accuracy that int8 may lose")] = 0.5,
    merge_tokens: Annotated[
        str, typer.Option(help="Blocks after which int8 halves the patches, such as 3,6 [default: none]")
    ] = "",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a run's model in forms that need no Orbitune; what differs from the trained model is not kept."""
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
