"""The tables of the long part that speak of what was measured on test and validation tiles."""

from collections.abc import Callable, Sequence
from typing import Any

from orbitune.study.display_names import method_name
from orbitune.study.report import formatting as fmt
from orbitune.study.report.components import Table
from orbitune.study.report.view_model import ReportView, RunGroup


def verdict_table(view: ReportView) -> Table:
    """Every comparison with the reference: the difference, both questions, and the check by resampling."""
    entries = view.results["verdicts"]
    several = len({entry["split"] for entry in entries}) > 1
    header = [
        "Method",
        *(["Split"] if several else []),
        "Difference, points (95 % interval)",
        "Interval by bootstrap",
        f"Within {entries[0]['margin']:g} points, or better",
        "p for within",
        "p for not within",
        "p, McNemar",
        "Alone right / reference alone",
        "Images needed",
    ]
    rows = [
        [
            method_name(entry["method"]),
            *([entry["split"]] if several else []),
            f"{fmt.signed(entry['difference'])} ({fmt.signed_span(entry['low'], entry['high'])})",
            fmt.signed_span(entry["bootstrap_low"], entry["bootstrap_high"]),
            entry["verdict"],
            *(fmt.p_value(entry[key]) for key in ("within", "beyond", "differ")),
            f"{entry['wins']:,.0f} / {entry['losses']:,.0f}",
            fmt.NOTHING if entry["images_needed"] is None else f"{entry['images_needed']:,}",
        ]
        for entry in entries
    ]
    reference = method_name(entries[0]["reference"])
    holm = "; p values after Holm's correction" if any(entry["family"] > 1 for entry in entries) else ""
    return Table(f"Against {reference}, decided at a one-sided 2.5 %{holm}", header, rows)


def judged(view: ReportView) -> list[str]:
    """The sentences of all verdicts, each with its split where there are several."""
    entries = view.results["verdicts"]
    several = len({entry["split"] for entry in entries}) > 1
    return [
        f"{entry['split'].capitalize()} split. {sentence}" if several else sentence
        for entry in entries
        for sentence in entry["sentences"]
    ]


def class_table(view: ReportView, split: str) -> Table:
    """F1 of each class; with several seeds their mean, and the least and the largest of them."""
    groups = view.on(split)

    def cell(row: dict[str, Any]) -> str:
        if not row["support"]:
            return fmt.NOTHING
        mean = fmt.percent(row["f1"], view.digits)
        low, high = row["low"], row["high"]
        return mean if low == high else f"{mean} ({fmt.span((low, high), view.digits)})"

    rows = [
        [several[0]["name"], f"{several[0]['support']:,}", *map(cell, several)]
        for several in zip(*(group.summary["per_class"] for group in groups), strict=True)
    ]
    ranges = "; in brackets the least and the largest of the seeds" if _several_seeds(groups) else ""
    header = ["Class", "Test tiles", *(group.title for group in groups)]
    return Table(view.of(split, "F1 of each class on the test split") + ranges, header, rows)


def calibration_table(view: ReportView, split: str) -> Table:
    """How far confidence is from accuracy on test, before and after the temperature."""
    groups = [group for group in view.on(split) if "calibration" in group.summary]
    measures: tuple[tuple[str, str, Callable[[float], str]], ...] = (
        ("ECE", "ece", lambda value: fmt.percent(value, 2)),
        ("ECE, bins of equal width", "ece_equal_width", lambda value: fmt.percent(value, 2)),
        ("Brier score", "brier", "{:.4f}".format),
        ("Loss, nats", "loss", "{:.4f}".format),
    )
    rows = []
    for group in groups:
        found = group.summary["calibration"]
        temperatures = ", ".join(f"{value:.2f}" for value in found["temperatures"])
        pairs = [
            f"{write(found['before'][key])} \N{RIGHTWARDS ARROW} {write(found['after'][key])}"
            for _, key, write in measures
        ]
        rows.append([group.title, temperatures, *pairs])
    header = ["Method", "Temperatures", *(head for head, _, _ in measures)]
    caption = "Calibration on test before and after the temperature, which was fitted on validation"
    return Table(view.of(split, caption), header, rows)


def robustness_table(view: ReportView, split: str) -> Table:
    """The mean over severities of each kind of corruption."""
    entries = [entry for entry in view.results["robustness"] if entry["split"] == split]
    kinds = [kind["name"] for kind in entries[0]["corruptions"]]
    rows = [
        [
            method_name(entry["method"]),
            f"{entry['seed']}",
            _scored(entry["clean"], view.digits),
            *(fmt.percent(kind["mean"], view.digits) for kind in entry["corruptions"]),
            fmt.percent(entry["mean"], view.digits),
        ]
        for entry in entries
    ]
    caption = f"Accuracy on {entries[0]['count']:,} validation tiles, mean over five severities"
    header = ["Method", "Seed", "As they are (95 % interval)", *map(fmt.capital, kinds), "Mean"]
    return Table(view.of(split, caption), header, rows)


def severity_table(view: ReportView, split: str) -> Table:
    """Every point of the figures of robustness with its interval."""
    entries = [entry for entry in view.results["robustness"] if entry["split"] == split]
    rows = [
        [f"{fmt.capital(kind['name'])} {point['severity']}"]
        + [_scored(entry["corruptions"][k]["severities"][i], view.digits) for entry in entries]
        for k, kind in enumerate(entries[0]["corruptions"])
        for i, point in enumerate(kind["severities"])
    ]
    header = ["Corruption and severity", *(method_name(entry["method"]) for entry in entries)]
    return Table(view.of(split, "Accuracy at each severity (95 % interval)"), header, rows)


def sweep_table(
    view: ReportView, lines: dict[str, list[tuple[Any, RunGroup]]], head: str, split: str
) -> Table:
    """Accuracy at each value of a sweep, a column for each method.

    Args:
        lines: for each method the values and their groups.
    """
    values = list(dict.fromkeys(value for points in lines.values() for value, _ in points))
    rows = []
    for value in sorted(values, key=lambda v: (v is None, v or 0)):
        found = [dict(points).get(value) for points in lines.values()]
        cells = [fmt.with_interval(g.accuracy, view.digits) if g else fmt.NOTHING for g in found]
        rows.append(["all" if value is None else f"{value:,}", *cells])
    return Table(view.of(split, "Test accuracy (95 % interval)"), [head, *lines], rows)


def _scored(scores: dict[str, Any], digits: int) -> str:
    return fmt.with_interval((scores["accuracy"], *scores["interval"]), digits)


def _several_seeds(groups: Sequence[RunGroup]) -> bool:
    return any(len(group.summary["seeds"]) > 1 for group in groups)
