"""User errors of the app: one line, without the server's folders."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape

from orbitune.errors import OrbituneError

# Absolute folders in front of a file name, after a space or a quote.
_FOLDERS = re.compile(r"(?<![\w.:/])~?/(?:[^\s/'\"`]+/)*(?=[^\s/])")


@contextmanager
def as_gradio_errors() -> Iterator[None]:
    """Raise user errors as `gr.Error`, escaped because Gradio renders them as HTML."""
    import gradio as gr

    try:
        yield
    except OrbituneError as error:
        message = escape(hide_folders(str(error)), quote=False)
        raise gr.Error(message, duration=None, print_exception=False) from None


def hide_folders(message: str) -> str:
    """Return a message as one line, with file names in place of full paths."""
    return " ".join(_FOLDERS.sub("", message).split())
