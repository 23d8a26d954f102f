"""Gradio's pages, closed: of what strangers send, files that they uploaded are opened and nothing else."""

import math
from typing import Any

import gradio as gr

from orbitune.errors import OrbituneError
from orbitune.serving.security.request_checks import in_one_line, log
from orbitune.serving.storage import Storage
from orbitune.serving.uploads import MAX_LOOSE

_SESSIONS = 256  # whose state is kept in memory
_TEXT = 1000  # characters


class ClosedBlocks(gr.Blocks):
    """Blocks that take text, numbers, and files that were uploaded to this server, and nothing else.

    Gradio itself copies any file that an input names, or fetches it, unless it started the server, which it
    does not where an app mounts it. So no input reaches that code.
    """

    storage: Storage

    def take_files_from(self, storage: Storage) -> None:
        """Answer from now on, with the files that are there."""
        self.storage = storage
        self.has_launched = self.is_running = True
        self.state_session_capacity = _SESSIONS

    async def preprocess_data(
        self, block_fn: Any, inputs: Any, state: Any, explicit_call: bool = False
    ) -> Any:
        """Return what a function is called with."""
        if len(inputs) < len(block_fn.inputs):
            raise _refusal(f"This function takes {len(block_fn.inputs)} inputs.")
        return [
            self._take(block, value, state) for block, value in zip(block_fn.inputs, inputs, strict=False)
        ]

    def _take(self, block: Any, value: Any, state: Any) -> Any:
        if block.stateful:
            return state[block._id] if state is not None else None
        if state is not None and block._id in state:
            block = state[block._id]
        if isinstance(block, gr.Image | gr.File):
            return self._files(block, value)
        if isinstance(value, str) and len(value) > _TEXT:
            raise _refusal(f"{block.label} takes at most {_TEXT:,} characters.")
        if isinstance(value, float) and not math.isfinite(value):
            raise _refusal(f"{block.label} takes a finite number.")
        if value is not None and not isinstance(value, str | int | float):
            raise _refusal(f"{block.label} takes a text or a number.")
        try:
            return block.preprocess(value)
        except Exception:
            raise _refusal(f"{block.label} does not take this value.") from None

    def _files(self, block: Any, value: Any) -> Any:
        if value is None:
            return None
        many = getattr(block, "file_count", "single") != "single"
        values = value if many and isinstance(value, list) else [value]
        if len(values) > MAX_LOOSE:
            raise _refusal(f"{block.label} takes at most {MAX_LOOSE:,} files at once: send a zip.")
        if not all(isinstance(each, dict) for each in values):
            raise _refusal(f"{block.label} takes a file: upload it first.")
        try:
            paths = [str(self.storage.find_input(each.get("path"))) for each in values]
        except OrbituneError as error:
            raise _refusal(str(error)) from None
        return paths if many else paths[0]

    async def process_api(self, *args: Any, **settings: Any) -> Any:
        """Answer one call; what fails is told without a trace, which the log has in one line."""
        try:
            return await super().process_api(*args, **settings)
        except gr.Error as error:
            raise gr.Error(error.message, error.duration, print_exception=False) from None
        except Exception as error:
            log.warning("a call of the pages failed: %s", in_one_line(error))
            raise _refusal("The server could not answer this.") from None


def _refusal(message: str) -> gr.Error:
    return gr.Error(message, duration=None, print_exception=False)
