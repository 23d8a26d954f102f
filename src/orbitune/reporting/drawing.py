"""Drawing of figures: style, error-rate axes, legends, SVG text."""

import html
import io
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from orbitune.reporting.components import Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, QUIET, LINE = "#1f2933", "#5c6b7a", "#e4e7eb"
# Natural widths of panels in CSS pixels.
THIRD_WIDTH, HALF_WIDTH, LARGE_WIDTH, FULL_WIDTH = 305, 460, 640, 940

_TICKS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999)
_STYLE = {
    "svg.fonttype": "none",  # text stays text: small, selectable, in the page's own typeface
    "svg.hashsalt": "orbitune",
    "font.size": 13,
    "axes.titlesize": 14,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa5b1",
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "legend.frameon": False,
    "legend.fontsize": 12,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
}
Look = dict[str, Any]
"""Settings of a line of matplotlib: colour, marker, line style."""


@contextmanager
def report_style() -> Iterator[None]:
    """Apply the style of all figures, in place of the user's matplotlib settings."""
    from matplotlib import style

    with style.context(["default", _STYLE]):
        yield


def new_figure(title: str, *, width: int, height: int, synthetic: bool) -> "tuple[Figure, Axes]":
    """Create a figure with one axes.

    Args:
        title: title of the axes.
        width, height: CSS pixels.
        synthetic: whether to name synthetic tiles above the title.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(textwrap.fill(title, int(width / 10.4), break_on_hyphens=False))
    if synthetic:
        figure.suptitle("synthetic tiles", x=0.01, ha="left", fontsize=10, color="#9a3412")
    return figure, axes


def to_panel(figure: "Figure", name: str, *, alt: str, width: int) -> Panel:
    """Return the figure as an SVG panel.

    Args:
        figure: the drawn figure.
        name: unique in the report; the stem of its file.
        alt: text alternative.
        width: natural width in CSS pixels.
    """
    text = io.StringIO()
    with warnings.catch_warnings():
        # The browser draws characters that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = text.getvalue()
    svg = re.sub(r'="([\d.]+)pt"', r'="\1"', svg[svg.index("<svg") :], count=2)  # one point is one CSS pixel
    # Several figures share one page, where every id must be unique.
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    return Panel(name, alt, svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(alt)}"', 1), width)


def legend(figure: "Figure", entries: Sequence[tuple[str, dict[str, Any]]], *, width: int) -> None:
    """Draw a legend below the axes, in as many columns as fit."""
    axes = figure.axes[0]
    handles = [axes.plot([], [], label=shorten(label, 40), **look)[0] for label, look in entries]
    longest = max(len(label) for label, _ in entries)
    columns = max(1, min(len(entries), int(width / (6.8 * longest + 46))))
    figure.legend(handles=handles, loc="outside lower left", ncols=columns, columnspacing=1.2)


def to_error_scale(accuracy: float, count: int) -> float:
    """Return an accuracy's position on an axis logarithmic in the error rate.

    Args:
        accuracy: 0..1.
        count: number of tiles; an accuracy of 1 is drawn with half an error.
    """
    return float(-np.log10(max(1 - accuracy, 0.5 / count)))


def set_error_axis(axes: "Axes", which: str, *, low: float, high: float) -> None:
    """Set limits and percentage ticks of an axis in the scale of `to_error_scale`.

    Args:
        axes: the axes to change.
        which: "x" or "y".
        low, high: range of the data, in the scale of the axis.
    """
    room = 0.06 * max(high - low, 0.2)
    low, high = low - room, high + room
    inside = [tick for tick in _TICKS if low <= to_error_scale(tick, 10**9) <= high]
    if len(inside) < 3:  # a narrow range: even steps, to a tenth of a point
        ends = [100 * (1 - 10**-bound) for bound in (low, high)]
        step = next(s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if (ends[1] - ends[0]) / s <= 6)
        inside = [t / 100 for t in np.arange(np.ceil(ends[0] / step) * step, ends[1], step) if t < 100]
    inside = _thin_ticks(inside, (high - low) / (9 if which == "x" else 12))
    places = [to_error_scale(tick, 10**9) for tick in inside]
    labels = [f"{100 * tick:.6g}" for tick in inside]
    axes.set(**{f"{which}lim": (low, high)})
    getattr(axes, f"set_{which}ticks")(places, labels)


def _thin_ticks(ticks: Sequence[float], least: float) -> list[float]:
    """Return the ticks that are at least `least` apart, starting from the right."""
    kept: list[float] = []
    for tick in reversed(ticks):
        if not kept or to_error_scale(kept[-1], 10**9) - to_error_scale(tick, 10**9) >= least:
            kept.append(tick)
    return kept[::-1]


def shorten(name: str, length: int = 22) -> str:
    """Shorten a name for an axis."""
    # A dollar sign would start matplotlib's formulas.
    return (name if len(name) <= length else name[: length - 1] + "…").replace("$", r"\$")
