"""Draw the figures of a study as SVG text: curves, confusion matrices, parameters, accuracy against cost.

Every panel is its own small SVG, so that a page can lay them side by side on a screen and stack them on
a phone without shrinking the type. The same results give the same bytes.
"""

import html
import io
import re
import warnings
from itertools import cycle
from typing import TYPE_CHECKING, Any, NamedTuple

from orbitune.models.methods import METHODS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SYNTHETIC = "synthetic tiles: these figures say nothing about real satellite images"

# Okabe and Ito's colour-blind-safe palette, then Tol's muted one where a study has many methods.
_COLOURS = {"full": "#4b5563", "lora": "#0072b2", "linear": "#d55e00"}
_MORE_COLOURS = ("#009e73", "#cc79a7", "#b07d00", "#56b4e9", "#332288", "#882255", "#999933")
_MARKERS = "osD^vPXph*"

_THIRD, _HALF, _LARGE, _WHOLE = 305, 460, 640, 940  # panel widths in CSS pixels at their natural size
_INK = "#1f2933"
Looks = dict[str, dict[str, Any]]
_STYLE = {
    "svg.fonttype": "none",  # text stays text: small, selectable, in the page's own typeface
    "svg.hashsalt": "orbitune",
    "font.size": 12,
    "axes.titlesize": 13,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa5b1",
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e7eb",
    "legend.frameon": False,
    "legend.fontsize": 11,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
}


class Panel(NamedTuple):
    """One SVG: its file stem, what it shows in words, its markup and its natural width in CSS pixels."""

    name: str
    alt: str
    svg: str
    width: int


class Plate(NamedTuple):
    """Panels under one heading and one caption."""

    title: str
    caption: str
    panels: list[Panel]


def method_name(method: str) -> str:
    """What a method is called in a sentence: "lora" is LoRA, unknown names stand as they are."""
    return METHODS[method].title if method in METHODS else method


def run_name(run: dict[str, Any]) -> str:
    """What a run is called: its method, and what else its name says where a study has several of that."""
    rest = _key(run).removeprefix(run["method"]).strip("-")
    return f"{method_name(run['method'])} {rest}".strip()


def _key(run: dict[str, Any]) -> str:
    return run.get("name", run["method"])  # results of format 1 have one run for each method


def draw(results: dict[str, Any]) -> list[Plate]:
    """All figures of a study (the dict that results.json holds); empty where no run was finished."""
    from matplotlib import style

    runs = [run for run in results["runs"] if run["status"] == "done"]
    if not runs:
        return []
    note = SYNTHETIC if results["data"]["synthetic"] else ""
    looks = _looks(results["runs"])
    with style.context(["default", _STYLE]):
        return [
            _curves(runs, looks, note),
            _confusions(runs, looks, note),
            _parameters(runs, looks, note),
            _costs(runs, looks, note),
        ]


def _looks(runs: list[dict[str, Any]]) -> Looks:
    """The colour of its method and the marker that each run keeps in every figure."""
    spare = cycle(_MORE_COLOURS)
    methods = dict.fromkeys(run["method"] for run in runs)
    colours = {method: _COLOURS.get(method) or next(spare) for method in methods}
    return {
        _key(run): {"color": colours[run["method"]], "marker": marker}
        for run, marker in zip(runs, cycle(_MARKERS), strict=False)
    }


def _curves(runs: list[dict[str, Any]], looks: Looks, note: str) -> Plate:
    names = ", ".join(run_name(run) for run in runs)
    panels = []
    for measure, title, scale in (("loss", "Loss, nats", 1), ("accuracy", "Accuracy, %", 100)):
        figure, axes = _canvas(_HALF, 340, title, note)
        for run in runs:
            _curve(axes, run["result"], measure, scale, looks[_key(run)])
        _epoch_axis(axes, max(len(run["result"]["history"]) for run in runs))
        _curve_legend(figure, axes, runs, looks)
        alt = f"Line chart: {measure} by epoch on the training and validation split for {names}."
        panels.append(_panel(figure, f"curves-{measure}", alt, _HALF))
    caption = "Solid: validation. Dashed: training, measured while the weights move. Ring: the epoch kept."
    return Plate("Training curves", caption, panels)


