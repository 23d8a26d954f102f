"""Methodology of a study in sentences."""

from orbitune.errors import counted
from orbitune.reporting import formatting as fmt
from orbitune.reporting.run_sentences import (
    COST_NOTE,
    describe_computation,
    describe_duration,
    describe_restarts,
)
from orbitune.study.display_names import method_name, run_name
from orbitune.study.records import RunRecord
from orbitune.study.report.methods.design import describe_design
from orbitune.study.report.methods.tuning import describe_searches
from orbitune.study.report.view_model import MethodRow, ReportView

_FEW_SEEDS = 5  # a bootstrap over so few or fewer has too short tails


def describe_runs(view: ReportView) -> list[str]:
    """Return sentences about each run where there are few, else about each method."""
    done = view.results.done
    if len(done) == len(view.rows):
        lines = [_run_sentences(run) for run in done]
    else:
        lines = [_best_epochs(view), *_computation(view), *_resumed(view)]
    return [
        *describe_design(view),
        *lines,
        *describe_searches(view),
        _test_reads(view),
        *_intervals(view),
        *_comparisons(view),
        COST_NOTE,
    ]


def _run_sentences(run: RunRecord) -> str:
    """Describe one run: epoch, computation, duration."""
    result = run.finished
    resumed = (
        f" The run was resumed {result.cost.resumed}{fmt.TIMES}, so its time and memory may be less exact."
        if result.cost.resumed
        else ""
    )
    return (
        f"{method_name(run.method)}: of {len(result.history)} epochs, epoch {result.best_epoch} had the best "
        f"validation {result.recipe.criterion}; its checkpoint was kept."
        + describe_restarts(result.recipe)
        + describe_computation(result.compute)
        + describe_duration(result.cost.run_seconds)
        + resumed
    )


def _best_epochs(view: ReportView) -> str:
    """Describe which epochs were kept, for all methods in one sentence."""

    def epochs(row: MethodRow) -> str:
        best = sorted({run.finished.best_epoch for run in row.runs})
        return f"{row.title} {best[0]}" if len(best) == 1 else f"{row.title} {best[0]} to {best[-1]}"

    total = max(len(run.finished.history) for run in view.results.done)
    return (
        f"Each run kept the checkpoint of the epoch with the best validation {_criterion(view)}. "
        f"Epochs kept, of {total}: {', '.join(map(epochs, view.rows))}."
    )


def _criterion(view: ReportView) -> str:
    """Return the validation score that chose the epochs, such as accuracy."""
    return " or ".join(dict.fromkeys(run.finished.recipe.criterion for run in view.results.done))


def _computation(view: ReportView) -> list[str]:
    """Describe how the runs were computed, with the methods that share it."""
    titles: dict[str, list[str]] = {}
    for row in view.rows:
        for sentence in dict.fromkeys(describe_computation(run.finished.compute) for run in row.runs):
            titles.setdefault(sentence.strip(), []).append(row.title)
    return [
        f"{sentence.removesuffix('.')}: {', '.join(methods)}."
        for sentence, methods in titles.items()
        if sentence
    ]


def _resumed(view: ReportView) -> list[str]:
    """Name the runs that were resumed."""
    names = [run_name(run) for run in view.results.done if run.finished.cost.resumed]
    if not names:
        return []
    return [f"Resumed runs, whose time and memory may be less exact: {fmt.listed(names)}."]


def _test_reads(view: ReportView) -> str:
    """Describe how often the test split was read, with exceptions by name."""
    reads = {run_name(run): run.finished.test_reads for run in view.results.done}
    reads |= {run_name(run): view.results.test_reads.get(run.name, 0) for run in view.results.failed}
    once = [name for name, count in reads.items() if count == 1]
    if not once:
        first = "No run read the test split exactly once."
    elif len(reads) == 1:
        first = "The test split was read once, after the epoch had been chosen on validation."
    else:
        runs = f"each of {len(once)} runs" if len(once) > 1 else once[0]
        first = f"The test split was read once by {runs}, after the epoch had been chosen on validation."
    others = [f"{name} {_read(count)}" for name, count in reads.items() if count != 1]
    sentences = [first, f"{fmt.capital(fmt.listed(others))}." if others else ""]
    trials = [trial.test_reads for trial in view.results.trials if trial.test_reads is not None]
    if trials:
        sentences += [f"{fmt.capital(counted(len(trials), 'learning-rate trial'))} {_read(sum(trials))}."]
    return " ".join(filter(None, sentences))


