"""Commands for single runs: `plan`, `train`, `methods`, `backbones`.

Also the hidden commands that a study calls.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orbitune.cli.help import OUTPUT, CommandSet
from orbitune.cli.options import OUT_HELP, Json, MemoryBudget, Quiet, TimeBudget, Track, split_names
from orbitune.cli.output import print_inputs, print_json, print_scores, print_table
from orbitune.cli.recipe_options import MakeRecipe, default_out, recipe_options
from orbitune.errors import OrbituneError

if TYPE_CHECKING:
    from orbitune.models.factory import MethodDescription
    from orbitune.models.metadata import ParameterCounts

app = CommandSet("Data and training")

_CLASSES = 10  # that the parameters of methods are counted for


@app.command()
@recipe_options("method")
def plan(
    make_recipe: MakeRecipe,
    methods: Annotated[
        str | None,
        typer.Option(help="Methods to plan, such as full,lora [default: the recipe's]"),
    ] = None,
    backbones: Annotated[
        str | None,
        typer.Option(help="Backbones to plan, in place of --backbone: hub ids or folders"),
    ] = None,
    memory_budget: MemoryBudget = None,
    time_budget: TimeBudget = None,
    tune: Annotated[
        int, typer.Option(help="Also the trials and time of each search of study --tune; 0 for none")
    ] = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Estimate parameters, time, memory and disk space from a few measured steps."""
    named, asked = split_names("--methods", methods), split_names("--backbones", backbones)
    recipes = [make_recipe(method=method) for method in named] or [make_recipe()]
    from orbitune.study.budget import fit_budget
    from orbitune.study.budget_records import Budget
    from orbitune.study.grid import Grid
    from orbitune.study.plan import plan_methods, plan_table
    from orbitune.study.tune.cost import search_cost
    from orbitune.study.tune.search import check_count

    check_count(tune)
    specs = Grid.of(backbones=asked).runs(recipes)
    recipes, arms = [spec.recipe for spec in specs], [spec.arm for spec in specs]
    budget = Budget.parse(memory_budget, time_budget)
    choices: list[str] = []
    if budget:
        fits = [fit_budget(recipe, budget) for recipe in recipes]
        plans = [fit.plan for fit in fits]
        choices = [f"{arm}: {choice}" for arm, fit in zip(arms, fits, strict=True) for choice in fit.choices]
    else:
        plans = plan_methods(recipes, not quiet)
    if as_json:
        tuning = {"tuning": [search_cost(tune, plan).to_json() for plan in plans]} if tune else {}
        print_json({"plans": [plan.to_json() for plan in plans], "choices": choices, **tuning})
        return
    for choice in choices:
        print(choice)
    print_table(*plan_table(plans, tune=tune))
    print_inputs(plans[0].data, "; ".join(dict.fromkeys(plan.backbone.summary for plan in plans)))


