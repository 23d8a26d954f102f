"""How a study was done, in sentences: what was read when, what computed, and what the numbers mean."""

from collections.abc import Mapping
from typing import Any

from orbitune.study.display_names import method_name, run_name
from orbitune.study.report import formatting as fmt
from orbitune.study.report.view_model import MethodRow, ReportView, Run

_MEANINGS = (
    "Time per epoch and images per second are of training alone, without evaluation. Peak memory is that "
    "of the whole process. CPU time adds up all cores over the whole run."
)


def describe_runs(view: ReportView) -> list[str]:
    """Sentences about the runs; one for each run where there are few, else for each method."""
    if len(view.done) == len(view.rows):
        lines = [_run_sentences(run) for run in view.done]
    else:
        lines = [_kept(view), *_ways(view), *_resumed(view)]
    return [*lines, _test_reads(view), *_intervals(view), _MEANINGS]


def leakage_checks(entry: Mapping[str, Any]) -> list[str]:
    """What was found about one split."""
    lines = [
        f"{fmt.capital(' and '.join(leak['splits']))} tiles: {leak['sentence']}." for leak in entry["leaks"]
    ]
    lines += [
        f"{fmt.capital(base['sentence'])}. On {base['test']['count']:,} test tiles, 95 % interval "
        f"{fmt.span(base['test']['interval'], 1)} %."
        for base in entry["baselines"]
    ]
    if "no_coordinates" in entry:
        lines += [f"No baseline of coordinates: {entry['no_coordinates']}"]
    return lines


def _run_sentences(run: Run) -> str:
    result = run["result"]
    return (
        f"{method_name(run['method'])}: the checkpoint of epoch {result['best_epoch']} of "
        f"{len(result['history'])} had the best validation accuracy and was kept."
        + _computed(result.get("compute"))
        + _whole(result["cost"].get("run_seconds"))
        + (
            f" The run was resumed {result['cost']['resumed']}{fmt.TIMES}: its time and memory may be less "
            "exact."
            if result["cost"]["resumed"]
            else ""
        )
    )


def _kept(view: ReportView) -> str:
    """Which epochs were kept, of all runs in one sentence."""

    def epochs(row: MethodRow) -> str:
        kept = sorted({run["result"]["best_epoch"] for run in row.runs})
        return f"{row.title} {kept[0]}" if len(kept) == 1 else f"{row.title} {kept[0]} to {kept[-1]}"

    of = max(len(run["result"]["history"]) for run in view.done)
    return (
        "Of each run the checkpoint with the best validation accuracy was kept; that was, of "
        f"{of} epochs: {', '.join(map(epochs, view.rows))}."
    )


def _ways(view: ReportView) -> list[str]:
    """How the runs computed, with the methods that did so."""
    ways: dict[str, list[str]] = {}
    for row in view.rows:
        for way in dict.fromkeys(_computed(run["result"].get("compute")) for run in row.runs):
            ways.setdefault(way.strip(), []).append(row.title)
    return [f"{fmt.capital(', '.join(titles))}: {way}" for way, titles in ways.items() if way]


def _resumed(view: ReportView) -> list[str]:
    names = [run_name(run) for run in view.done if run["result"]["cost"]["resumed"]]
    if not names:
        return []
    return [f"Resumed, so that time and memory may be less exact: {fmt.listed(names)}."]


def _computed(compute: dict[str, Any] | None) -> str:
    """How a run computed, as a sentence; nothing for a result that does not fmt."""
    if compute is None:
        return ""
    tiles = f"{compute['micro_batch']} tiles at a time in {compute['precision']}"
    if compute["fast"]:
        kernels = "compiled" if compute["compiled_kernels"] else "torch's"
        return f" Computed by the fast path, {tiles}, {compute['attention']} attention, {kernels} kernels."
    reason = f", as {compute['why_not_fast']}" if compute["why_not_fast"] else ""
    return f" Computed by transformers and PEFT{reason}, {tiles}."


def _whole(seconds: float | None) -> str:
    """How long a run took in all, as a sentence; nothing for a result that does not fmt."""
    if seconds is None:
        return ""
    return f" From the cold start of its process to the proof of what it saved: {seconds / 60:.1f} minutes."


def _test_reads(view: ReportView) -> str:
    """How often the test split was read; exceptions by name."""
    reads = {run_name(run): run["result"]["test_reads"] for run in view.done}
    counted = view.results.get("test_reads", {})
    reads |= {run_name(run): counted.get(run.get("name"), 0) for run in view.failed}
    once = [name for name, count in reads.items() if count == 1]
    if not once:
        first = "No run read the test split just once."
    elif len(reads) == 1:
        first = "The test split was read once, after the epoch had been chosen on validation."
    else:
        runs = f"each of {len(once)} runs" if len(once) > 1 else once[0]
        first = f"The test split was read once by {runs}, after the epoch had been chosen on validation."
    others = [
        f"{name} read it {_times(count)}" for name, count in reads.items() if count != 1 and name not in once
    ]
    sentences = [first, f"{fmt.capital(fmt.listed(others))}." if others else ""]
    trials = [
        trial["test_reads"] for trial in view.results.get("trials", []) if trial["test_reads"] is not None
    ]
    if trials:
        sentences += [f"{len(trials)} trials read it {_times(sum(trials))}."]
    return " ".join(filter(None, sentences))


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")


def _intervals(view: ReportView) -> list[str]:
    """What the intervals of the accuracy hold, and what not."""
    if any(len(group.runs) > 1 for group in view.groups):
        return [
            "Intervals of an accuracy over several seeds are 95 % intervals by a bootstrap over seeds and "
            "test tiles (Owen 2007); they hold for other seeds and other tiles of the same kind. Of a single "
            "run they are Wilson's (1927). Differences have the interval of a score test with the spread of "
            "the seeds (see orbitune.evaluation.paired)."
        ]
    return [
        "Intervals are 95 % Wilson score intervals (Wilson 1927). They hold the chance in which tiles were "
        "drawn for the test, not the chance in training: one seed was run."
    ]
