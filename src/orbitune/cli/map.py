"""Map whole scenes: `map`."""

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from orbitune.cli.options import BackboneOption, Json, Quiet
from orbitune.cli.output import print_json, print_table
from orbitune.mapping.outputs import OUTPUTS

app = typer.Typer()


def _output_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for the path of each of OUTPUTS but the map; it receives them as a dict."""
    optional = {name: output for name, output in OUTPUTS.items() if name != "map"}

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        paths = {name: path for name in optional if (path := given.pop(name)) is not None}
        command(outputs=paths, **given)

    own = [each for each in inspect.signature(command).parameters.values() if each.name != "outputs"]
    added = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[Path | None, typer.Option(help=output.help)],
        )
        for name, output in optional.items()
    ]
    wrapped.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
    return wrapped


@app.command("map")
@_output_options
def map_(
    source: Annotated[str, typer.Argument(help="A bundle, a finished run, or a bundle's hub id")],
    scene: Annotated[
        str, typer.Argument(help="A raster that rasterio opens: a file, zip://, https:// or s3:// address")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help=OUTPUTS["map"].help)],
    outputs: dict[str, Path],
    bands: Annotated[
        str,
        typer.Option(help="Band numbers of red, green and blue, such as 3,2,1 [default: by the metadata]"),
    ] = "",
    stride: Annotated[
        int | None,
        typer.Option(help="Pixels between labels, such as 64, 32, 16 or 8 [default: side of a tile]"),
    ] = None,
    mode: Annotated[
        str,
        typer.Option(help="tiles: tile by tile; dense: tiles share tokens; auto: dense at small strides"),
    ] = "auto",
    scale: Annotated[
        str | None,
        typer.Option(help="Values that become 0:255, such as 0:2750 or 2%:98% [default: by dtype and tags]"),
    ] = None,
    resolution: Annotated[float, typer.Option(help="Metres per pixel of the training tiles")] = 10.0,
    grid: Annotated[
        str, typer.Option(help="Pixels of the map: those of the scene (scene), or one per label (cells)")
    ] = "scene",
    not_sure: Annotated[
        bool,
        typer.Option("--not-sure/--no-not-sure", help="Give no class to what is unlike the training tiles"),
    ] = True,
    memory_budget: Annotated[str, typer.Option(help="Memory that may be used, such as 2GB")] = "2GB",
    executor: Annotated[str, typer.Option(help="local, or ray for many machines")] = "local",
    backbone: BackboneOption = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a land-cover map of a scene. The same command resumes an interrupted map."""
    from orbitune.mapping.options import parse_bands
    from orbitune.mapping.pipeline import map_scene

    report = map_scene(
        source,
        scene,
        {"map": out, **outputs},
        backbone=backbone,
        progress=not quiet,
        log=lambda line: None if quiet else print(line, file=sys.stderr),
        bands=parse_bands(bands),
        stride=stride,
        mode=mode,
        scale=scale,
        resolution=resolution,
        grid=grid,
        not_sure=not_sure,
        memory_budget=memory_budget,
        executor=executor,
    )
    for warning in report.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if as_json:
        print_json(report.to_json())
        return
    print_table(*report.table())
    if (agreement := report.agreement) and agreement.fraction is not None:
        print(f"same label as tile by tile at {agreement.fraction:.1%} of {agreement.cells:,} cells")
    print(f"saved {out}")
