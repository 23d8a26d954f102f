"""Accuracy on corrupted tiles by severity, one panel per kind of corruption."""

from orbitune.evaluation.robustness import Accuracy
from orbitune.reporting import formatting as fmt
from orbitune.reporting.components import Figure, Panel
from orbitune.reporting.drawing import THIRD_WIDTH, legend, new_figure, to_panel
from orbitune.study.display_names import method_name
from orbitune.study.findings import RobustnessRecord
from orbitune.study.report.figures.styles import Styles
from orbitune.study.report.split_origins import corrupted_on
from orbitune.study.report.view_model import ReportView


def robustness_figure(view: ReportView, split: str, *, styles: Styles) -> Figure:
    """Draw one line per method, from clean tiles (0) to the highest severity."""
    records = view.robustness_on(split)
    kinds = len(records[0].corruptions)
    panels = [_draw_panel(view, records, kind=kind, styles=styles) for kind in range(kinds)]
    tiles = corrupted_on(view, split)
    caption = f"Accuracy on {tiles}, corrupted; severity 0 is without corruption. Bars are 95 % intervals."
    return Figure(caption, panels)


def _draw_panel(view: ReportView, records: list[RobustnessRecord], *, kind: int, styles: Styles) -> Panel:
    """Draw one kind of corruption, given by its position."""
    split, name = records[0].split, records[0].corruptions[kind].name
    figure, axes = new_figure(
        view.with_split(fmt.capital(name), split), width=THIRD_WIDTH, height=280, synthetic=view.synthetic
    )
    for record in records:
        points: list[Accuracy] = [record.clean, *record.corruptions[kind].severities]
        middle = [100 * point.accuracy for point in points]
        errors = [
            [m - 100 * point.interval[0] for m, point in zip(middle, points, strict=True)],
            [100 * point.interval[1] - m for m, point in zip(middle, points, strict=True)],
        ]
        severities = [0, *(point.severity for point in record.corruptions[kind].severities)]
        style = styles[method_name(record.method)]
        axes.errorbar(severities, middle, yerr=errors, **style, linewidth=1.4, elinewidth=0.9)
    axes.set(xlabel="severity", ylabel="accuracy, %", ylim=(_lower_limit(records), 101))
    names = [method_name(record.method) for record in records]
    legend(figure, [(each, {**styles[each], "linestyle": "-"}) for each in names], width=THIRD_WIDTH)
    means = "; ".join(
        f"{each} {fmt.percent(record.corruptions[kind].mean, view.digits)}"
        for each, record in zip(names, records, strict=True)
    )
    alt = f"{view.with_split(f'Accuracy by severity of {name}', split)}; means: {means}."
    return to_panel(
        figure, fmt.slug(view.with_split(f"robustness {name}", split)), alt=alt, width=THIRD_WIDTH
    )


def _lower_limit(records: list[RobustnessRecord]) -> float:
    """Return the common lower limit of accuracy axes in percent, a multiple of 10."""
    least = min(
        point.interval[0] for record in records for kind in record.corruptions for point in kind.severities
    )
    return 10 * (100 * least // 10)
