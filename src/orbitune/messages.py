"""Messages of the library as lines on stderr."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class StderrHandler(logging.Handler):
    """Handler that prints a message as a line on stderr, warnings with a prefix."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        with suppress(RuntimeError):  # a signal handler may log while another message is being written
            print(level + record.getMessage(), file=sys.stderr)


@contextmanager
def shown_on_stderr(progress: bool) -> Iterator[None]:
    """Show messages on stderr, unless the program configures Orbitune's logging."""
    logger = logging.getLogger("orbitune")
    if not progress or logger.hasHandlers():
        yield
        return
    handler, level = StderrHandler(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
