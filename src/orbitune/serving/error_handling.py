"""User errors in the app."""

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
    """Raise user errors as Gradio's errors, escaped, as Gradio renders them as HTML."""
    import gradio as gr

    try:
        yield
    except OrbituneError as error:
        message = escape(plain(str(error)), quote=False)
        raise gr.Error(message, duration=None, print_exception=False) from None


def plain(message: str) -> str:
    """Return a message as one line, without the server's folders in file names."""
    return " ".join(_FOLDERS.sub("", message).split())
