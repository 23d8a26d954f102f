"""The methods of a study as a journal prints them: data, training, evaluation, statistics, computing."""

from collections.abc import Sequence

from orbitune.errors import counted
from orbitune.evaluation.statistics.sentences import format_points
from orbitune.reporting import formatting as fmt
from orbitune.study.display_names import method_name
from orbitune.study.findings import SweepVerdict
from orbitune.study.records import RunRecord
from orbitune.study.report.methods.settings import settings_beyond_defaults
from orbitune.study.report.split_origins import split_origins
from orbitune.study.report.view_model import ReportView


def write_methods(view: ReportView) -> list[str]:
    """Return one paragraph for each part of a methods section; none where no run is finished."""
    if not view.rows:
        return []
    return [_data(view), _training(view), _evaluation(view), *_statistics(view), _computing(view)]


def _data(view: ReportView) -> str:
    """Describe tiles, classes and splits."""
    splits = []
    for split in view.splits:
        sizes = view.groups_on(split)[0].runs[0].finished.data.sizes
        parts = ", ".join(f"{sizes[part]:,} {part}" for part in ("train", "validation", "test"))
        splits.append(f"{view.split_name(split) or 'split'}: {parts}")
    classes = counted(len(view.results.data.classes), "class")
    origins = " ".join(split_origins(view))
    return f"Data. {view.results.data.name}, {classes}; {'; '.join(splits)}. {origins}".rstrip()


def _training(view: ReportView) -> str:
    """Describe backbone, methods and settings that the runs share, and the learning rates."""
    recipes = [run.finished.recipe for row in view.rows for run in row.runs]

    def values(name: str) -> str:
        return " or ".join(dict.fromkeys(str(getattr(recipe, name)) for recipe in recipes))

    backbones = [*view.results.backbones.values()] or [view.results.backbone]
    named = fmt.listed(
        [f"{each.description.rstrip('.')} ({each.parameters:,} parameters)" for each in backbones]
    )
    at = "evaluated at" if any(recipe.sizes for recipe in recipes) else "at"
    epochs = f"{values('epochs')} {'epoch' if values('epochs') == '1' else 'epochs'}"
    settings = settings_beyond_defaults(view)
    further = f"Other settings that differ from the defaults: {'; '.join(settings)}. " if settings else ""
    return (
        f"Training. {fmt.capital(fmt.listed([row.title for row in view.rows]))} of {named}, {at} "
        f"{values('image_size')} pixels, with AdamW, batches of {values('batch_size')}, {epochs}, "
        f"{values('schedule')} schedule after a warm-up of {values('warmup')} of the steps, weight "
        f"decay {values('weight_decay')}, augmentation {values('augment')}, precision {values('precision')}. "
        f"{further}{_learning_rates(view)} {_repetitions(view)}"
    )


def _learning_rates(view: ReportView) -> str:
    """Describe the learning rates, and whether they were tuned."""
    rates = {row.title: list(dict.fromkeys(_rate(run) for run in row.runs)) for row in view.rows}
    chosen = "chosen on validation tiles" if view.results.trials else "not tuned"
    if len(rates) > 1:
        named = ", ".join(f"{title} {' or '.join(each)}" for title, each in rates.items())
        return f"Learning rates ({chosen}): {named}."
    [own] = rates.values()
    return f"Learning rate{'s' * (len(own) > 1)} ({chosen}): {' or '.join(own)}."


def _repetitions(view: ReportView) -> str:
    """Describe how often the methods were trained."""
    if len(view.results.done) == 1:
        return "It was trained once, with one seed, in a process of its own."
    subject = "Every method was trained on the same tiles" if len(view.rows) > 1 else "It was trained"
    return f"{subject} with {_seeds(view)}, each run in a process of its own."


def _rate(run: RunRecord) -> str:
    """Return the learning rate of a run; where it is not stated, the method's own."""
    rate = run.finished.recipe.learning_rate
    return "the method's default" if rate is None else f"{rate:g}"


def _seeds(view: ReportView) -> str:
    """Return the numbers of seeds of the methods in words."""
    counts = view.seed_counts
    return counted(counts[0], "seed") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"


