"""Map whole scenes: `map`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from orbitune.cli.options import BackboneOption, Json, Quiet
from orbitune.cli.output import print_json, print_table

app = typer.Typer()


@app.command("map")
def map_(
    source: Annotated[str, typer.Argument(help="A bundle, a finished run, or a bundle's hub id")],
    scene: Annotated[
        str, typer.Argument(help="A raster that rasterio opens: a file, zip://, https:// or s3:// address")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="GeoTIFF of the map, in COG layout")],
    bands: Annotated[
        str, typer.Option(help="Numbers of red, green and blue, from 1 [default: as the file names them]")
    ] = "",
    stride: Annotated[
        int | None,
        typer.Option(help="A label every so many pixels, such as 64, 32, 16 or 8 [default: the tile]"),
    ] = None,
    mode: Annotated[
        str, typer.Option(help="tiles: one by one; dense: tiles share tokens; auto: dense at small strides")
    ] = "auto",
    scale: Annotated[
        str | None,
        typer.Option(
            help="What becomes 0:255, such as 0:2750, or 2%:98% of each band [default: by type and tags]"
        ),
    ] = None,
    resolution: Annotated[float, typer.Option(help="Metres per pixel of the training tiles")] = 10.0,
    grid: Annotated[
        str, typer.Option(help="Pixels of the map: as the scene's (scene), or one for each label (cells)")
    ] = "scene",
    confidence: Annotated[Path | None, typer.Option(help="GeoTIFF of each label's probability")] = None,
    polygons: Annotated[Path | None, typer.Option(help="GeoPackage of the map as polygons")] = None,
    preview: Annotated[Path | None, typer.Option(help="PNG with legend and scale bar")] = None,
    not_sure: Annotated[
        str, typer.Option(help="on: what is unlike the training tiles gets no class; off: all get one")
    ] = "on",
    memory_budget: Annotated[str, typer.Option(help="Memory that may be used")] = "2GB",
    engine: Annotated[str, typer.Option(help="local, or ray for many machines")] = "local",
    backbone: BackboneOption = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a land-cover map of a whole scene. The same command goes on where it was stopped."""
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
