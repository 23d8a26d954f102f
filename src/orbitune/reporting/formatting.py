"""Formatting of numbers and lists in reports."""

import html
import re
from collections.abc import Sequence
from typing import Any

from orbitune.models.metadata import ParameterCounts

DASH = NOTHING = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"


def percent(fraction: float, digits: int) -> str:
    """Format a fraction in 0..1 as a percentage."""
    return f"{100 * fraction:.{digits}f} %"


def narrow_percent(fraction: float) -> str:
    """Format a fraction for a narrow column, which would break the line before the sign."""
    return f"{100 * fraction:.1f}\N{NO-BREAK SPACE}%"


def percent_range(interval: Sequence[float], digits: int) -> str:
    """Format both ends of an interval of fractions as percentages without the sign."""
    low, high = (f"{100 * bound:.{digits}f}" for bound in interval)
    return f"{low}{DASH}{high}"


def with_interval(accuracy: Sequence[float], digits: int) -> str:
    """Format (value, low, high), fractions in 0..1, for a table cell."""
    return f"{percent(accuracy[0], digits)} ({percent_range(accuracy[1:], digits)})"


def p_value(p: float) -> str:
    """Format a p value to two or three digits."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def trained_percentage(parameters: ParameterCounts) -> str:
    """Format the percentage of parameters that is trained."""
    percentage = 100 * parameters.trainable / parameters.total
    return f"{percentage:.2f} %" if percentage >= 0.01 else "less than 0.01 %"


def trained_share(parameters: ParameterCounts) -> str:
    """Return how much is trained in words that go on with "of its parameters"."""
    return "all" if parameters.trainable == parameters.total else trained_percentage(parameters)


def ratio(value: float, full: float) -> str:
    """Format a ratio to full fine-tuning."""
    times = value / full
    return (f"{times:.2f}" if times >= 0.1 else f"{times:.2g}") + TIMES


def three_digits(value: float) -> str:
    """Format a number to about three significant digits, with thousands separated."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def seconds(value: float) -> str:
    """Format a duration in seconds."""
    return f"{three_digits(value)} s"


def duration(seconds: float) -> str:
    """Format a duration in seconds, from two minutes on in minutes."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:,.1f} min"


def size(count: float) -> str:
    """Format bytes in MB or GB."""
    return f"{three_digits(count / 1e9)} GB" if count >= 1e9 else f"{three_digits(count / 1e6)} MB"


def listed(words: Sequence[str]) -> str:
    """Join words with commas and "and"."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def capital(text: str) -> str:
    """Return the text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def single_line(value: Any) -> str:
    """Return a value as text in one line; the items of a list are joined with commas."""
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return " ".join(text.split())


def slug(text: str) -> str:
    """Return text as the name of a file or an HTML id."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def markdown(value: Any) -> str:
    """Escape text for GitHub Markdown and its table cells, as one line."""
    return html.escape(re.sub(r"([\\`*\[\]|])", r"\\\1", single_line(value)), quote=False)
