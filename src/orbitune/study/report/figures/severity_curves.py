"""Accuracy on corrupted tiles against the severity, a small figure for each kind."""

from typing import Any

from orbitune.study.display_names import method_name
from orbitune.study.report import formatting as fmt
from orbitune.study.report.components import Figure, Subfigure
from orbitune.study.report.figures.new_figure import THIRD_WIDTH, MethodStyles, legend, new_figure, save_svg
from orbitune.study.report.view_model import ReportView

Entry = dict[str, Any]


def robustness_figure(view: ReportView, split: str, method_styles: MethodStyles) -> Figure:
    """A line for each method from the clean tiles, severity 0, to the worst."""
    entries = [entry for entry in view.results["robustness"] if entry["split"] == split]
    kinds = [kind["name"] for kind in entries[0]["corruptions"]]
    subfigures = [_kind_panel(view, entries, place, method_styles) for place in range(len(kinds))]
    caption = (
        f"Accuracy on {entries[0]['count']:,} validation tiles, corrupted ever more from left to right; "
        "severity 0 are the tiles as they are. Bars are 95 % intervals."
    )
    return Figure(caption, subfigures)


def _kind_panel(view: ReportView, entries: list[Entry], place: int, method_styles: MethodStyles) -> Subfigure:
    split, kind = entries[0]["split"], entries[0]["corruptions"][place]["name"]
    figure, axes = new_figure(THIRD_WIDTH, 280, view.of(split, fmt.capital(kind)), view)
    for entry in entries:
        points = [{"severity": 0, **entry["clean"]}, *entry["corruptions"][place]["severities"]]
        middle = [100 * point["accuracy"] for point in points]
        low, high = ([100 * point["interval"][end] for point in points] for end in (0, 1))
        errors = [
            [m - a for m, a in zip(middle, low, strict=True)],
            [b - m for m, b in zip(middle, high, strict=True)],
        ]
        look = method_styles[method_name(entry["method"])]
        severities = [point["severity"] for point in points]
        axes.errorbar(severities, middle, yerr=errors, **look, linewidth=1.4, elinewidth=0.9)
    axes.set(xlabel="severity", ylabel="accuracy, %", ylim=(_floor(entries), 101))
    names = [method_name(entry["method"]) for entry in entries]
    legend(figure, [(name, {**method_styles[name], "linestyle": "-"}) for name in names], THIRD_WIDTH)
    means = "; ".join(
        f"{name} {fmt.percent(entry['corruptions'][place]['mean'], view.digits)}"
        for name, entry in zip(names, entries, strict=True)
    )
    alt = f"{view.of(split, f'Accuracy by severity of {kind}')}; means: {means}."
    return save_svg(figure, fmt.slug(view.of(split, f"robustness {kind}")), alt, THIRD_WIDTH)


def _floor(entries: list[Entry]) -> float:
    """Where the axis of all kinds begins, in percent, so that they can be compared."""
    least = min(
        point["interval"][0]
        for entry in entries
        for kind in entry["corruptions"]
        for point in kind["severities"]
    )
    return 10 * (100 * least // 10)
