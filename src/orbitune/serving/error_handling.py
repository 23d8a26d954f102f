"""Errors of the app: one sentence without the server's folders, and a word for programs."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import escape

from orbitune.errors import OrbituneError

# Absolute folders in front of a file name, after a space or a quote.
_FOLDERS = re.compile(r"(?<![\w.:/])~?/(?:[^\s/'\"`]+/)*(?=[^\s/])")
# The kind of an error by its status, where the error itself has none.
_KINDS = {
    400: "invalid_request",
    401: "login_needed",
    403: "foreign_origin",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    413: "too_large",
    421: "foreign_host",
    422: "invalid_parameter",
    429: "too_many_attempts",
    503: "busy",
}


class ApiError(Exception):
    """An error of the API.

    Args:
        status: of the response.
        sentence: for people.
        kind: a word for programs; None for that of the status.
        headers: of the response.
    """

    def __init__(
        self, status: int, sentence: str, *, kind: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(sentence)
        self.status, self.kind, self.headers = status, kind, headers

    @classmethod
    def of(cls, status: int, error: OrbituneError, *, headers: Mapping[str, str] | None = None) -> "ApiError":
        """Return the error for a user error, without the server's folders."""
        return cls(status, hide_folders(str(error)), kind=error.kind, headers=headers)


def error_body(status: int, sentence: str, *, kind: str | None = None) -> dict[str, str]:
    """Return the body of an error's response.

    Args:
        status: of the response.
        sentence: for people.
        kind: a word for programs; None for that of the status.
    """
    return {"detail": sentence, "kind": kind or _KINDS.get(status, "server_error")}


def missing_page(root_path: str) -> str:
    """Return a page that tells a browser where the app is.

    Args:
        root_path: path under which a proxy serves the app.
    """
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Not found</title>'
        f'<h1>There is no such page</h1><p><a href="{root_path}/">Open the app</a>, or read '
        f'<a href="{root_path}/api/docs">what its API offers</a>.</p></html>'
    )


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
