"""Sentences on comparisons, with the interval and the p value that they rest on."""

from collections.abc import Mapping

from orbitune.evaluation.statistics.comparison import Comparison


def verdict_sentence(compared: Comparison, names: Mapping[str, str] | None = None) -> str:
    """Return the outcome of a comparison as a sentence.

    Args:
        compared: the comparison.
        names: display names of methods; by default as in the comparison.
    """
    method, reference = _names(compared, names)
    found = f"{claim(compared, method=method, reference=reference)} ({_numbers(compared)})"
    needed = advice(compared)
    return f"{scope(compared)}, {found}{f'; {needed}' if needed else ''}."


def claim(compared: Comparison, *, method: str, reference: str | None = None) -> str:
    """Return what the interval of a comparison shows, without a full stop.

    Args:
        compared: the comparison.
        method, reference: display names; None for a reference that was named before.
    """
    points = format_points(compared.margin)
    than, of = (f" than {reference}", f" of {reference}") if reference else ("", "")
    less = f"{method} is less accurate{than}"
    if compared.outcome == "better":
        return f"{method} is more accurate{than}"
    if compared.outcome == "within margin":
        worse = compared.differs and compared.difference < 0
        return f"{less}, by less than {points}" if worse else f"{method} is within {points}{of}"
    if compared.outcome == "worse than margin":
        return f"{less}, by more than {points}"
    if compared.outcome == "worse":
        return f"{less}, but whether by more than {points} is open"
    untested = ", and untested whether it differs" if compared.equal is None else ""
    return f"it is open whether {method} is within {points}{of}{untested}"


def difference_sentence(compared: Comparison, names: Mapping[str, str] | None = None) -> str:
    """Return whether the methods, and these trained models, differ as a sentence; see `verdict_sentence`.

    Args:
        compared: the comparison.
        names: titles by method; by default the names themselves.

    Returns:
        One sentence.
    """
    method, reference = _names(compared, names)
    better, worse = (method, reference) if compared.difference > 0 else (reference, method)
    models = f"McNemar of these trained models, {_p_value(compared.differ, compared)}"
    if not compared.tests_methods or compared.equal is None:
        found = f"whether the methods differ was not tested ({models})"
    else:
        none = "no difference was detected" + (" over folds" if compared.over_folds else "")
        found = f"{better} did better than {worse}" if compared.differs else none
        p = _p_value(compared.equal, compared) + _folds(compared, f", {interval_name(compared)} over folds")
        found += f" (score test, {p}; {models})"
    mean = " on average" if compared.seeds * compared.reference_seeds > 1 else ""
    return (
        f"{scope(compared)}, {method} alone was right on {compared.wins:,.0f} of {compared.images:,} "
        f"test images and {reference} alone on {compared.losses:,.0f}{mean}: {found}."
    )


def scope(compared: Comparison) -> str:
    """Return what a comparison holds for, as the beginning of a sentence."""
    seeds = min(compared.seeds, compared.reference_seeds)
    return "Of these models of one seed" if seeds == 1 else f"Over {seeds} seeds"


def interval_name(compared: Comparison) -> str:
    """Return the name of the interval that the outcome rests on."""
    if compared.family == 1:
        return "95 % interval"
    return f"{'simultaneous' if compared.simultaneous else 'uncorrected'} 95 % interval"


def round_up_images(images: int) -> int:
    """Round a number of images needed up to two digits."""
    unit = 10 ** max(0, len(str(images)) - 2)
    return -(-images // unit) * unit


def p_of_outcome(compared: Comparison) -> float | None:
    """Return the corrected p value that belongs to an outcome; None where it is open."""
    if compared.outcome == "within margin":
        return compared.within
    if compared.outcome == "worse than margin":
        return compared.beyond
    return None if compared.outcome == "open" else compared.equal


def _numbers(compared: Comparison) -> str:
    """Return difference, interval and p value of the outcome."""
    low, high = compared.interval
    interval = f"{interval_name(compared)} {signed_range(low, high)}"
    parts = [f"{with_sign(compared.difference)} points", f"{interval}{_folds(compared, ', over folds')}"]
    p = p_of_outcome(compared)
    return ", ".join(parts if p is None else [*parts, _p_value(p, compared)])


def advice(compared: Comparison) -> str:
    """Return what it would take to decide on the margin, without a full stop; empty if that is not known."""
    needed = compared.needed
    if needed is None:
        return ""
    truth = (
        f"a true difference of {with_sign(needed.difference, '+.4g')} points"
        if needed.difference
        else "equal methods"
    )
    seeds = min(compared.seeds, compared.reference_seeds)
    if needed.seeds is not None and needed.seeds <= seeds:
        return f"with {truth}, 80 % of such studies would have decided"
    ways = [f"{needed.seeds:,} seeds on these test images"] if needed.seeds else []
    if needed.images is not None:
        own = "these seeds" if seeds > 1 else "this seed"
        ways += [f"{round_up_images(needed.images):,} test images with {own}"]
    limit = " (the spread between seeds taken at its upper 80 % limit)" if seeds > 1 else ""
    if not ways:
        found = f"no number of test images with {seeds:,} seeds would decide 80 % of the time"
    else:
        found = f"deciding 80 % of the time takes {' or '.join(ways)}"
    return f"with {truth}, {found}{limit}"


def format_points(points: float) -> str:
    """Return percentage points as text, such as "0.5 points" or "1 point"."""
    return f"{points:g} point" if points == 1 else f"{points:g} points"


def with_sign(points: float, spec: str = "+.2f") -> str:
    """Return a difference as text, with a minus sign in place of a hyphen; a zero has no sign."""
    text = f"{points:{spec}}"
    return text.replace("-", "\N{MINUS SIGN}") if float(text) else text.lstrip("+-")


def signed_range(low: float, high: float, *, spec: str = "+.2f") -> str:
    """Return the interval of a difference as text; `spec` as for `with_sign`."""
    return f"{with_sign(low, spec)} to {with_sign(high, spec)}"


def _folds(compared: Comparison, name: str) -> str:
    """Return the interval over folds after its name; empty for an ordinary split."""
    if compared.over_folds is None:
        return ""
    low, high = compared.over_folds
    return f"{name} {signed_range(low, high)}"


def _names(compared: Comparison, names: Mapping[str, str] | None) -> tuple[str, str]:
    """Return the display names of the method and the reference."""
    names = names or {}
    return names.get(compared.method, compared.method), names.get(compared.reference, compared.reference)


def _p_value(p: float, compared: Comparison) -> str:
    """Format a p value."""
    value = "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"
    return value + corrected(compared)


def corrected(compared: Comparison) -> str:
    """Return the words after a corrected p value; empty for a single comparison."""
    return f" corrected for {compared.family} comparisons" if compared.family > 1 else ""