def _read(count: int) -> str:
    return {0: "never read it", 1: "read it once", 2: "read it twice"}.get(count, f"read it {count} times")


def _comparisons(view: ReportView) -> list[str]:
    """Describe what is compared in a study of several backbones."""
    if not view.backbones or not view.results.verdicts:
        return []
    return [
        "On each backbone every method is compared with the reference; with each method every backbone is "
        f"compared with each other. {_families(view)} "
        "A backbone is called better if the score test, which includes the variance between seeds, finds a "
        "difference at 5 %"
        + (", and the interval over folds too." if view.folds else ".")
        + " McNemar's test is about the trained models alone."
    ]


def _families(view: ReportView) -> str:
    """Describe how many comparisons are judged together."""
    families = sorted({verdict.family for verdict in view.results.verdicts})
    if len(families) == 1:
        return f"All {families[0]} comparisons of a split are judged together."
    numbers = fmt.listed([str(each) for each in families])
    return f"The comparisons of a split are judged together in families, of {numbers} comparisons."


def _intervals(view: ReportView) -> list[str]:
    """Describe what the intervals of the accuracy cover."""
    if view.folds:
        return [_fold_note(view), *_seed_note(view)]
    return _seed_note(view)


def _fold_note(view: ReportView) -> str:
    """Describe how folds are pooled, and what their intervals mean."""
    pooled = "every fold, with the tiles of all folds pooled"
    checked = view.checked_folds if view.checks_first_fold else pooled
    return (
        f"In {view.folds}-fold cross-validation each tile is tested once, by the model of its fold. The next "
        "fold chooses the epoch and, with tuning, the learning rate; the others train. Accuracies and "
        "comparisons pool the tiles of all folds, as if they were one test split. The models share training "
        "tiles, so these intervals cover other test tiles, but not other training tiles, a variance that "
        "folds cannot estimate without bias (Bengio and Grandvalet 2004, JMLR 5:1089). The interval over "
        "folds of a comparison allows for it approximately, by the corrected resampled t test (Nadeau and "
        "Bengio 2003, doi:10.1023/A:1024068626366); a method is called better, within the margin or not only "
        "if this interval agrees, and so is a split called harder. "
        f"Leakage checks and robustness are of {checked}."
    )


def _few_seeds(view: ReportView) -> str:
    """Say what intervals over few seeds miss; empty where there are more."""
    fewest = min(group.seeds for group in view.groups if group.seeds > 1)
    if fewest > _FEW_SEEDS:
        return ""
    gaps = ", of macro-F1 and of gaps between splits" if view.results.gaps else " and of macro-F1"
    return (
        f" Where {fewest} seeds differ by much more than the test tiles explain, the intervals of "
        f"accuracies{gaps} are too narrow; those of the differences between methods allow for it."
    )


def _seed_note(view: ReportView) -> list[str]:
    """Describe what the intervals of the accuracy cover besides."""
    if any(group.seeds > 1 for group in view.groups):
        return [
            "Accuracies over several seeds have 95 % intervals from a bootstrap over seeds and test tiles "
            "(Owen 2007), which cover other seeds and other tiles of the same kind. Single runs have Wilson "
            "intervals (Wilson 1927). Differences have the interval of a score test that includes the "
            "variance between seeds (see orbitune.evaluation.statistics.paired)." + _few_seeds(view)
        ]
    return [
        "Accuracies have 95 % Wilson score intervals (Wilson 1927), macro-F1 those of a bootstrap over test "
        "tiles. They cover the random choice of test tiles, not the randomness of training: only one seed "
        "was run."
    ]
