"""Messages of the logger "orbitune", as lines on stderr."""

import logging
import sys
from contextlib import suppress


class _StderrHandler(logging.Handler):
    """Handler that prints a message as one line, warnings with a prefix."""

    def emit(self, record: logging.LogRecord) -> None:
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        with suppress(RuntimeError):  # a signal handler may log while another message is being written
            print(level + record.getMessage(), file=sys.stderr)


_HANDLER = _StderrHandler()


def show_messages() -> None:
    """Print what the library logs on stderr."""
    logger = logging.getLogger("orbitune")
    logger.setLevel(logging.INFO)
    if _HANDLER not in logger.handlers:
        logger.addHandler(_HANDLER)


def hide_messages(quiet: bool) -> bool:
    """Print warnings only, for the option --quiet; return the option."""
    if quiet:
        logging.getLogger("orbitune").setLevel(logging.WARNING)
    return quiet
