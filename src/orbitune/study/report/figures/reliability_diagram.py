"""Reliability diagrams before and after temperature scaling."""

from orbitune.reporting import formatting as fmt
from orbitune.reporting.components import Figure, Panel
from orbitune.reporting.reliability import LEGEND, ReliabilityCurve, reliability_panel
from orbitune.study.report.figures.styles import Styles
from orbitune.study.report.split_origins import scored_on_each
from orbitune.study.report.view_model import ReportView

_STATES = {"before": "Before temperature scaling", "after": "After temperature scaling"}


def reliability_figure(view: ReportView, splits: list[str], *, styles: Styles) -> Figure:
    """Draw accuracy against confidence in bins of equal size; two panels per split."""
    panels = [panel for split in splits for panel in _draw_panels(view, split, styles=styles)]
    tiles = scored_on_each(view, splits)
    return Figure(LEGEND.format(tiles=fmt.capital(tiles), subject="a method"), panels)


def _draw_panels(view: ReportView, split: str, *, styles: Styles) -> list[Panel]:
    """Draw both diagrams of a split, with the same axis limits."""
    curves = {
        state: [
            ReliabilityCurve(
                group.title,
                styles[group.title],
                getattr(record, state),
                group.summary.test_tiles,
                record.errors()[place],
            )
            for group in view.groups_on(split)
            if (record := group.summary.calibration)
        ]
        for place, state in enumerate(_STATES)
    }
    return [
        reliability_panel(
            fmt.slug(view.with_split(f"reliability {state}", split)),
            view.with_split(title, split),
            curves=curves[state],
            beside=[curve for each in curves.values() for curve in each],
            synthetic=view.synthetic,
        )
        for state, title in _STATES.items()
    ]
