"""Adapt a bundle to a scene: `adapt`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from orbitune.cli.help import CommandSet
from orbitune.cli.options import BackboneOption, BundleOut, Json, Quiet
from orbitune.cli.output import print_json, print_table
from orbitune.cli.scene_options import SceneBands, SceneResolution, SceneScale
from orbitune.errors import counted

app = CommandSet("Trained models")


@app.command("adapt")
def adapt(
    source: Annotated[str, typer.Argument(help="Bundle, finished run, or hub id of a bundle")],
    scene: Annotated[str, typer.Argument(help="Scene, as for orbitune map")],
    out: BundleOut,
    points: Annotated[
        Path | None, typer.Option(help="Vector file of labelled points (required); 30 are a good start")
    ] = None,
    field: Annotated[str, typer.Option(help="Field with the true class of a point")] = "true_class",
    bands: SceneBands = "",
    scale: SceneScale = "match",
    resolution: SceneResolution = 10.0,
    seed: Annotated[int, typer.Option(help="Seed of the folds of the cross-validation")] = 0,
    backbone: BackboneOption = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Refit a bundle to labelled points of a scene, and measure what it gains."""
    from orbitune.mapping.adaptation.adapt import adapt
    from orbitune.sources.band_names import parse_bands

    bundle = adapt(
        source,
        scene,
        points=points,
        out=out,
        field=field,
        bands=parse_bands(bands) if bands.strip() else None,
        scale=scale,
        resolution=resolution,
        seed=seed,
        backbone=backbone,
        progress=not quiet,
        log=lambda line: None if quiet else print(line, file=sys.stderr),
    )
    found = bundle.metadata.adaptation
    assert found is not None
    if as_json:
        print_json({"out": str(out), **found.model_dump(mode="json", exclude={"places", "earlier"})})
        return
    scores, (low, high) = found.scores, found.scores.gain_interval
    cells = {"before": scores.before.cells(), "after": scores.after.cells()}
    rows = [[name, *each.values()] for name, each in cells.items()]
    print_table(["held-out points", *cells["after"]], rows)
    print(
        f"gain: {100 * scores.gain:+.1f} percentage points (paired 95 % interval {100 * low:+.1f} to "
        f"{100 * high:+.1f}), {found.count:,} labelled points, {scores.folds}-fold cross-validation"
    )
    print(f"saved {out}, fitted to {counted(found.count, 'point')}")
