"""Numbers and lists as the report writes them."""

import html
import re
from collections.abc import Sequence
from typing import Any

DASH = NOTHING = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"
MINUS = "\N{MINUS SIGN}"


def percent(share: float, digits: int) -> str:
    return f"{100 * share:.{digits}f} %"


def span(interval: Sequence[float], digits: int) -> str:
    """Both ends of an interval of shares, in percent."""
    low, high = (f"{100 * bound:.{digits}f}" for bound in interval)
    return f"{low}{DASH}{high}"


def with_interval(accuracy: tuple[float, float, float], digits: int) -> str:
    """Value, low and high as a table has them."""
    return f"{percent(accuracy[0], digits)} ({span(accuracy[1:], digits)})"


def signed(points: float, digits: int = 2) -> str:
    """A difference with its sign."""
    text = f"{points:+.{digits}f}"
    return text.replace("-", MINUS) if float(text) else text.lstrip("+-")


def signed_span(low: float, high: float, digits: int = 2) -> str:
    return f"{signed(low, digits)} to {signed(high, digits)}"


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def share_trained(parameters: dict[str, int]) -> str:
    percentage = 100 * parameters["trainable"] / parameters["total"]
    return f"{percentage:.2f} %" if percentage >= 0.01 else "less than 0.01 %"


def ratio(value: float, full: float) -> str:
    times = value / full
    return (f"{times:.2f}" if times >= 0.1 else f"{times:.2g}") + TIMES


def three_digits(value: float) -> str:
    """About three significant digits, with thousands separated."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def seconds(value: float) -> str:
    return f"{three_digits(value)} s"


def size(count: float) -> str:
    """Bytes in MB or GB."""
    return f"{three_digits(count / 1e9)} GB" if count >= 1e9 else f"{three_digits(count / 1e6)} MB"


def memory(cost: dict[str, Any]) -> float:
    """Peak bytes of the GPU, where the run used one, else of the process."""
    return float(cost["peak_cuda_bytes"] or cost["peak_rss_bytes"])


def listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def one_line(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return " ".join(text.split())


def slug(text: str) -> str:
    """Text as a file or an anchor is called."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def markdown(value: Any) -> str:
    """Text that GitHub shows as it is, in a table cell too: no markup, no pipes, one line."""
    return html.escape(re.sub(r"([\\`*\[\]|])", r"\\\1", one_line(value)), quote=False)