@app.command()
@recipe_options()
def train(
    make_recipe: MakeRecipe,
    out: Annotated[
        Path | None, typer.Option("--out", help=f"Run folder; {OUT_HELP}-METHOD]", rich_help_panel=OUTPUT)
    ] = None,
    memory_budget: MemoryBudget = None,
    time_budget: TimeBudget = None,
    track: Track = None,
    report: Annotated[
        bool, typer.Option("--report/--no-report", help="Write report.html", rich_help_panel=OUTPUT)
    ] = True,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fine-tune a backbone on tiles; transformers and PEFT can load the result."""
    recipe = make_recipe()
    from orbitune.data.labels.early_checks import check_tiles
    from orbitune.models.methods import find_method
    from orbitune.processes.fork_server import forked_server
    from orbitune.study.budget import fit_recipe
    from orbitune.study.budget_records import Budget
    from orbitune.training.callbacks import Callback
    from orbitune.training.duration.extension import is_finished
    from orbitune.training.run import train as run
    from orbitune.training.setup import check_recipes
    from orbitune.training.tracking.trackers import make_trackers

    out = out or default_out(recipe, recipe.method)
    callbacks: list[Callback] = [*make_trackers(track or (), out)]
    budget = Budget.parse(memory_budget, time_budget)
    check_recipes(recipe)
    if budget:
        recipe, keeper = fit_recipe(recipe, budget, folder=out, say=lambda line: print(line, file=sys.stderr))
        callbacks.append(keeper)
    if not (finished := is_finished(recipe, out)):
        check_tiles([recipe.anchored()], progress=not quiet)
    with nullcontext() if finished or "RANK" in os.environ else forked_server():
        result = run(recipe, out, callbacks=callbacks, progress=not quiet)
    if os.environ.get("RANK", "0") != "0":
        return  # under torchrun the first process reports
    written = report and _write_report(out, finished=finished, progress=not quiet)
    if as_json:
        print_json(result.to_json())
        return
    print_scores("test", result.test, of=result.split_name, whose=result.backbone.runs)
    saved = out / find_method(recipe.method).folder
    if finished:
        print(f"{saved} exists already: the run is finished")
    else:
        print(
            f"saved {saved} ({result.cost.artefact_bytes / 1e6:.1f} MB); reloaded in another process, its "
            f"logits differ by {result.reload_check.largest_difference:.1g}"
        )
    print_inputs(result.data, result.backbone.summary)
    if written:
        print(f"report: {written}")


def _write_report(run: Path, *, finished: bool, progress: bool) -> Path | None:
    """Write the report of a run that has ended; what prevents it is a warning, as the run is done.

    Args:
        run: its folder.
        finished: whether it was finished before, and may have its report.
        progress: show progress on stderr.
    """
    from orbitune.training.run_report.writer import FILE, write_run_report

    if finished and (run / FILE).is_file():
        return run / FILE
    try:
        return write_run_report(run, progress=progress)
    except OrbituneError as error:
        print(f"no {FILE} was written: {error}", file=sys.stderr)
        return None


@app.command()
def methods(
    backbone: Annotated[
        str | None, typer.Option(help="Hub id, folder or demo: count the parameters of each method on it")
    ] = None,
    classes: Annotated[
        int | None, typer.Option(min=1, help=f"Number of classes, with --backbone ({_CLASSES} if not given)")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the fine-tuning methods; with --backbone also their trainable parameters and file sizes."""
    if backbone is None and classes is not None:
        raise OrbituneError("--classes needs --backbone, on which parameters are counted.")
    from orbitune.models.factory import describe_methods
    from orbitune.models.methods import METHODS

    described = describe_methods(backbone, classes or _CLASSES)
    if as_json:
        counted = None if backbone is None else classes or _CLASSES
        print_json({"backbone": backbone, "classes": counted, "methods": [m.to_json() for m in described]})
        return
    print_table(*_methods_table(described), prose=("what is trained", "from"))
    if backbone is None:
        print("--backbone counts the trained parameters on a backbone, such as --backbone demo.")
    elif left_out := METHODS.keys() - {each.name for each in described}:
        print(f"These methods cannot adapt {backbone} at their defaults: {', '.join(sorted(left_out))}.")


def _methods_table(described: "Sequence[MethodDescription]") -> tuple[list[str], list[list[str]]]:
    """Return header and rows of a table with one row per method."""
    counted = ["trained", "of", "saved"] if described[0].parameters else []
    header = ["method", *counted, "as", "merges", "learning rate", "what is trained", "from"]
    rows = [
        [
            method.name,
            *(_parameter_cells(method.parameters) if method.parameters else ()),
            method.folder,
            "yes" if method.merges else "is whole",
            f"{method.learning_rate:g}",
            method.summary,
            method.paper,
        ]
        for method in described
    ]
    return header, rows


def _parameter_cells(counts: "ParameterCounts") -> tuple[str, str, str]:
    """Return trained and all parameters, and the size of the saved file."""
    return f"{counts.trainable:,}", f"{counts.total:,}", f"{counts.stored_bytes / 1e6:,.2f} MB"


@app.command()
def backbones(as_json: Json = False) -> None:
    """List the backbone families, and for each some checkpoints of the hub with size and licence."""
    from orbitune.models.families.checkpoints import backbones_table, describe_backbones

    described = describe_backbones()
    if as_json:
        print_json({"backbones": [each.to_json() for each in described]})
        return
    print_table(*backbones_table(described), prose=("checkpoint",))
    for title, reason in {each.title: each.why_not_fast for each in described if each.why_not_fast}.items():
        print(f"{title} is computed by transformers: {reason}.")


@app.command(hidden=True)
@recipe_options()
def trial(
    make_recipe: MakeRecipe,
    stop_after: Annotated[int, typer.Option("--stop-after", min=1, help="Epochs to train")],
    out: Annotated[Path, typer.Option("--out", help="Trial folder; run the same command again to continue")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train the first epochs of a run and score them on validation.

    Used by `study --tune`.
    """
    from orbitune.training.run_folder import describe_validation
    from orbitune.training.trial import trial as run

    result = run(make_recipe(), out, epochs=stop_after, progress=not quiet)
    if as_json:
        print_json(result.to_json())
    else:
        print(f"validation {describe_validation(result.history[-1])}")


@app.command(hidden=True)
def robustness(
    run: Annotated[Path, typer.Argument(help="Finished run folder")],
    tiles: Annotated[int, typer.Option("--tiles", min=1, help="Validation tiles to corrupt")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a finished run on corrupted validation tiles.

    Used by `study --robustness`.
    """
    from orbitune.training.corruption_scores import score_robustness

    scores = score_robustness(run, tiles, progress=not quiet)
    if as_json:
        print_json(scores.to_json())
    else:
        print(scores.describe())
