"""Messages of the library as lines on stderr."""

import logging
import sys
from contextlib import suppress


class StderrHandler(logging.Handler):
    """Handler that prints a message as a line on stderr, warnings with a prefix."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        with suppress(RuntimeError):  # a signal handler may log while another message is being written
            print(level + record.getMessage(), file=sys.stderr)
