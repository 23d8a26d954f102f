"""Write the report of a study: report.html (one file, nothing loaded), report.md and its figures.

Everything is said from the results alone and in the same bytes each time. Two methods whose 95 %
intervals overlap are never called different, and synthetic tiles are named wherever a number stands.
"""

import html
import re
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from orbitune.files import replacing, write_text
from orbitune.study.plots import SYNTHETIC, draw, method_name, run_name

Results = dict[str, Any]
Run = dict[str, Any]

_NOTHING = _DASH = "\N{EN DASH}"
_TIMES = "\N{MULTIPLICATION SIGN}"
_WARNING = f"{SYNTHETIC[:1].upper()}{SYNTHETIC[1:]}."


class Table(NamedTuple):
    """A caption, C column heads and rows of C cells."""

    caption: str
    header: list[str]
    rows: list[list[str]]


def write_report(results: Results, folder: Path) -> None:
    """Write report.html, report.md and figures/*.svg into `folder` from what results.json holds.

    Raises:
        OrbituneError: the folder cannot be written.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    page = _page(results)
    with replacing(Path(folder) / "figures") as figures:
        figures.mkdir()
        for panel in (panel for plate in page["plates"] for panel in plate.panels):
            (figures / f"{panel.name}.svg").write_text(panel.svg, encoding="utf-8")
    for kind in ("html", "md"):
        environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent),
            autoescape=kind == "html",
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        environment.filters["markdown"] = _markdown
        template = environment.get_template(f"report.{kind}.jinja")
        write_text(Path(folder) / f"report.{kind}", template.render(page))


def comparison_table(results: Results) -> tuple[list[str], list[list[str]]]:
    """The head and the rows, one a run, of what every run reached and cost on this machine.

    A cost carries its ratio to full fine-tuning where that was run; a failed or diverged run shows its error.
    """
    columns = _columns(results)
    header = ["Method", *(head for head, _ in columns)]
    rows = []
    for run in results["runs"]:
        if run["status"] == "done":
            cells = [cell(run["result"]) for _, cell in columns]
        else:
            cells = [f"{run['status']}: {_one_line(run['error'])}", *[""] * (len(columns) - 1)]
        rows.append([run_name(run), *cells])
    return header, rows


def verdict(results: Results) -> str:
    """What the study shows, as one paragraph of careful sentences."""
    done, failed = _done(results), [run for run in results["runs"] if run["status"] != "done"]
    sentences = [_WARNING] if results["data"]["synthetic"] else []
    if not done:
        return " ".join([*sentences, "Every run failed, so there is nothing to compare."])
    reference = _full(results) or done[0]
    others = [run for run in done if run is not reference]
    if not others:
        sentences += [_alone(reference, results)]
    several = len({run["method"] for run in done}) < len(done)
    if several:  # seeds, splits or sweeps
        sentences += [f"{len(done)} runs were finished; the table shows each of them."]
    for run in [] if several else others:
        sentences += [_against(run, reference, results)]
        # With more methods than these the table says it better.
        if reference["method"] == "full" and len(others) <= 2:
            sentences += [_saving(run["result"], reference["result"])]
    if not several and not all(_overlap(run, reference) for run in others):
        sentences += ["How far another seed would move these is not known."]
    if failed:
        sentences += [f"{_list([method_name(run['method']) for run in failed])} failed."]
    if not _full(results):
        sentences += ["Without a run of full fine-tuning no cost is compared with it."]
    return " ".join(sentence[:1].upper() + sentence[1:] for sentence in sentences)


def _page(results: Results) -> dict[str, Any]:
    """What both templates show."""
    warning = _WARNING if results["data"]["synthetic"] else ""
    created = datetime.fromisoformat(results["created"]).astimezone(timezone.utc)
    return {
        "title": _title(results),
        "created": f"{created:%Y-%m-%d %H:%M} UTC",
        "backbone": results["backbone"],
        "warning": warning,
        "verdict": verdict(results).removeprefix(warning).strip(),
        "judged": _judged(results),
        "comparison": Table(_comparison_caption(results), *comparison_table(results)),
        "plates": draw(results),
        "classes": _class_table(results),
        "plan": _plan_table(results),
        "data": _data_facts(results),
        "notes": results["data"]["notes"],
        "differences": _difference_table(results),
        "recipes": _recipes(results),
        "environment": _environment_facts(results),
        "procedure": _procedure(results),
        "command": results["command"],
    }


# Sentences


def _title(results: Results) -> str:
    names = list(dict.fromkeys(method_name(run["method"]) for run in results["runs"]))
    methods = _list(names) if len(names) <= 3 else f"{len(names)} methods"
    return f"{methods[:1].upper()}{methods[1:]} on {results['data']['name']}"


def _judged(results: Results) -> list[str]:
    """The verdicts of the study, each with the split it speaks of where there are several."""
    entries = results.get("verdicts", [])
    several = len({entry["split"] for entry in entries}) > 1
    return [
        f"{entry['split'].capitalize()} split. {sentence}" if several else sentence
        for entry in entries
        for sentence in entry["sentences"]
    ]


def _alone(run: Run, results: Results) -> str:
    test = run["result"]["test"]
    return (
        f"{method_name(run['method'])} reached {_accuracy(test, results)} test accuracy "
        f"(95 % interval {_interval(test, results)}) on {test['count']:,} test tiles from one seed. "
        "No other method was finished to compare it with."
    )


def _against(run: Run, reference: Run, results: Results) -> str:
    mine, theirs = run["result"]["test"], reference["result"]["test"]
    name, other = run_name(run), run_name(reference)
    reached = (
        f"{name} reached {_accuracy(mine, results)} test accuracy (95 % interval {_interval(mine, results)}) "
        f"against {_accuracy(theirs, results)} ({_interval(theirs, results)}) for {other}; "
        f"on {mine['count']:,} test tiles from one seed the intervals "
    )
    if _overlap(run, reference):
        return reached + "overlap, so this run cannot tell them apart."
    points = 100 * (mine["accuracy"] - theirs["accuracy"])
    side = "above" if points > 0 else "below"
    return f"{reached}do not overlap: {name} is {abs(points):.{_digits(results)}f} points {side} {other}."


def _overlap(one: Run, other: Run) -> bool:
    (low, high), (floor, ceiling) = (run["result"]["test"]["interval"] for run in (one, other))
    return low <= ceiling and floor <= high


def _saving(mine: dict[str, Any], full: dict[str, Any]) -> str:
    cost, whole = mine["cost"], full["cost"]
    return (
        f"It trained {_share(mine['parameters'])} of the parameters, took "
        f"{_ratio(cost['seconds_per_epoch'], whole['seconds_per_epoch'])} the time per epoch and "
        f"{_ratio(_memory(cost), _memory(whole))} the peak memory, and stores "
        f"{_size(cost['artefact_bytes'])} instead of {_size(whole['artefact_bytes'])}."
    )


def _procedure(results: Results) -> list[str]:
    lines = []
    for run in _done(results):
        result = run["result"]
        reads = {1: "once", 2: "twice"}.get(result["test_reads"], f"{result['test_reads']} times")
        resumed = result["cost"]["resumed"]
        lines.append(
            f"{method_name(run['method'])}: the checkpoint of epoch {result['best_epoch']} of "
            f"{len(result['history'])} had the best validation accuracy and was kept; "
            f"the test split was read {reads}, after that choice."
            + _computed(result.get("compute"))
            + _whole(result["cost"].get("run_seconds"))
            + (
                f" The run was resumed {resumed}{_TIMES}: its time and memory may be less exact."
                if resumed
                else ""
            )
        )
    return [
        *lines,
        "Intervals are 95 % Wilson score intervals (Wilson 1927). They hold the chance in which tiles were "
        "drawn for the test, not the chance in training: one seed was run.",
        "Time per epoch and images per second are of training alone, without evaluation. Peak memory is that "
        "of the whole process. CPU time adds up all cores over the whole run.",
    ]


def _computed(compute: dict[str, Any] | None) -> str:
    """How a run computed, as a sentence; nothing for a result that does not say."""
    if compute is None:
        return ""
    tiles = f"{compute['micro_batch']} tiles at a time in {compute['precision']}"
    if compute["fast"]:
        kernels = "compiled" if compute["compiled_kernels"] else "torch's"
        return f" Computed by the fast path, {tiles}, {compute['attention']} attention, {kernels} kernels."
    reason = f", as {compute['why_not_fast']}" if compute["why_not_fast"] else ""
    return f" Computed by transformers and PEFT{reason}, {tiles}."


def _whole(seconds: float | None) -> str:
    """How long a run took in all, as a sentence; nothing for a result that does not say."""
    if seconds is None:
        return ""
    return f" From the cold start of its process to the proof of what it saved: {seconds / 60:.1f} minutes."


# Tables


def _comparison_caption(results: Results) -> str:
    ratios = f"; with {_TIMES} the ratio to full fine-tuning" if _full(results) else ""
    return f"Every method, measured on this machine{ratios}"


def _columns(results: Results) -> list[tuple[str, Callable[[dict[str, Any]], str]]]:
    """The heads of the comparison and, for each, what turns a run's result into a cell."""
    columns: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
        ("Validation accuracy", lambda r: _accuracy(r["validation"], results)),
        (
            "Test accuracy (95 % interval)",
            lambda r: f"{_accuracy(r['test'], results)} ({_interval(r['test'], results)})",
        ),
        ("Macro-F1", lambda r: _percent(r["test"]["macro_f1"], results)),
        (
            "Trainable parameters",
            lambda r: f"{r['parameters']['trainable']:,} ({_share(r['parameters'])})",
        ),
        ("Train time per epoch", _cost_cell("seconds_per_epoch", _seconds, results)),
        ("Images per second", _cost_cell("images_per_second", _digits3, results)),
        ("Peak memory", _cost_cell("peak_rss_bytes", _size, results)),
        ("Size on disk", _cost_cell("artefact_bytes", _size, results)),
        ("CPU time", _cost_cell("cpu_seconds", _seconds, results)),
    ]
    if any(run["result"]["cost"]["peak_cuda_bytes"] for run in _done(results)):
        columns.insert(7, ("Peak GPU memory", _cost_cell("peak_cuda_bytes", _size, results)))
    return columns


