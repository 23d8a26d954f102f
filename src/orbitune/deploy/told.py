"""How the app tells a user of a mistake."""

from collections.abc import Iterator
from contextlib import contextmanager

from orbitune.errors import OrbituneError


@contextmanager
def told() -> Iterator[None]:
    """Show a mistake of the user as Gradio shows one."""
    import gradio as gr

    try:
        yield
    except OrbituneError as error:
        raise gr.Error(str(error), duration=None, print_exception=False) from None
