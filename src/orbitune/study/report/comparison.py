"""The one table: what every method reached and what it cost, over all its runs."""

from collections.abc import Callable

from orbitune.study.display_names import run_name
from orbitune.study.report import formatting as fmt
from orbitune.study.report.view_model import MethodRow, ReportView
from orbitune.training.energy import cost_in_words

Column = tuple[str, Callable[[MethodRow], str]]


def columns(view: ReportView) -> list[Column]:
    """The heads of the comparison and, for each, what turns a row into a cell."""
    return [
        *[_accuracy_column(view, split) for split in view.splits],
        *_gap_columns(view),
        ("Trainable parameters", _parameters),
        *_cost_columns(view),
        ("One run costs", lambda row: cost_in_words(row.cost)),
    ]


def caption(view: ReportView) -> str:
    several = any(len(group.runs) > 1 for group in view.groups)
    means = f", means of {_seeds(view)} seeds on each split" if several else ""
    compared = view.full is not None and len(view.rows) > 1
    ratios = f"; with {fmt.TIMES} the ratio to full fine-tuning" if compared else ""
    return f"Every method{means}, measured on this machine{ratios}"


def notes(view: ReportView) -> list[str]:
    """What has to be known to read the table."""
    lines = []
    if not view.timings_comparable:
        lines += [
            "Several runs shared the machine, so their wall-clock times cannot be compared and are left out; "
            "CPU seconds, of a whole run on all cores, can."
        ]
    if any(row.cost["energy_joules"] is None for row in view.rows):
        lines += ["A core-minute is one processor core busy for a minute; energy was not measured."]
    elif view.rows:
        lines += [f"Energy is that of a run, in {view.done[0]['result']['cost']['energy_source']}."]
    return lines


def failures(view: ReportView) -> list[tuple[str, str]]:
    """The name and the end of every run that was not finished."""
    return [(run_name(run), f"{run['status']}: {fmt.one_line(run['error'])}") for run in view.failed]


def comparison_rows(view: ReportView, cells: list[Column]) -> list[list[str]]:
    """The methods in the order of the study; of a failed run, its name and error."""
    rows = [[row.title, *(cell(row) for _, cell in cells)] for row in view.rows]
    return [*rows, *map(list, failures(view))]


def narrow_columns(view: ReportView) -> list[Column]:
    """What fits a window of 100 characters, with two splits: no ratios, units in the heads where they can."""
    digits = view.digits

    def accuracy(split: str) -> Callable[[MethodRow], str]:
        def cell(row: MethodRow) -> str:
            if split not in row.groups:
                return fmt.NOTHING
            return fmt.with_interval(row.groups[split].accuracy, digits).replace(" %", "")

        return cell

    return [
        *((f"{view.split_name(split) or 'test'}, %", accuracy(split)) for split in view.splits),
        ("trained", lambda row: f"{row.parameters['trainable']:,}"),
        ("memory", lambda row: fmt.size(fmt.memory(row.cost))),
        ("on disk", lambda row: fmt.size(row.cost["artefact_bytes"])),
        ("CPU time", lambda row: fmt.seconds(row.cost["cpu_seconds"])),
    ]


def _seeds(view: ReportView) -> str:
    counts = sorted({len(group.runs) for row in view.rows for group in row.groups.values()})
    return f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def _accuracy_column(view: ReportView, split: str) -> Column:
    def cell(row: MethodRow) -> str:
        if split not in row.groups:
            return fmt.NOTHING
        return fmt.with_interval(row.groups[split].accuracy, view.digits)

    return f"{view.of(split, 'Test accuracy')} (95 % interval)", cell


def _gap_columns(view: ReportView) -> list[Column]:
    entries = view.results.get("gaps", [])

    def column(pair: list[str]) -> Column:
        own = {entry["method"]: entry for entry in entries if entry["splits"] == pair}

        def cell(row: MethodRow) -> str:
            if row.method not in own:
                return fmt.NOTHING
            gap, low, high = (100 * own[row.method][key] for key in ("difference", "low", "high"))
            return f"{fmt.signed(gap)} points ({fmt.signed_span(low, high)})"

        return f"Gap, {pair[0]} less {pair[1]} (95 % interval)", cell

    pairs = [list(pair) for pair in dict.fromkeys(tuple(entry["splits"]) for entry in entries)]
    return [column(pair) for pair in pairs]


def _parameters(row: MethodRow) -> str:
    return f"{row.parameters['trainable']:,} ({fmt.share_trained(row.parameters)})"


def _cost_columns(view: ReportView) -> list[Column]:
    named: list[tuple[str, str, Callable[[float], str]]] = [
        ("Peak memory", "peak_rss_bytes", fmt.size),
        ("Peak GPU memory", "peak_cuda_bytes", fmt.size),
        ("Size on disk", "artefact_bytes", fmt.size),
        ("CPU time of a run", "cpu_seconds", fmt.seconds),
    ]
    if view.timings_comparable:
        named.insert(0, ("Train time per epoch", "seconds_per_epoch", fmt.seconds))
    if not any(row.cost["peak_cuda_bytes"] for row in view.rows):
        named = [column for column in named if column[1] != "peak_cuda_bytes"]
    return [(head, _cost_cell(key, write, view)) for head, key, write in named]


def _cost_cell(key: str, write: Callable[[float], str], view: ReportView) -> Callable[[MethodRow], str]:
    full = view.full

    def cell(row: MethodRow) -> str:
        value = row.cost[key]
        if value is None:
            return fmt.NOTHING
        if full is None or row is full or not full.cost[key]:
            return write(value)
        return f"{write(value)} ({fmt.ratio(value, full.cost[key])})"

    return cell