def _cost_cell(key: str, write: Callable[[float], str], results: Results) -> Callable[[dict[str, Any]], str]:
    full = _full(results)

    def cell(result: dict[str, Any]) -> str:
        value = result["cost"][key]
        if value is None:
            return _NOTHING
        if not full or result is full["result"] or not full["result"]["cost"][key]:
            return write(value)
        return f"{write(value)} ({_ratio(value, full['result']['cost'][key])})"

    return cell


def _class_table(results: Results) -> Table | None:
    runs = _done(results)
    if not runs:
        return None
    header = ["Class", "Test tiles", *(run_name(run) for run in runs)]
    rows = []
    for several in zip(*(run["result"]["test"]["per_class"] for run in runs), strict=True):
        support = several[0]["support"]
        scores = [_percent(row["f1"], results) if support else _NOTHING for row in several]
        rows.append([several[0]["name"], f"{support:,}", *scores])
    return Table("F1 of each class on the test split", header, rows)


def _plan_table(results: Results) -> Table | None:
    rows = [
        [f"{method_name(run['method'])}, {quantity}", *cells]
        for run in results["runs"]
        if run.get("plan")
        for quantity, *cells in _plan_rows(run["plan"], run["result"] if run["status"] == "done" else None)
    ]
    header = ["Method and quantity", "Planned", "Measured", "Error of the plan"]
    return Table("What was planned before the runs, and what came", header, rows) if rows else None


