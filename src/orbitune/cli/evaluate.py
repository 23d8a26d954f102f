"""Score a model on its own data, or on labelled data that it has not seen: `evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orbitune.cli.help import OUTPUT, CommandSet
from orbitune.cli.options import BackboneOption, BandsOption, Json, Quiet, parse_bands_option
from orbitune.cli.output import print_inputs, print_json, print_scores, print_table
from orbitune.errors import counted

if TYPE_CHECKING:
    from orbitune.assessment.records import Assessment as NewScores
    from orbitune.evaluation.metrics import SplitScores

app = CommandSet("Data and training")
_NEW = "New data"


@app.command()
def evaluate(
    run: Annotated[str, typer.Argument(help="Finished run; with --data also a bundle, or the hub id of one")],
    split: Annotated[
        str | None,
        typer.Option(
            help="Split to score: train, validation or test [default: test; with --data all its tiles]"
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Labelled tiles that the model has not seen: folder, zip, list or hub id",
            rich_help_panel=_NEW,
        ),
    ] = None,
    data_config: Annotated[
        str | None, typer.Option(help="Configuration of a parquet data set", rich_help_panel=_NEW)
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(help="Column of the labels [default: label]", rich_help_panel=_NEW)
    ] = None,
    image_column: Annotated[
        str | None, typer.Option(help="Column of the images or their names", rich_help_panel=_NEW)
    ] = None,
    on_bad_image: Annotated[
        str, typer.Option(help="stop at an unreadable image, or skip it", rich_help_panel=_NEW)
    ] = "stop",
    bands: BandsOption = None,
    backbone: BackboneOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the scores and the errors on --data", rich_help_panel=OUTPUT),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a finished run, loaded from disk, on its own data or on new labelled data."""
    from orbitune.assessment.evaluate import evaluate as score_model
    from orbitune.assessment.records import Assessment
    from orbitune.sources.manifest import NOTHING_SELECTED, ColumnSelection

    selection = ColumnSelection(data_config, label_column, image_column)
    scores = score_model(
        run,
        split,
        data=data,
        out=out,
        backbone=backbone,
        bands=parse_bands_option(bands),
        selection=None if selection == NOTHING_SELECTED else selection,
        on_bad_image=on_bad_image,
        progress=not quiet,
    )
    if as_json:
        print_json(scores.to_json())
    elif isinstance(scores, Assessment):
        _print_assessment(scores, out)
    else:
        _print_split(Path(run), split or "test", scores=scores)


def _print_split(run: Path, split: str, *, scores: "SplitScores") -> None:
    """Print the scores on a split of the run's own data."""
    from orbitune.evaluation.run_result import RunResult
    from orbitune.models.lineage.overlap import MODEL

    result = RunResult.load(run)
    print_scores(split, scores, of=result.split_name, whose=MODEL)
    print_table(*scores.class_table())
    print_inputs(result.data, result.backbone.summary)


def _print_assessment(found: "NewScores", out: Path | None) -> None:
    """Print the scores on new data, after what makes them too high."""
    from orbitune.assessment.files import written_files

    warnings = found.warnings()
    for line in warnings:
        print(line)
    print_scores("new data:", found.scores, of=found.split_name)
    header, rows = found.scores.class_table()
    columns = [header.index(name) for name in ("precision", "recall", "F1")]
    for row, own in zip(rows, found.intervals, strict=True):
        for column, interval in zip(columns, (own.precision, own.recall, own.f1), strict=True):
            row[column] = f"{row[column]} ({interval[0]:.2f}-{interval[1]:.2f})" if interval else "-"
    heads = [f"{name} (95 %)" if number in columns else name for number, name in enumerate(header)]
    print_table(heads, rows)
    check = found.check_calibration()
    print(
        f"calibration: ECE {found.after.ece:.2%} with the model's {found.calibrated_by}, "
        f"{found.before.ece:.2%} without; chance alone gives up to {check.by_chance:.2%}"
        if check.enough
        else f"calibration: {counted(check.tiles, 'tile is', several='tiles are')} too few to judge it"
    )
    print(f"tiles: {found.data}, {found.source}; {counted(found.scores.count, 'tile')}")
    for line in found.remarks()[len(warnings) :]:
        print(f"  {line}")
    if out is not None:
        for kind, files in written_files(out).items():
            print(f"{kind}: {' and '.join(map(str, files))}")
