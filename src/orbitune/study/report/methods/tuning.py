"""Searches for learning rates: how each chose, its trials, and warnings."""

from orbitune.errors import counted
from orbitune.reporting import formatting as fmt
from orbitune.reporting.components import Table
from orbitune.study.display_names import fold_name, method_name
from orbitune.study.report.run_details import shared_times
from orbitune.study.report.split_origins import scored_on_each
from orbitune.study.report.view_model import ReportView
from orbitune.study.tune.records import FinalistRecord, SearchRecord, TrialRecord

_INSIDE = "inside"


def warn_edges(view: ReportView) -> list[str]:
    """Return one warning for each search whose best rate is at the edge of those tried."""
    return [
        f"Warning: the best learning rate of {_name(view, search)}, {search.best:g}, is at the {search.edge} "
        f"edge of those that trained all epochs: a {search.edge}er one may do better, and the method may be "
        "judged too low."
        for search in view.results.searches
        if search.edge and search.best is not None
    ]


def describe_searches(view: ReportView) -> list[str]:
    """Return how learning rates were searched; nothing without a search."""
    searches, edges = view.results.searches, len(warn_edges(view))
    if not searches:
        return []
    ended = counted(edges, "search", several="searches") if edges else "No search"
    tiles = "" if searches[0].criterion == "loss" else " and choice of validation tiles"
    noise = f"spread between seeds{tiles}"
    seeds = counted(len(searches[0].seeds), "seed")
    return [
        "Learning rates were searched by one rule for every method, on train and validation tiles alone: "
        "rates of one lattice (1 and 3 times powers of ten), screened with one seed after some of the epochs "
        "where more than three were tried first; the best and its neighbours trained all epochs with "
        f"{seeds}, and rates were added until the best had neighbours on both sides. "
        f"{ended}{f' of {len(searches)}' if edges else ''} ended at an edge. Rates within one standard error "
        f"of the best ({noise}) are tied, and the middle one was chosen; of two middle ones, that nearer to "
        "the middle of all rates tried. The weight decay was not searched."
    ]


def search_table(view: ReportView) -> Table:
    """Return a table of all searches: what was tried, chosen and tied."""
    header, rows = _search_cells(view)
    tiles = scored_on_each(view, part="validation")
    seeds = counted(len(view.results.searches[0].seeds), "seed")
    caption = f"Learning rates, chosen on {tiles}; finalists trained all epochs with {seeds}"
    return Table(caption, header, rows)


def terminal_searches(view: ReportView) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the table of all searches, for a terminal."""
    header, rows = _search_cells(view)
    return [head.lower() for head in header], rows


def _search_cells(view: ReportView) -> tuple[list[str], list[list[str]]]:
    header = ["Search", "Tried", "Chosen", "Validation", "Between seeds", "Tied", "Best is"]
    rows = []
    for search in view.results.searches:
        tried = sorted({*search.first, *search.added})
        chosen = _finalist(search, search.chosen)
        rows.append(
            [
                _name(view, search),
                f"{tried[0]:g} to {tried[-1]:g}",
                fmt.NOTHING if search.chosen is None else f"{search.chosen:g}",
                fmt.NOTHING if chosen is None else _score(search, chosen.mean),
                fmt.NOTHING if search.spread is None else _spread(search),
                _tied(search),
                _place(search),
            ]
        )
    return header, rows


def _finalist(search: SearchRecord, rate: float | None) -> FinalistRecord | None:
    return next((each for each in search.finalists if each.learning_rate == rate), None)


def _tied(search: SearchRecord) -> str:
    """Return the rates that are tied with each other; a dash if the best stands alone."""
    tied = [f"{each.learning_rate:g}" for each in search.finalists if each.tied]
    return ", ".join(tied) if len(tied) > 1 else fmt.NOTHING


def _place(search: SearchRecord) -> str:
    """Return where the best rate lies among those tried."""
    if search.best is None:
        return fmt.NOTHING
    return f"at the {search.edge} edge" if search.edge else _INSIDE


def _score(search: SearchRecord, score: float | None) -> str:
    """Return a validation score as the criterion writes it."""
    if score is None:
        return fmt.NOTHING
    return f"{-score:.4f}" if search.criterion == "loss" else fmt.percent(score, 2)


def _spread(search: SearchRecord) -> str:
    assert search.spread is not None
    return f"{search.spread:.4f}" if search.criterion == "loss" else f"{100 * search.spread:.2f} points"


def _name(view: ReportView, search: SearchRecord) -> str:
    """Return method, split and fold of a search, as far as there are several."""
    several = len({each.split for each in view.results.searches}) > 1
    parts = [search.split] * several + ([fold_name(search.fold)] if search.fold else [])
    return f"{method_name(search.method)} ({', '.join(parts)})" if parts else method_name(search.method)


def finalist_table(view: ReportView) -> Table:
    """Return a table of all rates that trained all epochs, with the score of each seed."""
    rows = [
        [
            _name(view, search),
            f"{each.learning_rate:g}",
            fmt.NOTHING if each.mean is None else _score(search, each.mean),
            ", ".join(_score(search, score) for score in each.scores) or fmt.NOTHING,
            "chosen" if each.learning_rate == search.chosen else "tied" if each.tied else "",
        ]
        for search in view.results.searches
        for each in search.finalists
    ]
    header = ["Search", "Learning rate", "Mean validation score", "Of each seed", ""]
    tiles = scored_on_each(view, part="validation")
    return Table(f"Finalists: best score of whole runs on {tiles}", header, rows)


def trial_table(view: ReportView) -> Table:
    """Return a table of all trials of learning rates."""
    several = len({trial.split for trial in view.results.trials}) > 1

    def cells(trial: TrialRecord) -> list[str]:
        accuracy, seconds = trial.validation_accuracy, trial.seconds
        return [
            method_name(trial.method),
            *([trial.split] if several else []),
            *([trial.fold or fmt.NOTHING] if view.folds else []),
            f"{trial.learning_rate:g}" + (" (added)" if trial.added else ""),
            f"{trial.seed}",
            f"{trial.epochs}",
            fmt.NOTHING if accuracy is None else fmt.percent(accuracy, view.digits),
            fmt.NOTHING if seconds is None else fmt.seconds(seconds),
            "chosen" if trial.chosen else fmt.single_line(trial.error or ""),
        ]

    header = ["Method", *["Split"] * several, *["Fold"] * bool(view.folds)]
    header += ["Learning rate", "Seed", "Epochs", "Validation accuracy", "Time"]
    tiles = scored_on_each(view, part="validation")
    caption = f"Learning-rate trials, on {tiles}{shared_times(view)}"
    return Table(caption, [*header, "Outcome"], [*map(cells, view.results.trials)])
