"""Options that commands share, and what parses them."""

from pathlib import Path
from typing import Annotated

import typer

from orbitune.cli.help import OUTPUT
from orbitune.cli.messages import hide_messages
from orbitune.errors import OrbituneError, find_repeated

Json = Annotated[bool, typer.Option("--json", help="Print only JSON to stdout", rich_help_panel=OUTPUT)]
Quiet = Annotated[
    bool, typer.Option("--quiet", help="Hide progress", callback=hide_messages, rich_help_panel=OUTPUT)
]
BundleOut = Annotated[
    Path, typer.Option("--out", help="Folder of the bundle; must not exist", rich_help_panel=OUTPUT)
]
BackboneOption = Annotated[
    str | None, typer.Option("--backbone", help="Backbone, if it was moved: hub id, folder, run or bundle")
]
BandsOption = Annotated[
    str | None,
    typer.Option(
        "--bands",
        help="Bands of the inputs by name or number, in the order of the model's [default: its names]",
    ),
]
ReferenceOption = Annotated[
    Path | None,
    typer.Option(
        "--reference",
        help="Vector file of labelled points: estimate areas and accuracies from them",
        rich_help_panel="Areas",
    ),
]
FieldOption = Annotated[
    str, typer.Option("--field", help="Field with the true class of a point", rich_help_panel="Areas")
]
MemoryBudget = Annotated[
    str | None,
    typer.Option(
        "--memory-budget",
        help="Adapt the recipe to this much memory, such as 1.5GB",
        rich_help_panel="Budget",
    ),
]
TimeBudget = Annotated[
    str | None,
    typer.Option(
        "--time-budget",
        help="Adapt the recipe to this training time, such as 30min",
        rich_help_panel="Budget",
    ),
]
Track = Annotated[
    list[str] | None,
    typer.Option(
        "--track",
        help="Log metrics to tensorboard, mlflow or wandb; may be repeated",
        rich_help_panel=OUTPUT,
    ),
]
OUT_HELP = "run the same command again to continue [default: runs/DATA-BACKBONE"


def parse_bands_option(text: str | None) -> tuple[str, ...] | None:
    """Return the value of --bands; None where it is not given.

    Raises:
        OrbituneError: an item is empty.
    """
    from orbitune.sources.band_names import parse_bands

    return None if text is None else parse_bands(text)


def split_names(option: str, text: str | None) -> list[str]:
    """Return the names in a comma-separated list; none for None.

    Args:
        option: that the list is the value of.
        text: the list.

    Raises:
        OrbituneError: it names nothing, a part of it is empty, or something is named twice.
    """
    if text is None:
        return []
    names = [name.strip() for name in text.removesuffix(",").split(",")]
    if not any(names):
        raise OrbituneError(f"{option} names nothing: pass a value, or leave it out.")
    if not all(names):
        raise OrbituneError(f"{option} has an empty place between its commas: {text!r}.")
    if repeated := find_repeated(names):
        raise OrbituneError(f"{option}: {repeated[0]} is given twice.")
    return names