def _curve(axes: "Axes", result: dict[str, Any], measure: str, scale: int, look: dict[str, Any]) -> None:
    epochs = [row["epoch"] for row in result["history"]]
    for split, line in (("train", "--"), ("validation", "-")):
        values = [scale * row[f"{split}_{measure}"] for row in result["history"]]
        axes.plot(epochs, values, line, **look, alpha=0.55 if split == "train" else 1)
    if result["best_epoch"] in epochs:  # values are now the validation's
        best = epochs.index(result["best_epoch"])
        ring: dict[str, Any] = {
            "marker": "o",
            "markersize": 11,
            "markerfacecolor": "none",
            "color": look["color"],
        }
        axes.plot(epochs[best], values[best], linestyle="none", **ring)


def _epoch_axis(axes: "Axes", epochs: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    axes.set_xlim(0.7, epochs + 0.3)


def _curve_legend(figure: "Figure", axes: "Axes", runs: list[dict[str, Any]], looks: Looks) -> None:
    entries: list[tuple[str, dict[str, Any]]] = [
        (run_name(run), {"linestyle": "-", **looks[_key(run)]}) for run in runs
    ]
    entries += [
        ("validation", {"linestyle": "-", "color": _INK}),
        ("train", {"linestyle": "--", "color": _INK}),
    ]
    handles = [axes.plot([], [], label=label, **look)[0] for label, look in entries]
    figure.legend(handles=handles, loc="outside lower left", ncols=3)


def _confusions(runs: list[dict[str, Any]], looks: Looks, note: str) -> Plate:
    panels = []
    for run in runs:
        name, test = run_name(run), run["result"]["test"]
        classes = len(test["per_class"])
        width = _HALF if classes <= 12 else _LARGE if classes <= 24 else _WHOLE
        figure = _confusion(name, test, looks[_key(run)]["color"], width, note)
        right = sum(row[i] for i, row in enumerate(test["confusion"]))
        alt = f"Confusion matrix of {name} on the test split: {right:,} of {test['count']:,} tiles are right."
        panels.append(_panel(figure, f"confusion-{_slug(run['method'])}", alt, width))
    caption = (
        "Rows are the true class, columns the predicted one. Numbers are tiles, zeros left out; "
        "the colour is the share of the row, on a square-root scale so that rare mistakes can be seen."
    )
    return Plate("Confusion on the test split", caption, panels)


def _confusion(name: str, test: dict[str, Any], colour: str, width: int, note: str) -> "Figure":
    import numpy as np
    from matplotlib.collections import PatchCollection
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Rectangle

    counts = np.array(test["confusion"])
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = _canvas(width, width, name[:1].upper() + name[1:], note)
    fade = LinearSegmentedColormap.from_list("fade", ["white", colour])
    hits = np.nonzero(
        counts
    )  # with many classes nearly all cells are empty: drawing them would cost megabytes
    cells = [Rectangle((column, row), 1, 1) for row, column in zip(*hits, strict=True)]
    axes.add_collection(PatchCollection(cells, facecolors=fade(np.sqrt(share[hits]))))
    if len(counts) <= 24:  # beyond that a number no longer fits its cell
        for row, column in zip(*hits, strict=True):
            ink = "white" if share[row, column] > 0.3 else _INK
            text = f"{counts[row, column]}"
            axes.text(column + 0.5, row + 0.5, text, color=ink, fontsize=9, ha="center", va="center")
    _class_axes(axes, [_shorten(row["name"]) for row in test["per_class"]], width)
    return figure


def _class_axes(axes: "Axes", names: list[str], width: int) -> None:
    size = min(10.5, 0.62 * width / len(names))
    middles = [i + 0.5 for i in range(len(names))]
    axes.set_xticks(middles, names, rotation=90, fontsize=size)
    axes.set_yticks(middles, names, fontsize=size)
    axes.tick_params(length=0)
    axes.grid(False)
    for lines in (axes.hlines, axes.vlines):
        lines(range(len(names) + 1), 0, len(names), colors="#e4e7eb", linewidth=0.5)
    axes.set(xlim=(0, len(names)), ylim=(len(names), 0), aspect="equal")
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")


def _parameters(runs: list[dict[str, Any]], looks: Looks, note: str) -> Plate:
    from matplotlib.ticker import EngFormatter, NullLocator

    names = [run_name(run) for run in runs]
    counts = [run["result"]["parameters"]["trainable"] for run in runs]
    figure, axes = _canvas(_HALF, 90 + 38 * len(runs), "Trainable parameters", note)
    colours = [looks[_key(run)]["color"] for run in runs]
    bars = axes.barh(range(len(runs)), counts, height=0.6, color=colours, log=True)
    axes.bar_label(bars, [f"{count:,}" for count in counts], padding=5)
    left, right = min(counts) / 10, max(counts)
    axes.set_xlim(left, right * (right / left) ** 0.35)  # room for the number behind the longest bar
    axes.set_yticks(range(len(runs)), names)
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_minor_locator(NullLocator())
    pairs = ", ".join(f"{name} {count:,}" for name, count in zip(names, counts, strict=True))
    panel = _panel(figure, "parameters", f"Bar chart: trainable parameters. {pairs}.", _HALF)
    caption = "The axis is logarithmic: equal steps are equal factors. The head is counted."
    return Plate("Trainable parameters", caption, [panel])


_COST_PANELS = (
    ("time", "Train time per epoch, s", lambda cost: cost["seconds_per_epoch"]),
    ("memory", "Peak memory, MB", lambda cost: (cost["peak_cuda_bytes"] or cost["peak_rss_bytes"]) / 1e6),
    ("size", "Size on disk, MB", lambda cost: cost["artefact_bytes"] / 1e6),
)


def _costs(runs: list[dict[str, Any]], looks: Looks, note: str) -> Plate:
    panels = []
    ranked = sorted(runs, key=lambda run: run["result"]["test"]["accuracy"])
    for name, title, value in _COST_PANELS:
        figure, axes = _canvas(_THIRD, 290, title, note)
        costs = [value(run["result"]["cost"]) for run in ranked]
        for rank, (run, cost) in enumerate(zip(ranked, costs, strict=True)):
            _cost_point(axes, run, cost, looks[_key(run)], above=(len(ranked) - rank) % 2 == 1)
        _cost_axis(axes, costs)
        axes.set_ylabel("test accuracy, %")
        alt = f"Test accuracy against {title}: " + "; ".join(
            f"{run_name(run)} {100 * run['result']['test']['accuracy']:.2f} % at {cost:,.2f}"
            for run, cost in zip(ranked, costs, strict=True)
        )
        panels.append(_panel(figure, f"cost-{name}", alt + ".", _THIRD))
    caption = (
        "Up is better, left is cheaper. Bars are the 95 % intervals of the test accuracy. "
        "Memory is the GPU's where the run used one, else the whole process's."
    )
    return Plate("Accuracy against cost", caption, panels)


def _cost_point(axes: "Axes", run: dict[str, Any], cost: float, look: dict[str, Any], above: bool) -> None:
    test = run["result"]["test"]
    low, middle, high = (
        100 * share for share in (test["interval"][0], test["accuracy"], test["interval"][1])
    )
    errors = [[middle - low], [high - middle]]
    axes.errorbar(cost, middle, yerr=errors, fmt=look["marker"], color=look["color"], markersize=7, capsize=3)
    # Neighbours in accuracy carry their names at opposite ends of their bars, so that both stay legible.
    axes.annotate(
        run_name(run),
        (cost, high if above else low),
        xytext=(0, 4 if above else -4),
        textcoords="offset points",
        ha="center",
        va="bottom" if above else "top",
        color=look["color"],
        fontsize=11,
    )


def _cost_axis(axes: "Axes", costs: list[float]) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    low, high = min(costs), max(costs)
    if high > 10 * low > 0:
        axes.set_xscale("log")
        room = (high / low) ** 0.3  # for the names of the outer points
        axes.set_xlim(low / room, high * room)
        axes.xaxis.set_major_locator(LogLocator(numticks=5))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.set_xlim(0, 1.35 * high)
        axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.locator_params(axis="y", nbins=6)
    axes.margins(y=0.12)


def _canvas(width: int, height: int, title: str, note: str) -> "tuple[Figure, Axes]":
    """A figure of that many CSS pixels with one axes; the note stands above the title."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title)
    if note:
        figure.suptitle(note.split(":")[0], x=0.01, ha="left", fontsize=10, color="#9a3412")
    return figure, axes


def _panel(figure: "Figure", name: str, alt: str, width: int) -> Panel:
    text = io.StringIO()
    with warnings.catch_warnings():
        # Letters that matplotlib's own font lacks are drawn by the reader's.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = text.getvalue()
    svg = re.sub(r'="([\d.]+)pt"', r'="\1"', svg[svg.index("<svg") :], count=2)  # one point is one CSS pixel
    # Several of these share one page, where an id may exist only once.
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    return Panel(name, alt, svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(alt)}"', 1), width)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _shorten(name: str) -> str:
    # A dollar sign would start matplotlib's formulas.
    return (name if len(name) <= 22 else name[:21] + "…").replace("$", r"\$")
