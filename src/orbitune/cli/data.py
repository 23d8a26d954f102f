"""Prepare tiles and backbone: `prepare`."""

from typing import Annotated

import typer

from orbitune.cli.help import CommandSet
from orbitune.cli.options import Json, Quiet
from orbitune.cli.output import print_inputs, print_json, print_table
from orbitune.cli.recipe_options import MakeRecipe, recipe_options

app = CommandSet("Data and training")


@app.command()
@recipe_options("method")
def prepare(
    make_recipe: MakeRecipe,
    check_leaks: Annotated[
        bool,
        typer.Option(
            "--check-leaks", help="Search for near-duplicate tiles across the splits", rich_help_panel="Data"
        ),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Decode the tiles and download the backbone ahead of other commands."""
    from orbitune.data.labels.membership import count_tiles
    from orbitune.data.leakage.near_duplicates import find_near_duplicates
    from orbitune.training.setup import prepare_training

    setup = prepare_training(make_recipe(), not quiet)
    data, backbone = setup.data, setup.backbone.record
    tiles_of = {
        name: count_tiles(setup.tiles.labels[rows], data.classes) for name, rows in setup.splits.items()
    }
    counts = {label: {split: found[label] for split, found in tiles_of.items()} for label in data.classes}
    leaks = find_near_duplicates(setup.tiles, setup.splits) if check_leaks else []
    if as_json:
        leaks_found = {"leaks": [leak.to_json() for leak in leaks]} if check_leaks else {}
        stated = {"data": data.to_json(), "class_counts": counts, "backbone": backbone.to_json()}
        print_json({**stated, **leaks_found})
        return
    print_inputs(data, backbone.summary)
    rows = [[label, *(f"{count:,}" for count in found.values())] for label, found in counts.items()]
    print_table(["class", *setup.splits], rows)
    for leak in leaks:
        print(f"  leaks: {leak.describe()}")
    for name, reason in setup.tiles.skipped:
        print(f"  skipped {name}: {reason}")
