"""Details of the runs: each run, plans, settings, data and environment."""

from collections.abc import Callable
from typing import Any

import yaml

from orbitune.evaluation.run_result import RunResult
from orbitune.evaluation.statistics.sentences import with_sign
from orbitune.records import flatten
from orbitune.reporting import formatting as fmt
from orbitune.reporting.components import CodeBlock, Collapsible, Component, Table
from orbitune.study.display_names import fold_name, method_name, run_name
from orbitune.study.records import Plan, RunRecord
from orbitune.study.report.split_origins import scored_on_each
from orbitune.study.report.view_model import MeanCost, MethodRow, ReportView


def run_table(view: ReportView) -> Table:
    """Return a table of every finished run, sweeps included."""

    def cells(run: RunRecord) -> list[str]:
        result, digits = run.finished, view.digits
        test, cost = result.test, result.cost
        return [
            run_name(run),
            fmt.percent(result.validation.accuracy, digits),
            fmt.with_interval((test.accuracy, *test.interval), digits),
            fmt.with_interval((test.macro_f1, *test.interval_of_macro_f1), digits),
            f"{result.best_epoch} of {len(result.history)}",
            fmt.seconds(cost.seconds_per_epoch),
            fmt.three_digits(cost.images_per_second),
            fmt.size(MeanCost.over([run]).peak_memory),
            fmt.seconds(cost.cpu_seconds),
            result.recipe_hash,
        ]

    header = [
        "Run",
        "Validation accuracy",
        "Test accuracy (95 % interval)",
        "Macro-F1 (95 % interval)",
        "Epoch kept",
        "Train time per epoch",
        "Images per second",
        "Peak memory",
        "CPU time",
        "Recipe",
    ]
    tiles = f"{scored_on_each(view, part='validation')}, and on {scored_on_each(view)}"
    caption = f"All finished runs, on {tiles}, with Wilson intervals, of macro-F1 by a bootstrap"
    return Table(caption + shared_times(view), header, [*map(cells, view.results.done)])


def planned_costs_table(view: ReportView) -> Table | None:
    """Return a table of each method's plan beside the measured cost of its first run."""
    planned: dict[str, tuple[Plan, RunResult | None]] = {}
    for run in view.results.runs:
        if run.plan:
            planned.setdefault(run.method, (run.plan, run.result))
    rows = [
        [f"{method_name(method)}, {quantity}", *cells]
        for method, (plan, result) in planned.items()
        for quantity, *cells in _plan_rows(plan, result)
    ]
    header = ["Method and quantity", "Planned", "Measured", "Error of the plan"]
    caption = f"Planned cost, measured cost and the error of the plan{shared_times(view)}"
    return Table(caption, header, rows) if rows else None


def shared_times(view: ReportView) -> str:
    """Return the end of a caption where wall-clock times are of runs that shared the machine."""
    return "; times are of runs that shared the machine" if view.shared_machine else ""


def _plan_rows(plan: Plan, result: RunResult | None) -> list[list[str]]:
    cost = result.cost if result else None
    trained = result.parameters.trainable if result else None
    quantities: tuple[tuple[str, float, float | None, Callable[[float], str]], ...] = (
        ("time per epoch", plan.seconds_per_epoch, cost.seconds_per_epoch if cost else None, fmt.seconds),
        ("peak memory", plan.peak_rss_bytes, cost.peak_rss_bytes if cost else None, fmt.size),
        ("size on disk", plan.artefact_bytes, cost.artefact_bytes if cost else None, fmt.size),
        ("trainable parameters", plan.parameters.trainable, trained, "{:,}".format),
    )
    rows = []
    for name, expected, value, write in quantities:
        error = f"{with_sign(100 * (expected / value - 1), '+.1f')} %" if value else fmt.NOTHING
        rows.append([name, write(expected), fmt.NOTHING if value is None else write(value), error])
    return rows


def difference_table(view: ReportView) -> Table | None:
    """Return a table of the settings in which the methods' recipes differ."""
    recipes = [flatten(_shared_settings(row)) for row in view.rows]
    if len(recipes) < 2:
        return None
    rows = [
        [name, *(fmt.single_line(recipe.get(name)) for recipe in recipes)]
        for name in recipes[0]
        if any(recipe.get(name) != recipes[0][name] for recipe in recipes)
    ]
    return Table("Settings that differ", ["Setting", *(row.title for row in view.rows)], rows)


def recipes(view: ReportView) -> list[Component]:
    """Return the shared recipe, then the resolved recipe of each method, collapsed."""
    shared = [("Recipe that all methods share", view.results.shared_settings)]
    resolved = [(_resolved_title(row), _shared_settings(row)) for row in view.rows]
    return [
        Collapsible(title, [CodeBlock(yaml.safe_dump(recipe, sort_keys=False), "yaml")])
        for title, recipe in shared + resolved
    ]


def _resolved_title(row: MethodRow) -> str:
    first = row.runs[0].finished.recipe_hash
    if len(row.runs) == 1:
        return f"Resolved for {row.title} ({first})"
    return f"Resolved for {row.title}, {len(row.runs)} runs, first run {first}"


def _shared_settings(row: MethodRow) -> dict[str, Any]:
    """Return the recipe of a method.

    A setting in which its runs differ lists all values.
    """
    # Of older versions, the settings that there were.
    every = [run.finished.recipe.model_dump(mode="json", exclude_unset=True) for run in row.runs]
    return {
        name: value
        if all(recipe[name] == value for recipe in every)
        else _distinct([recipe[name] for recipe in every])
        for name, value in every[0].items()
        if all(name in recipe for recipe in every)
    }


def _distinct(values: list[Any]) -> list[Any]:
    return [value for place, value in enumerate(values) if value not in values[:place]]


def data_pairs(view: ReportView) -> list[tuple[str, str]]:
    """Return names and values that describe the data."""
    data = view.results.data
    sizes = {
        split: group.runs[0].finished.data.sizes
        for split in view.splits
        for group in view.groups_on(split)[:1]
    } or {"": data.sizes}
    first = f" of {fold_name(f'1/{view.folds}')}" if view.folds else ""
    tiles = [
        (fmt.capital(f"{view.split_name(split)} tiles{first}".strip()), _counts(counts))
        for split, counts in sizes.items()
    ]
    return [
        ("Source", data.source),
        *tiles,
        ("Classes", f"{len(data.classes)}: {', '.join(data.classes)}"),
        ("Tile size", f" {fmt.TIMES} ".join(map(str, data.tile_size or ())) + " pixels"),
        ("Fingerprint", data.fingerprint),
    ]


def _counts(sizes: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {split}" for split, count in sizes.items())


def environment_pairs(view: ReportView) -> list[tuple[str, str]]:
    """Return names and values that describe versions and hardware."""
    pairs = view.results.environment.describe()
    if executor := view.results.executor:
        threads = f"threads of each: {executor.threads}"
        pairs.append(("runs at once", f"{executor.jobs} ({executor.name}), {threads}"))
    return pairs