def _plan_rows(plan: dict[str, Any], result: dict[str, Any] | None) -> list[list[str]]:
    measured = {**result["cost"], **result["parameters"]} if result else {}
    planned = {**plan, **plan["parameters"]}
    quantities: tuple[tuple[str, str, Callable[[float], str]], ...] = (
        ("time per epoch", "seconds_per_epoch", _seconds),
        ("peak memory", "peak_rss_bytes", _size),
        ("size on disk", "artefact_bytes", _size),
        ("trainable parameters", "trainable", "{:,}".format),
    )
    rows = []
    for name, key, write in quantities:
        before, after = planned[key], measured.get(key)
        error = f"{100 * (before / after - 1):+.1f} %" if before is not None and after else _NOTHING
        values = [_NOTHING if value is None else write(value) for value in (before, after)]
        rows.append([name, *values, error])
    return rows


def _difference_table(results: Results) -> Table | None:
    """The settings in which the resolved recipes of the finished runs differ."""
    runs = _done(results)
    recipes = [_flat(run["result"]["recipe"]) for run in runs]
    if len(recipes) < 2:
        return None
    rows = [
        [name, *(_one_line(recipe.get(name)) for recipe in recipes)]
        for name in recipes[0]
        if any(recipe.get(name) != recipes[0][name] for recipe in recipes)
    ]
    return Table("Settings that differ", ["Setting", *(run_name(run) for run in runs)], rows)


