"""Map whole scenes: `map`."""

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from orbitune.cli.help import OUTPUT, CommandSet
from orbitune.cli.options import BackboneOption, FieldOption, Json, Quiet, ReferenceOption
from orbitune.cli.output import print_areas, print_json
from orbitune.cli.scene_options import SceneBands, SceneResolution, SceneScale
from orbitune.mapping.outputs.table import OUTPUTS

app = CommandSet("Trained models")


def _output_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option per entry of OUTPUTS; it receives them as `outputs`."""
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
            annotation=Annotated[Path | None, typer.Option(help=output.help, rich_help_panel=OUTPUT)],
        )
        for name, output in optional.items()
    ]
    wrapped.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
    return wrapped


@app.command("map")
@_output_options
def map_(
    source: Annotated[str, typer.Argument(help="Bundle, finished run, or hub id of a bundle")],
    scenes: Annotated[
        list[str],
        typer.Argument(
            help="Raster that rasterio opens (a file, or a zip://, https:// or s3:// address), folder of one "
            "file per band, Sentinel-2 product (.SAFE or its zip), or STAC item; several make one map, in "
            "which the first with data counts",
            metavar="SCENE...",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help=OUTPUTS["map"].help, rich_help_panel=OUTPUT)],
    outputs: dict[str, Path],
    bands: SceneBands = "",
    stride: Annotated[
        int | None,
        typer.Option(
            help="Distance between labels in pixels, such as 64, 32, 16 or 8 [default: the window size]"
        ),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            help="Side in pixels of the ground that each label is for [default: the smallest that the model "
            "was trained on, or the stride]"
        ),
    ] = None,
    mode: Annotated[
        str,
        typer.Option(
            help="tiles: one prediction per window; dense: shared tokens, doubtful windows by themselves; "
            "auto: dense at small strides, unless the bundle has a patch head and windows do not overlap, "
            "or the map has few cells"
        ),
    ] = "auto",
    scale: SceneScale = "match",
    resolution: SceneResolution = 10.0,
    aoi: Annotated[
        Path | None,
        typer.Option(help="Vector file whose polygons are mapped, in any CRS", rich_help_panel="Scene"),
    ] = None,
    min_area: Annotated[
        float | None,
        typer.Option(
            help="Hectares below which a patch takes the class around it [default: none]",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    grid: Annotated[
        str,
        typer.Option(
            help="Pixels of the map: scene, as in the scene; cells, one per label", rich_help_panel=OUTPUT
        ),
    ] = "scene",
    not_sure: Annotated[
        bool,
        typer.Option(
            "--not-sure/--no-not-sure",
            help="Leave cells without a class that are out of distribution or too improbable",
        ),
    ] = True,
    reference: ReferenceOption = None,
    field: FieldOption = "true_class",
    compare: Annotated[
        Path | None,
        typer.Option(
            help="Earlier map: write the change to NAME-change.tif beside OUT", rich_help_panel="Areas"
        ),
    ] = None,
    zones: Annotated[
        Path | None,
        typer.Option(
            help="Polygons: write the hectares in each to NAME-zones.csv beside OUT", rich_help_panel="Areas"
        ),
    ] = None,
    memory_budget: Annotated[str, typer.Option(help="Memory limit of this process")] = "2GB",
    executor: Annotated[str, typer.Option(help="local, or ray for a Ray cluster")] = "local",
    backbone: BackboneOption = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Map the land cover of scenes. Run the same command again to continue."""
    from orbitune.mapping.areas.analysis import change_file, zones_file
    from orbitune.mapping.pipeline import map_scene
    from orbitune.sources.band_names import parse_bands

    report = map_scene(
        source,
        scenes,
        outputs={"map": out, **outputs},
        backbone=backbone,
        progress=not quiet,
        log=lambda line: None if quiet else print(line, file=sys.stderr),
        bands=parse_bands(bands) if bands.strip() else None,
        stride=stride,
        window=window,
        mode=mode,
        scale=scale,
        resolution=resolution,
        grid=grid,
        aoi=aoi,
        min_area=min_area,
        not_sure=not_sure,
        reference=reference,
        field=field,
        compare=compare,
        zones=zones,
        memory_budget=memory_budget,
        executor=executor,
    )
    for warning in report.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if as_json:
        print_json(report.to_json())
        return
    print_areas(report)
    if report.change:
        print_areas(report.change)
    if (agreement := report.agreement) and agreement.fraction is not None:
        print(f"same label as tile by tile at {agreement.fraction:.1%} of {agreement.cells:,} cells")
    beside = [
        change_file(out) if compare else None,
        zones_file(out) if zones else None,
        *(out.with_name(f"{out.name}.aux.xml"), out.with_suffix(".qml")),  # names and colours of classes
    ]
    print(f"saved {', '.join(map(str, [out, *outputs.values(), *(p for p in beside if p and p.is_file())]))}")
