"""Times of records, as ISO 8601 in UTC."""

from datetime import datetime, timezone


def timestamp() -> str:
    """Return the time now, to the second, such as 2026-11-27T10:15:00+00:00."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def format_time(stamp: str) -> str:
    """Return an ISO 8601 time as text, such as 2026-11-27 10:15 UTC."""
    return f"{datetime.fromisoformat(stamp).astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"