def _evaluation(view: ReportView) -> str:
    """Describe what is measured on which tiles."""
    folds = f", pooled over {view.folds} folds" if view.folds else ""
    added = (
        "with two right and two wrong tiles added (Agresti and Coull 1998, "
        "doi:10.1080/00031305.1998.10480550)"
    )
    if view.seed_counts == [1]:
        intervals = (
            f"of one seed with 95 % intervals: Wilson's (1927) of the accuracy, and of macro-F1 a bootstrap "
            f"over tiles, {added}."
        )
    else:
        intervals = (
            "as means over the seeds with 95 % intervals: a bootstrap over seeds and tiles (Owen 2007, "
            f"doi:10.1214/07-AOAS122), {added}, or for the accuracy of one seed Wilson's (1927)."
        )
    return (
        "Evaluation. Each run kept the epoch that was best on the validation tiles and then read the test "
        f"tiles. Reported are accuracy and macro-F1 (the mean F1 of the classes) on the test tiles{folds}, "
        f"{intervals}"
    )


def _statistics(view: ReportView) -> list[str]:
    """Describe the comparison of methods, and of splits; none without comparisons."""
    verdicts, parts = view.results.verdicts, []
    if verdicts:
        values = list(dict.fromkeys(each.margin for each in verdicts))
        several = f"{fmt.listed([f'{each:g}' for each in values])} points"
        margins = several if len(values) > 1 else format_points(values[0])
        families = fmt.listed([str(each) for each in sorted({each.family for each in verdicts})])
        references = fmt.listed(list(dict.fromkeys(method_name(each.reference) for each in verdicts)))
        parts.append(
            f"Methods were compared with {references} on the same test tiles by a score test whose variance "
            "includes images and seeds (Tango 1998, Statistics in Medicine 17:891-908; Obuchowski and "
            "Rockette 1995, Communications in Statistics 24:285-308), with a margin of "
            f"{margins}. {_correction(families, older=not verdicts[0].simultaneous)} A method is "
            "called within the margin, worse by more than it, worse or better where all of its interval is."
        )
    if swept := view.results.sweep_verdicts:
        parts.append(_sweeps(swept))
    if view.results.gaps:
        parts.append(
            "Splits were compared as they are and at one mix of classes (direct standardisation), with a "
            "bootstrap over seeds and, within each class, tiles; one right and one wrong tile are added to "
            "each split (Agresti and Caffo 2000, doi:10.1080/00031305.2000.10474560)."
        )
    return [f"Statistics. {' '.join(parts)}"] if parts else []


def _sweeps(verdicts: Sequence[SweepVerdict]) -> str:
    """Describe the comparison of methods at the points of sweeps."""
    together = ""
    if families := sorted({verdict.family for verdict in verdicts} - {1}):
        numbers = fmt.listed([str(family) for family in families])
        together = f"; the m = {numbers} comparisons of a sweep on a split were judged together"
    drawn = any(verdict.sweep == "shots" for verdict in verdicts)
    return (
        "At each point of a sweep methods were compared likewise with the reference at that point, at the "
        f"learning rates of the comparison{together}."
        + " That all methods of a seed are trained on the same few tiles is not used."
        * drawn
    )


def _correction(families: str, *, older: bool) -> str:
    """Describe how several comparisons are judged together."""
    if older:
        return "An earlier version corrected the p values alone, by Holm's method (1979), not the intervals."
    if families == "1":
        return (
            "Each interval has a confidence of 95 %, as none are judged together. The error of 5 % is that "
            "of one comparison: over several it is larger."
        )
    return (
        f"Each interval has a confidence of 1 \N{MINUS SIGN} 5 % / m, with m = {families} comparisons that "
        "are judged together, and p values are multiplied by m (Bonferroni; Dunn 1961, "
        "doi:10.1080/01621459.1961.10482090). The error of 5 % is that of one split and family: over several "
        "together it is larger."
    )


def _computing(view: ReportView) -> str:
    """Describe software and hardware."""
    machine = view.results.environment
    environments = [run.environment for run in view.results.done if run.environment] or [machine]
    versions = [each.orbitune + (f" (code {each.code})" if each.code else "") for each in environments]
    code = fmt.listed([*dict.fromkeys(versions)])
    tried = [*dict.fromkeys(each.code for each in view.results.trials if each.code)]
    same = {*tried} <= {each.code for each in environments}
    trials = "" if same else f"Trials of learning rates are of code {fmt.listed(tried)}. "
    where = machine.gpu or f"{machine.processor}, {counted(machine.cores or machine.threads, 'core')}"
    return (
        f"Computing. The runs are of Orbitune {code}, PyTorch {machine.torch}, transformers "
        f"{machine.transformers}, PEFT {machine.peft}, on {where}. {trials}CPU time is that of all cores "
        "over a whole run, memory the peak of the run's process or GPU, and size that of the saved weights."
    )