def _flat(recipe: dict[str, Any]) -> dict[str, Any]:
    """Groups of settings opened into `group.name`."""
    flat: dict[str, Any] = {}
    for name, value in recipe.items():
        flat |= (
            {f"{name}.{part}": v for part, v in value.items()} if isinstance(value, dict) else {name: value}
        )
    return flat


# Facts


def _data_facts(results: Results) -> list[tuple[str, str]]:
    data = results["data"]
    return [
        ("Source", data["source"]),
        ("Tiles", ", ".join(f"{count:,} {split}" for split, count in data["sizes"].items())),
        ("Classes", f"{len(data['classes'])}: {', '.join(data['classes'])}"),
        ("Tile size", f" {_TIMES} ".join(map(str, data["tile_size"])) + " pixels"),
        ("Fingerprint", data["fingerprint"]),
    ]


def _environment_facts(results: Results) -> list[tuple[str, str]]:
    facts = dict(results["environment"])
    facts["memory"] = _size(facts.pop("memory_bytes"))
    return [(name, "none" if value is None else str(value)) for name, value in facts.items()]


def _recipes(results: Results) -> list[tuple[str, str]]:
    """Headings and YAML: the recipe as it was asked for, then as each method resolved it."""
    asked = [("The recipe all methods share", results["recipe"])]
    resolved = [
        (
            f"As resolved for {method_name(run['method'])} ({run['result']['recipe_hash']})",
            run["result"]["recipe"],
        )
        for run in _done(results)
    ]
    return [(title, yaml.safe_dump(recipe, sort_keys=False)) for title, recipe in asked + resolved]


def _done(results: Results) -> list[Run]:
    return [run for run in results["runs"] if run["status"] == "done"]


def _full(results: Results) -> Run | None:
    return next((run for run in _done(results) if run["method"] == "full"), None)


# Numbers


def _digits(results: Results) -> int:
    # One tile in fewer than 1,000 moves the accuracy by more than a second decimal can say.
    return 2 if _done(results)[0]["result"]["test"]["count"] >= 1000 else 1


def _percent(share: float, results: Results) -> str:
    return f"{100 * share:.{_digits(results)}f} %"


def _accuracy(scores: dict[str, Any], results: Results) -> str:
    return _percent(scores["accuracy"], results)


def _interval(scores: dict[str, Any], results: Results) -> str:
    low, high = (f"{100 * bound:.{_digits(results)}f}" for bound in scores["interval"])
    return f"{low}{_DASH}{high}"


def _share(parameters: dict[str, int]) -> str:
    percent = 100 * parameters["trainable"] / parameters["total"]
    return f"{percent:.2f} %" if percent >= 0.01 else "less than 0.01 %"


def _ratio(value: float, full: float) -> str:
    ratio = value / full
    return (f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.2g}") + _TIMES


def _digits3(value: float) -> str:
    """About three significant digits, with thousands separated."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _seconds(value: float) -> str:
    return f"{_digits3(value)} s"


def _size(count: float) -> str:
    return f"{_digits3(count / 1e9)} GB" if count >= 1e9 else f"{_digits3(count / 1e6)} MB"


def _memory(cost: dict[str, Any]) -> float:
    return cost["peak_cuda_bytes"] or cost["peak_rss_bytes"]


# Text


def _list(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _one_line(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return " ".join(text.split())


def _markdown(value: Any) -> str:
    """Text that GitHub shows as it is, in a table cell too: no markup, no pipes, one line."""
    return html.escape(re.sub(r"([\\`*\[\]|])", r"\\\1", _one_line(value)), quote=False)
