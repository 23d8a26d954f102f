"""The command line: one thin function per verb, which reads options, calls the library and prints."""

import gc
import json
import os
import shlex
import signal
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from orbitune.cli import deploy
from orbitune.cli.options import MakeRecipe, recipe_options
from orbitune.cli.output import Json, OutputError, Quiet, ReaderGone, guarded_streams, print_json, print_table
from orbitune.errors import Interrupted, OrbituneError
from orbitune.recipe import Recipe
from orbitune.recipe_paths import data_name

app = typer.Typer(
    name="orbitune",
    help="Fine-tune vision transformers on satellite tiles, and prove what the cheap way loses.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(deploy.app)

_OUT = "the same command goes on in it [default: runs/DATA-BACKBONE"

MemoryBudget = Annotated[
    str | None, typer.Option("--memory-budget", help="Change the recipe to fit into this, such as 1.5GB")
]
TimeBudget = Annotated[
    str | None, typer.Option("--time-budget", help="Change the recipe to end in this, such as 30min")
]
Methods = Annotated[str, typer.Option("--methods", help="Methods to compare, such as full,linear,lora")]


def main() -> None:
    """Run the command line.

    A user error is one line on stderr and exit code 2, a full or closed standard output too; SIGINT is 130,
    and 141 where the reader of a pipe has gone.
    """
    warnings.filterwarnings("ignore", category=FutureWarning)  # libraries talking to each other
    # Threads that turn in circles for long while they wait are twenty times slower on a machine that does
    # something else as well; a few microseconds are enough on one that does not.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    # Libraries make a million objects that stay; looking for cycles among them was a seventh of a start.
    gc.set_threshold(50_000)
    signal.signal(signal.SIGINT, _interrupt)
    with guarded_streams():
        try:
            code = _run()
            sys.stdout.flush()
        except OutputError as error:
            print(f"error: {error}", file=sys.stderr)
            code = 2
        except ReaderGone:
            code = 128 + getattr(
                signal, "SIGPIPE", 13
            )  # Windows has none; as any program that a closed pipe ends
    sys.exit(code)


def _run() -> int:
    """Run a command and return its exit code."""
    try:
        app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except OutputError:
        raise
    except OrbituneError as error:
        if "--json" in sys.argv:
            kind = {"kind": error.kind} if error.kind else {}
            print(json.dumps({"error": str(error), **kind}))
        else:
            print(f"error: {error}", file=sys.stderr)
        return 2
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return 130
    return 0


def _interrupt(number: int, frame: object) -> None:
    """Typer would end on KeyboardInterrupt without a word."""
    raise Interrupted("Stopped. The same command starts again, from what is saved.")


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(version("orbitune"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    pass


@app.command()
@recipe_options("method")
def prepare(
    make_recipe: MakeRecipe,
    check_leaks: Annotated[
        bool, typer.Option("--check-leaks", help="Look for near-duplicates of tiles across the splits")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Decode the tiles and fetch the backbone, so that later commands start at once."""
    from orbitune.data.near_duplicates import describe_near_duplicates, find_near_duplicates
    from orbitune.training.setup import prepare_training

    job = prepare_training(make_recipe(), not quiet)
    data, backbone = job.data_facts(), job.backbone_facts()
    leaks = find_near_duplicates(job.tiles, job.splits) if check_leaks else []
    if as_json:
        print_json({"data": data, "backbone": backbone, **({"leaks": leaks} if check_leaks else {})})
        return
    _print_inputs(data, backbone)
    for leak in leaks:
        print(f"  leaks: {describe_near_duplicates(leak)}")
    for name, reason in job.tiles.skipped:
        print(f"  skipped {name}: {reason}")


@app.command()
@recipe_options("method")
def plan(
    make_recipe: MakeRecipe,
    methods: Annotated[str | None, typer.Option(help="Methods to plan (default: the recipe's)")] = None,
    memory_budget: MemoryBudget = None,
    time_budget: TimeBudget = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Print what training will cost, from a few measured steps, before anything is trained."""
    from orbitune.study.budget import Budget, fit_budget
    from orbitune.study.plan import plan_methods, plan_table

    recipes = [make_recipe(method) for method in _names(methods)] if methods else [make_recipe()]
    budget = Budget.parse(memory_budget, time_budget)
    choices: list[str] = []
    if budget:
        fits = [fit_budget(recipe, budget) for recipe in recipes]
        plans = [fit.plan for fit in fits]
        choices = [f"{fit.recipe.method}: {choice}" for fit in fits for choice in fit.choices]
    else:
        plans = plan_methods(recipes, not quiet)
    if as_json:
        print_json({"plans": plans, "choices": choices})
        return
    for choice in choices:
        print(choice)
    print_table(*plan_table(plans))
    _print_inputs(plans[0]["data"], plans[0]["backbone"])


@app.command()
@recipe_options()
def train(
    make_recipe: MakeRecipe,
    out: Annotated[Path | None, typer.Option("--out", help=f"Run folder; {_OUT}-METHOD]")] = None,
    memory_budget: MemoryBudget = None,
    time_budget: TimeBudget = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fine-tune a backbone on tiles, and save what plain transformers and PEFT can load."""
    from dataclasses import asdict

    from orbitune.models.methods import find_method
    from orbitune.study.budget import Budget, fit_recipe
    from orbitune.training.run import train as run

    recipe = make_recipe()
    out = out or _default_out(recipe, recipe.method)
    if budget := Budget.parse(memory_budget, time_budget):
        recipe = fit_recipe(recipe, budget, out, lambda line: print(line, file=sys.stderr))
    finished = (out / "result.json").exists()
    result = run(recipe, out, not quiet)
    if os.environ.get("RANK", "0") != "0":
        return  # under torchrun the first process reports
    if as_json:
        print_json(asdict(result))
        return
    _print_scores("test", result.test)
    saved = out / find_method(recipe.method).folder
    if finished:
        print(f"{saved} was finished before; nothing was done")
    else:
        print(
            f"saved {saved} ({result.cost['artefact_bytes'] / 1e6:.1f} MB); reloaded in a fresh process, its "
            f"logits differ by {result.proof['largest_difference']:.1g}"
        )
    _print_inputs(result.data, result.backbone)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A finished run folder")],
    split: Annotated[str, typer.Option(help="train, validation or test")] = "test",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a finished run again, from what it left on disk."""
    from orbitune.evaluation.run_result import RunResult
    from orbitune.training.evaluate import evaluate as score_run

    scores = score_run(run, split, not quiet)
    if as_json:
        print_json(scores)
        return
    _print_scores(split, scores)
    rows = [
        [c["name"], *(f"{c[part]:.3f}" for part in ("precision", "recall", "f1")), f"{c['support']:,}"]
        for c in scores["per_class"]
    ]
    print_table(["class", "precision", "recall", "F1", "tiles"], rows)
    result = RunResult.load(run)
    _print_inputs(result.data, result.backbone)


@app.command(hidden=True)
@recipe_options()
def trial(
    make_recipe: MakeRecipe,
    stop_after: Annotated[int, typer.Option("--stop-after", min=1, help="Epochs to train")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the trial; the same command goes on in it")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train the first epochs of a run and judge them on validation; a study tunes with it."""
    from dataclasses import asdict

    from orbitune.training.trial import trial as run

    result = run(make_recipe(), out, stop_after, not quiet)
    if as_json:
        print_json(asdict(result))
    else:
        print(f"validation accuracy {result.history[-1]['validation_accuracy']:.2%}")


@app.command(hidden=True)
def robustness(
    run: Annotated[Path, typer.Argument(help="A finished run folder")],
    tiles: Annotated[int, typer.Option("--tiles", min=1, help="Validation tiles to try it on")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a finished run on corrupted validation tiles; a study asks for it."""
    from orbitune.evaluation.robustness import robustness_sentence
    from orbitune.training.corruption_scores import try_robustness

    scores = try_robustness(run, tiles, not quiet)
    if as_json:
        print_json(scores)
    else:
        print(robustness_sentence(scores))


@app.command()
def methods(
    backbone: Annotated[str, typer.Option(help=str(Recipe.model_fields["backbone"].description))] = "demo",
    classes: Annotated[int, typer.Option(min=1, help="Classes of the head")] = 10,
    as_json: Json = False,
) -> None:
    """List the fine-tuning methods, with what each trains of a backbone and what it saves."""
    from orbitune.models.factory import describe_methods, methods_table

    described = describe_methods(backbone, classes)
    if as_json:
        print_json({"backbone": backbone, "classes": classes, "methods": described})
        return
    print_table(*methods_table(described), prose=("what is trained", "from"))


@app.command()
@recipe_options("method", "shots")
def study(
    make_recipe: MakeRecipe,
    out: Annotated[Path | None, typer.Option("--out", help=f"Study folder; {_OUT}]")] = None,
    methods: Methods = "full,linear,lora",
    seeds: Annotated[str | None, typer.Option(help="How many seeds, or which: 3 or 0,1,2")] = None,
    splits: Annotated[str | None, typer.Option(help="Splits to compare on: random,spatial")] = None,
    shots: Annotated[
        str | None, typer.Option(help="Sweep: training tiles per class, such as 1,5,10,all")
    ] = None,
    ranks: Annotated[
        str | None, typer.Option(help="Sweep: ranks of the methods that have one, such as 4,8,16")
    ] = None,
    image_sizes: Annotated[str | None, typer.Option(help="Sweep: input sizes, such as 64,112")] = None,
    tune: Annotated[int, typer.Option(help="Learning rates to try for each method and split")] = 0,
    jobs: Annotated[int | None, typer.Option(help="Runs at once, which share the cores [default: 1]")] = None,
    engine: Annotated[str, typer.Option(help="local, or ray: the machines of a Ray cluster")] = "local",
    robustness: Annotated[
        int,
        typer.Option(
            help="Validation tiles on which the first seed of each method is tried with haze, noise, blur, "
            "brightness and lost lines"
        ),
    ] = 0,
    as_json: Json = False,
) -> None:
    """Compare fine-tuning methods on the same tiles, and write the report.

    Every method is run with every seed on every split; a sweep changes one setting and leaves the others.
    """
    from orbitune.study.grid import Grid
    from orbitune.study.report import failure_lines, terminal_table
    from orbitune.study.runner import Study

    recipes = tuple(make_recipe(method) for method in _names(methods))
    out = out or _default_out(make_recipe())
    command = shlex.join(["orbitune", *sys.argv[1:]])
    grid = Grid.parse(seeds, splits, shots, ranks, image_sizes, make_recipe().seed)
    results = Study(recipes, out, command, grid, tune, jobs, engine, robustness).run(
        lambda line: print(line, file=sys.stderr), live=sys.stderr.isatty()
    )
    if as_json:
        print_json(results)
    else:
        print_table(*terminal_table(results))
        for line in failure_lines(results):
            print(line)
        print(f"\n{conclusions_text(results)}")
        _print_inputs(results["data"], results["backbone"])
        print(f"report: {out / 'report.html'} and {out / 'report.md'}")
    if any(run["status"] != "done" for run in results["runs"]):
        sys.exit(1)


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(help="Folders of studies, with their results.json")],
) -> None:
    """Write the report of a study again, from its results.json alone."""
    from orbitune.study.report import write_report
    from orbitune.study.results import read_results

    for folder in folders:
        write_report(read_results(folder), folder)
        print(f"report: {folder / 'report.html'} and {folder / 'report.md'}")


@app.command()
def bench(
    suite: Annotated[Path | None, typer.Argument(help="A suite (YAML) [default: synthetic tiles]")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Two short rounds, to see that it works")] = False,
    data: Annotated[str | None, typer.Option(help="Data in place of the suite's")] = None,
    backbone: Annotated[str | None, typer.Option(help="Backbone in place of the suite's")] = None,
    run: Annotated[
        str | None, typer.Option(help="A finished run in place of the suite's, to predict with")
    ] = None,
    scene: Annotated[str | None, typer.Option(help="A raster in place of the suite's, to map")] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the report")] = Path("docs/results"),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare ways to train or to predict, in turn, each in fresh processes: speed and memory."""
    from orbitune.bench.report import ratio_words, warnings
    from orbitune.bench.runner import Bench
    from orbitune.bench.suites import BUILT_IN, Suite

    chosen = (Suite.load(suite) if suite else Suite.make(BUILT_IN)).on(data, backbone, run, scene)
    command = shlex.join(["orbitune", *sys.argv[1:]])
    made = Bench(chosen.quick() if quick else chosen, out, command)
    results = made.run(lambda line: None if quiet else print(line, file=sys.stderr), not quiet)
    if as_json:
        print_json(results)
        return
    for each in results["comparisons"]:
        print(f"{each['title']}: {ratio_words(each)}, {each['verdict']}")
    for line in warnings(results):
        print(f"warning: {line}", file=sys.stderr)
    _print_inputs(results["data"], results["backbone"])
    print(f"report: {made.report}")


def _default_out(recipe: Recipe, *more: str) -> Path:
    """A folder under runs/ that is named after the data and the backbone."""
    data = data_name(recipe.data).replace(" ", "-")
    return Path("runs") / "-".join([data, Path(recipe.backbone).name, *more])


def _names(methods: str) -> list[str]:
    return [name.strip() for name in methods.split(",") if name.strip()]


def _print_inputs(data: dict[str, Any], backbone: dict[str, Any]) -> None:
    """What the figures rest on: the tiles, what was done to them, and the weights."""
    sizes = ", ".join(f"{count:,} {name}" for name, count in data["sizes"].items())
    print(f"tiles: {data['source']}; {sizes}; {len(data['classes'])} classes")
    for note in data["notes"]:
        print(f"  {note}")
    if data["skipped"]:
        print(f"  {data['skipped']:,} images were skipped")
    print(f"backbone: {backbone['description']}")


def _print_scores(split: str, scores: dict[str, Any]) -> None:
    low, high = scores["interval"]
    print(
        f"{split} accuracy {scores['accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%}, "
        f"{scores['count']:,} tiles), macro-F1 {scores['macro_f1']:.4f}"
    )


if __name__ == "__main__":
    main()
