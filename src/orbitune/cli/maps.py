"""Work with finished maps: `map-sample`, `map-areas`, `map-compare`, `map-zones`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from orbitune.cli.help import OUTPUT, CommandSet
from orbitune.cli.options import FieldOption, Json, ReferenceOption
from orbitune.cli.output import print_areas, print_json, print_table

app = CommandSet("Maps")

MapArgument = Annotated[str, typer.Argument(metavar="MAP", help="Map that orbitune map wrote")]


@app.command("map-sample")
def map_sample(
    source: MapArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="GeoPackage to write", rich_help_panel=OUTPUT)],
    points: Annotated[int, typer.Option(help="Number of points")] = 300,
    by: Annotated[
        str,
        typer.Option(
            help="class: at random in each class, for areas and accuracies; uncertainty: where the map is "
            "least sure, for training"
        ),
    ] = "class",
    confidence: Annotated[
        Path | None, typer.Option(help="Confidence of the map, for --by uncertainty")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random numbers")] = 0,
    as_json: Json = False,
) -> None:
    """Draw points of a map to label in QGIS."""
    from orbitune.mapping.areas.sampling import draw_sample

    drawn = draw_sample(source, out, points=points, by=by, confidence=confidence, seed=seed)  # type: ignore[arg-type]
    if (count := sum(drawn.values())) < points:
        print(f"warning: the map has places for {count:,} of {points:,} points", file=sys.stderr)
    if as_json:
        print_json({"points": drawn, "out": str(out)})
        return
    print_table(["class of the map", "points"], [[name, f"{count:,}"] for name, count in drawn.items()])
    print(f"saved {out}; fill the field true_class, and leave blank what cannot be told")


@app.command("map-areas")
def map_areas(
    source: MapArgument,
    reference: ReferenceOption = None,
    field: FieldOption = "true_class",
    as_json: Json = False,
) -> None:
    """Estimate the class areas of a map, with 95 % intervals."""
    from orbitune.mapping.areas.estimation import map_areas

    report = map_areas(source, reference, field=field)
    for warning in report.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if as_json:
        print_json(report.to_json())
    else:
        print_areas(report)


@app.command("map-compare")
def map_compare(
    before: Annotated[str, typer.Argument(help="Earlier map")],
    after: Annotated[str, typer.Argument(help="Later map, whose grid is used")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Map of the change to write", rich_help_panel=OUTPUT)
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare two maps: hectares from class to class."""
    from orbitune.mapping.areas.change import compare_maps

    report = compare_maps(before, after, out=out)
    if as_json:
        print_json(report.to_json())
        return
    print_areas(report)
    if out:
        print(f"saved {out}")


@app.command("map-zones")
def map_zones(
    source: MapArgument,
    zones: Annotated[Path, typer.Argument(help="Vector file of polygons")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="CSV or GeoPackage to write", rich_help_panel=OUTPUT)
    ],
    as_json: Json = False,
) -> None:
    """Measure the hectares of each class in each polygon."""
    from orbitune.mapping.areas.zones import measure_zones

    measured = measure_zones(source, zones, out=out)
    count = len(measured.geometries)
    if as_json:
        print_json({"zones": count, "out": str(out)})
    else:
        print(f"saved {out}, with {count:,} zones")
