"""What a reader must know before the answer: seen tiles, edges of searches, and trivial classifiers."""

from orbitune.reporting import formatting as fmt
from orbitune.study.display_names import method_name
from orbitune.study.report.leakage import baselines_on
from orbitune.study.report.methods.tuning import warn_edges
from orbitune.study.report.seen_tiles import warn_seen
from orbitune.study.report.view_model import ReportView


def find_cautions(view: ReportView) -> list[str]:
    """Return the warnings that stand above the answer, a sentence each."""
    return [*warn_seen(view), *warn_edges(view), *_warn_baselines(view)]


def _warn_baselines(view: ReportView) -> list[str]:
    """Return a warning for each split on which a trivial classifier is as accurate as the best method."""
    lines = []
    for split in view.splits:
        groups, baselines = view.groups_on(split), baselines_on(view, split)
        if not (groups and baselines):
            continue
        best = max(groups, key=lambda group: group.accuracy[0])
        trivial = max(baselines, key=lambda each: each.accuracy)
        if trivial.accuracy >= best.accuracy[0]:
            where = f" on the {split} split" if len(view.splits) > 1 else ""
            lines.append(
                f"Warning: {trivial.name} alone reach {fmt.percent(trivial.accuracy, 1)}{where}, and no "
                f"method more: the best, {method_name(best.method)}, has {fmt.percent(best.accuracy[0], 1)}. "
                "Train longer (--epochs), on more tiles, or take the trivial classifier."
            )
    return lines
