"""Compare methods and ways to compute: `study`, `report`, `bench`."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orbitune.cli.help import OUTPUT, CommandSet
from orbitune.cli.options import OUT_HELP, Json, Quiet, Track, split_names
from orbitune.cli.output import print_inputs, print_json, print_table, print_tiles
from orbitune.cli.recipe_options import MakeRecipe, default_out, recipe_options
from orbitune.errors import OrbituneError

if TYPE_CHECKING:
    from orbitune.study.design.power_plan import PowerPlan

app = CommandSet("Comparison")


@app.command()
@recipe_options("method", "shots", "fold")
def study(
    context: typer.Context,
    make_recipe: MakeRecipe,
    out: Annotated[
        Path | None, typer.Option("--out", help=f"Study folder; {OUT_HELP}]", rich_help_panel=OUTPUT)
    ] = None,
    methods: Annotated[
        str, typer.Option(help="Methods to compare, such as full,linear,lora", rich_help_panel="Study")
    ] = "full,linear,lora",
    backbones: Annotated[
        str | None,
        typer.Option(
            help="Backbones to compare, in place of --backbone: two or more hub ids or folders",
            rich_help_panel="Study",
        ),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Number of seeds, or a list: 3 or 0,1,2", rich_help_panel="Study")
    ] = None,
    splits: Annotated[
        str | None,
        typer.Option(
            help="Splits to compare on, such as random,spatial; random takes the lists that the data come "
            "with, redrawn draws others",
            rich_help_panel="Study",
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            help="Cross-validate with this many folds: each tile is tested once; with --split random, "
            "spatial or group",
            rich_help_panel="Study",
        ),
    ] = None,
    shots: Annotated[
        str | None,
        typer.Option(
            help="Sweep of the training tiles per class, such as 1,5,10,all", rich_help_panel="Study"
        ),
    ] = None,
    ranks: Annotated[
        str | None, typer.Option(help="Sweep of the LoRA rank, such as 4,8,16", rich_help_panel="Study")
    ] = None,
    image_sizes: Annotated[
        str | None,
        typer.Option(help="Sweep of the input size in pixels, such as 56,112", rich_help_panel="Study"),
    ] = None,
    scratch: Annotated[
        int | None,
        typer.Option(
            help="Add a small network that is trained from random weights for this many epochs, such as 40",
            rich_help_panel="Study",
        ),
    ] = None,
    tune: Annotated[
        int,
        typer.Option(
            help="Search the learning rate of each method, backbone and split, beginning with this many; "
            "plan --tune says how long it takes; 0 for none",
            rich_help_panel="Study",
        ),
    ] = 0,
    margin: Annotated[
        str | None,
        typer.Option(
            help="Points below the reference that still count as equally good, or those of each split: "
            "random=0.5,spatial=1 [default: 0.5]",
            rich_help_panel="Design",
        ),
    ] = None,
    primary: Annotated[
        str | None,
        typer.Option(
            help="Comparison that the study is for, such as lora:full, judged apart from the others "
            "[default: all, judged together]",
            rich_help_panel="Design",
        ),
    ] = None,
    difference: Annotated[
        float,
        typer.Option(
            help="True difference in points, method minus reference, that the study is planned for",
            rich_help_panel="Design",
        ),
    ] = 0.0,
    power: Annotated[
        bool,
        typer.Option(
            "--power",
            help="Train nothing: print the chance to decide, and the seeds and test images for 80 %",
            rich_help_panel="Power",
        ),
    ] = False,
    pilot: Annotated[
        Path | None,
        typer.Option(
            help="Finished study, or folder of runs, with two seeds or more: how runs vary",
            rich_help_panel="Power",
        ),
    ] = None,
    accuracy: Annotated[
        float | None,
        typer.Option(help="Accuracy of the reference in percent, as stated", rich_help_panel="Power"),
    ] = None,
    spread: Annotated[
        float | None,
        typer.Option(help="Standard deviation between seeds in points, as stated", rich_help_panel="Power"),
    ] = None,
    discordant: Annotated[
        float | None,
        typer.Option(
            help="Test images on which a run of one of two methods alone is right, in percent, as stated",
            rich_help_panel="Power",
        ),
    ] = None,
    worse_by: Annotated[
        float | None,
        typer.Option(
            help="Loss in points that is to be called more than the margin [default: twice the margin]",
            rich_help_panel="Power",
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            help="Runs at the same time; they share the cores [default: 1]", rich_help_panel="Study"
        ),
    ] = None,
    executor: Annotated[
        str, typer.Option(help="local, or ray for a Ray cluster", rich_help_panel="Study")
    ] = "local",
    robustness: Annotated[
        int,
        typer.Option(
            help="Validation tiles of each fold or split to score with corruptions, such as haze, blur or "
            "another gain; 0 for none",
            rich_help_panel="Study",
        ),
    ] = 0,
    keep: Annotated[
        str,
        typer.Option(
            help="all, or records: of each run its results, predictions and settings, without weights (about "
            "130 KB for 10,800 tiles of 10 classes)",
            rich_help_panel="Study",
        ),
    ] = "all",
    track: Track = None,
    as_json: Json = False,
) -> None:
    """Compare fine-tuning methods on the same tiles and write a report.

    Every method is trained on every backbone with every seed on every split. A sweep changes one setting at
    a time.
    """
    assumed: dict[str, Any] = {
        "pilot": pilot,
        "accuracy": accuracy,
        "spread": spread,
        "discordant": discordant,
        "worse_by": worse_by,
    }
    if not power and (given := [name for name, value in assumed.items() if value is not None]):
        raise OrbituneError(f"--{given[0].replace('_', '-')} is of --power: pass that too, or leave it out.")
    recipes = tuple(make_recipe(method=method) for method in split_names("--methods", methods))
    from orbitune.cli.study.grid_options import parse_margin, parse_numbers, parse_seeds, parse_shots
    from orbitune.study.report import (
        backbone_text,
        cautions,
        conclusions_text,
        failure_lines,
        search_table,
        terminal_table,
        tiles_of_splits,
    )
    from orbitune.study.runner import Study

    seed_values = parse_seeds(seeds)
    listed_seeds = None if isinstance(seed_values, int) else seed_values  # a number counts from --seed
    for name, values in {"seed": listed_seeds, "split": splits}.items():
        if values is not None and context.params[name] is not None:
            raise OrbituneError(f"--{name} and --{name}s: pass one of them.")
    named = split_names("--backbones", backbones)
    out = out or default_out(make_recipe(), backbones=named)
    made = Study(
        recipes,
        out,
        backbones=named,
        seeds=seed_values,
        splits=split_names("--splits", splits),
        folds=folds,
        shots=parse_shots(shots),
        ranks=parse_numbers("--ranks", ranks),
        image_sizes=parse_numbers("--image-sizes", image_sizes),
        scratch=scratch,
        tune=tune,
        margin=parse_margin(margin),
        primary=primary,
        difference=difference,
        jobs=jobs,
        executor=executor,
        robustness=robustness,
        keep=keep,
        track=track or (),
        command=shlex.join(["orbitune", *sys.argv[1:]]),
    )
    if power:
        print_power(made.power(**assumed), as_json)
        return
    results = made.run()
    if as_json:
        for line in cautions(results):
            print(line, file=sys.stderr)
        print_json(results.to_json())
    else:
        print_table(*terminal_table(results))
        for line in failure_lines(results):
            print(line)
        if results.searches:
            print("\nlearning rates, chosen on validation")
            print_table(*search_table(results))
        print(f"\n{conclusions_text(results)}")
        for part, data in tiles_of_splits(results):
            print_tiles(data, part=part)
        print(f"backbone: {backbone_text(results)}")
        print(f"report: {out / 'report.html'} and {out / 'report.md'}")
    if results.failed:
        sys.exit(1)


def print_power(plan: "PowerPlan", as_json: bool) -> None:
    """Print the power of a study."""
    from orbitune.study.design.power_text import power_notes, power_table

    if as_json:
        print_json(plan.to_json())
        return
    print_table(*power_table(plan))
    for line in power_notes(plan):
        print(line)


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(help="Folders of finished runs or studies")],
    quiet: Quiet = False,
) -> None:
    """Write the report of a finished run or study again."""
    from orbitune.study.report_files import check_results
    from orbitune.study.report_files import report as write

    for folder in folders:
        check_results(folder)
    for folder in dict.fromkeys(folders):
        print(f"report: {' and '.join(map(str, write(folder, progress=not quiet)))}")


@app.command()
def bench(
    suite: Annotated[
        Path | None,
        typer.Argument(help="Benchmark suite (YAML) [default: a built-in one on synthetic tiles]"),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Run two short rounds, as a check")] = False,
    data: Annotated[str | None, typer.Option(help="Data set to use instead of the suite's")] = None,
    backbone: Annotated[str | None, typer.Option(help="Backbone to use instead of the suite's")] = None,
    run: Annotated[
        str | None, typer.Option(help="Finished run to predict with instead of the suite's")
    ] = None,
    reference_run: Annotated[
        str | None, typer.Option(help="Finished run to compare with instead of the suite's")
    ] = None,
    scene: Annotated[str | None, typer.Option(help="Raster to map instead of the suite's")] = None,
    labelled_scenes: Annotated[
        str | None, typer.Option(help="Folder of labelled scenes instead of the suite's")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the report", rich_help_panel=OUTPUT)] = Path(
        "docs/results"
    ),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure speed and memory of training and prediction in fresh processes."""
    from orbitune.bench.report import format_figure, format_ratio, warnings
    from orbitune.bench.runner import Bench
    from orbitune.bench.suites import BUILT_IN, Suite

    chosen = (Suite.load(suite) if suite else Suite.make(BUILT_IN)).with_inputs(
        data=data,
        backbone=backbone,
        run=run,
        reference_run=reference_run,
        scene=scene,
        labelled_scenes=labelled_scenes,
    )
    command = shlex.join(["orbitune", *sys.argv[1:]])
    made = Bench(chosen.quick() if quick else chosen, out, command)
    results = made.run(lambda line: None if quiet else print(line, file=sys.stderr), not quiet)
    if as_json:
        print_json(results.to_json())
        return
    for each in results.comparisons:
        print(f"{each.title}: {format_ratio(each)}, {each.verdict}")
    for figure in results.figures:
        print(f"{figure.title}: {format_figure(figure)}, {figure.verdict}")
    for line in warnings(results):
        print(f"warning: {line}", file=sys.stderr)
    print_inputs(results.data, results.backbone.summary)
    print(f"report: {made.report}")
