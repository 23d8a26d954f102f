"""Colours and markers of the methods, the same in every figure."""

from itertools import cycle

from orbitune.reporting.drawing import Look
from orbitune.study.arms import split_arm
from orbitune.study.report.view_model import ReportView

# Okabe and Ito's colour-blind-safe palette, then Tol's muted one where a study has many methods.
_COLOURS = {"full": "#4b5563", "lora": "#0072b2", "linear": "#d55e00"}
_MORE_COLOURS = ("#009e73", "#cc79a7", "#b07d00", "#56b4e9", "#332288", "#882255", "#999933")
_MARKERS = "osD^vPXph*"
Styles = dict[str, Look]


def method_styles(view: ReportView) -> Styles:
    """Return colour and marker of each arm, by title, the same in every figure.

    The colour is that of the method. With several backbones, the marker is that of the backbone.
    """
    spare = cycle(_MORE_COLOURS)
    titles = {group.title: split_arm(group.method) for group in view.groups}
    colours: dict[str, str] = {}
    for method, _ in titles.values():
        if method not in colours:
            colours[method] = _COLOURS.get(method) or next(spare)
    backbones = dict.fromkeys(backbone for _, backbone in titles.values() if backbone)
    markers = dict(zip(backbones or titles, cycle(_MARKERS), strict=False))
    return {
        title: {"color": colours[method], "marker": markers[backbone or title]}
        for title, (method, backbone) in titles.items()
    }
