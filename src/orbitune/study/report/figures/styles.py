"""Colours and markers of the methods, the same in every figure."""

from itertools import cycle

from orbitune.reporting.drawing import Look
from orbitune.study.report.view_model import ReportView

# Okabe and Ito's colour-blind-safe palette, then Tol's muted one where a study has many methods.
_COLOURS = {"full": "#4b5563", "lora": "#0072b2", "linear": "#d55e00"}
_MORE_COLOURS = ("#009e73", "#cc79a7", "#b07d00", "#56b4e9", "#332288", "#882255", "#999933")
_MARKERS = "osD^vPXph*"
Styles = dict[str, Look]


def method_styles(view: ReportView) -> Styles:
    """Return colour and marker of each method, by title, the same in every figure."""
    spare = cycle(_MORE_COLOURS)
    titles = {group.title: group.method for group in view.groups}
    colours: dict[str, str] = {}
    for method in titles.values():
        if method not in colours:
            colours[method] = _COLOURS.get(method) or next(spare)
    return {
        title: {"color": colours[method], "marker": marker}
        for (title, method), marker in zip(titles.items(), cycle(_MARKERS), strict=False)
    }
