"""How the app tells a user of a mistake."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape

from orbitune.errors import OrbituneError

_FOLDERS = re.compile(
    r"(?<![\w.:/])~?/(?:[^\s/'\"`]+/)*(?=[^\s/])"
)  # before a name, with a space or quote before it


@contextmanager
def told() -> Iterator[None]:
    """Show a mistake of the user as Gradio shows one, which takes it for HTML."""
    import gradio as gr

    try:
        yield
    except OrbituneError as error:
        message = escape(plain(str(error)), quote=False)
        raise gr.Error(message, duration=None, print_exception=False) from None


def plain(message: str) -> str:
    """Return a message in one line, in which files are named without their folders on the server."""
    return " ".join(_FOLDERS.sub("", message).split())
