"""How the runs were made: each run, the trials, plans, settings, data, surroundings."""

from collections.abc import Callable
from typing import Any

import yaml

from orbitune.study.display_names import method_name, run_name
from orbitune.study.report import formatting as fmt
from orbitune.study.report.components import CodeBlock, Collapsible, Component, Table
from orbitune.study.report.view_model import MethodRow, ReportView, Run


def run_table(view: ReportView) -> Table:
    """Every finished run by itself, sweeps included."""

    def cells(run: Run) -> list[str]:
        result, digits = run["result"], view.digits
        test, cost = result["test"], result["cost"]
        return [
            run_name(run),
            fmt.percent(result["validation"]["accuracy"], digits),
            fmt.with_interval((test["accuracy"], *test["interval"]), digits),
            fmt.percent(test["macro_f1"], digits),
            f"{result['best_epoch']} of {len(result['history'])}",
            fmt.seconds(cost["seconds_per_epoch"]),
            fmt.three_digits(cost["images_per_second"]),
            fmt.size(fmt.memory(cost)),
            fmt.seconds(cost["cpu_seconds"]),
            result["recipe_hash"],
        ]

    header = [
        "Run",
        "Validation accuracy",
        "Test accuracy (95 % interval)",
        "Macro-F1",
        "Epoch kept",
        "Train time per epoch",
        "Images per second",
        "Peak memory",
        "CPU time",
        "Recipe",
    ]
    shared = "" if view.timings_comparable else "; the times are of runs beside each other"
    return Table(f"Every finished run, intervals by Wilson{shared}", header, [*map(cells, view.done)])


def trial_table(view: ReportView) -> Table:
    def cells(trial: dict[str, Any]) -> list[str]:
        accuracy, seconds = trial["validation_accuracy"], trial["seconds"]
        return [
            method_name(trial["method"]),
            trial["split"],
            f"{trial['learning_rate']:g}",
            f"{trial['epochs']}",
            fmt.NOTHING if accuracy is None else fmt.percent(accuracy, view.digits),
            fmt.NOTHING if seconds is None else fmt.seconds(seconds),
            "chosen" if trial["chosen"] else fmt.one_line(trial.get("error", "")),
        ]

    header = ["Method", "Split", "Learning rate", "Epochs", "Validation accuracy", "Time", "Outcome"]
    return Table("Trials of the learning rate", header, [cells(trial) for trial in view.results["trials"]])


def plan_table(view: ReportView) -> Table | None:
    """What was planned for a method beside what its first run measured."""
    planned: dict[str, Run] = {}
    for run in view.results["runs"]:
        if run.get("plan"):
            planned.setdefault(run["method"], run)
    rows = [
        [f"{method_name(method)}, {quantity}", *cells]
        for method, run in planned.items()
        for quantity, *cells in _plan_rows(run["plan"], run["result"] if run["status"] == "done" else None)
    ]
    header = ["Method and quantity", "Planned", "Measured", "Error of the plan"]
    return Table("What was planned before the runs, and what came", header, rows) if rows else None


def _plan_rows(plan: dict[str, Any], result: dict[str, Any] | None) -> list[list[str]]:
    measured = {**result["cost"], **result["parameters"]} if result else {}
    planned = {**plan, **plan["parameters"]}
    quantities: tuple[tuple[str, str, Callable[[float], str]], ...] = (
        ("time per epoch", "seconds_per_epoch", fmt.seconds),
        ("peak memory", "peak_rss_bytes", fmt.size),
        ("size on disk", "artefact_bytes", fmt.size),
        ("trainable parameters", "trainable", "{:,}".format),
    )
    rows = []
    for name, key, write in quantities:
        before, after = planned[key], measured.get(key)
        error = f"{100 * (before / after - 1):+.1f} %" if before is not None and after else fmt.NOTHING
        values = [fmt.NOTHING if value is None else write(value) for value in (before, after)]
        rows.append([name, *values, error])
    return rows


def difference_table(view: ReportView) -> Table | None:
    """The settings in which the resolved recipes of the methods differ."""
    recipes = [_flat(_shared_settings(row)) for row in view.rows]
    if len(recipes) < 2:
        return None
    rows = [
        [name, *(fmt.one_line(recipe.get(name)) for recipe in recipes)]
        for name in recipes[0]
        if any(recipe.get(name) != recipes[0][name] for recipe in recipes)
    ]
    return Table("Settings that differ", ["Setting", *(row.title for row in view.rows)], rows)


def _flat(recipe: dict[str, Any]) -> dict[str, Any]:
    """Groups of settings opened into `group.name`."""
    flat: dict[str, Any] = {}
    for name, value in recipe.items():
        flat |= (
            {f"{name}.{part}": v for part, v in value.items()} if isinstance(value, dict) else {name: value}
        )
    return flat


def recipes(view: ReportView) -> list[Component]:
    """The recipe as it was asked for, then as each method resolved it, folded."""
    asked = [("The recipe all methods share", view.results["recipe"])]
    resolved = [(_resolved_title(row), _shared_settings(row)) for row in view.rows]
    return [
        Collapsible(title, [CodeBlock(yaml.safe_dump(recipe, sort_keys=False), "yaml")])
        for title, recipe in asked + resolved
    ]


def _resolved_title(row: MethodRow) -> str:
    first = row.runs[0]["result"]["recipe_hash"]
    if len(row.runs) == 1:
        return f"As resolved for {row.title} ({first})"
    return f"As resolved for {row.title}, {len(row.runs)} runs, the first of which is {first}"


def _shared_settings(row: MethodRow) -> dict[str, Any]:
    """The recipe of the first run; where others differ in a setting, the values of all."""
    every = [run["result"]["recipe"] for run in row.runs]
    return {
        name: value
        if all(recipe[name] == value for recipe in every)
        else _distinct([recipe[name] for recipe in every])
        for name, value in every[0].items()
    }


def _distinct(values: list[Any]) -> list[Any]:
    return [value for place, value in enumerate(values) if value not in values[:place]]


def data_facts(view: ReportView) -> list[tuple[str, str]]:
    data = view.results["data"]
    sizes = {
        split: group.runs[0]["result"].get("data", data)["sizes"]
        for split in view.splits
        for group in view.on(split)[:1]
    } or {"": data["sizes"]}
    tiles = [
        (fmt.capital(f"{view.split_name(split)} tiles".strip()), _counts(counts))
        for split, counts in sizes.items()
    ]
    return [
        ("Source", data["source"]),
        *tiles,
        ("Classes", f"{len(data['classes'])}: {', '.join(data['classes'])}"),
        ("Tile size", f" {fmt.TIMES} ".join(map(str, data["tile_size"])) + " pixels"),
        ("Fingerprint", data["fingerprint"]),
    ]


def _counts(sizes: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {split}" for split, count in sizes.items())


def environment_facts(view: ReportView) -> list[tuple[str, str]]:
    facts = dict(view.results["environment"])
    facts["memory"] = fmt.size(facts.pop("memory_bytes"))
    engine = view.results.get("engine")
    if engine:
        facts["runs at once"] = f"{engine['jobs']}, {engine['threads']} threads each ({engine['name']})"
    return [(name, "none" if value is None else str(value)) for name, value in facts.items()]
