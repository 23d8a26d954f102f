"""Messages of the logger "orbitune", as lines on stderr."""

import logging

from orbitune.messages import StderrHandler

_HANDLER = StderrHandler()


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
