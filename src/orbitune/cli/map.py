"""Map whole scenes: `map`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from orbitune.cli.help import OUTPUT, CommandSet
from orbitune.cli.options import BackboneOption, Json, Quiet
from orbitune.cli.output import print_json, print_table

app = CommandSet("Use of trained models")


@app.command("map")
def map_(
    source: Annotated[str, typer.Argument(help="Bundle, finished run, or hub id of a bundle")],
    scene: Annotated[
        str, typer.Argument(help="Raster that rasterio opens: a file, or a zip://, https:// or s3:// address")
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Map to write: a cloud-optimised GeoTIFF", rich_help_panel=OUTPUT),
    ],
    bands: Annotated[
        str,
        typer.Option(
            help="Numbers of the red, green and blue bands, from 1 [default: from the file]",
            rich_help_panel="Scene",
        ),
    ] = "",
    stride: Annotated[
        int | None,
        typer.Option(
            help="Distance between labels in pixels, such as 64, 32, 16 or 8 [default: the tile size]"
        ),
    ] = None,
    mode: Annotated[
        str,
        typer.Option(
            help="tiles: one prediction per tile; dense: shared tokens; auto: dense at small strides"
        ),
    ] = "auto",
    scale: Annotated[
        str | None,
        typer.Option(
            help="Values mapped to 0:255, such as 0:2750 or 2%:98% [default: from type and tags]",
            rich_help_panel="Scene",
        ),
    ] = None,
    resolution: Annotated[
        float, typer.Option(help="Metres per pixel of the training tiles", rich_help_panel="Scene")
    ] = 10.0,
    grid: Annotated[
        str,
        typer.Option(
            help="Pixels of the map: scene, as in the scene; cells, one per label", rich_help_panel="Output"
        ),
    ] = "scene",
    confidence: Annotated[
        Path | None,
        typer.Option(help="GeoTIFF of the predicted probability to write", rich_help_panel="Output"),
    ] = None,
    polygons: Annotated[
        Path | None, typer.Option(help="GeoPackage of polygons to write", rich_help_panel="Output")
    ] = None,
    preview: Annotated[
        Path | None, typer.Option(help="PNG with legend and scale bar to write", rich_help_panel="Output")
    ] = None,
    not_sure: Annotated[
        str, typer.Option(help="on: out-of-distribution tiles get no class; off: every tile gets one")
    ] = "on",
    memory_budget: Annotated[str, typer.Option(help="Memory limit of this process")] = "2GB",
    engine: Annotated[str, typer.Option(help="local, or ray for a Ray cluster")] = "local",
    backbone: BackboneOption = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Map the land cover of a scene. Run the same command again to continue."""
    from orbitune.mapping.options import MapOptions, Outputs, parse_bands
    from orbitune.mapping.pipeline import map_scene

    report = map_scene(
        source,
        scene,
        Outputs(out, confidence, polygons, preview),
        MapOptions(
            parse_bands(bands), stride, mode, scale, resolution, grid, memory_budget, engine, not_sure
        ),
        backbone,
        not quiet,
        lambda line: None if quiet else print(line, file=sys.stderr),
    )
    for warning in report.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if as_json:
        print_json(report.to_json())
        return
    print_table(*report.table())
    if (agreement := report.agreement) and agreement["cells"]:
        print(f"as tile by tile at {agreement['share']:.1%} of {agreement['cells']:,} cells")
    print(f"saved {out}")
