"""Gradio blocks that open only uploaded files, whatever a client sends."""

import math
from typing import Any

import gradio as gr

from orbitune.errors import OrbituneError
from orbitune.serving.security.request_checks import describe_error, log
from orbitune.serving.storage import Storage
from orbitune.serving.uploads import MAX_FILES_AT_ONCE

_MAX_SESSIONS = 256  # with state in memory
_MAX_TEXT = 1000  # characters


class RestrictedBlocks(gr.Blocks):
    """Blocks whose inputs are text, numbers, and files uploaded to this server.

    Gradio's own preprocessing copies or fetches any file that an input names if the blocks are mounted in
    another app. Here no input reaches that code.
    """

    storage: Storage

    def use_storage(self, storage: Storage) -> None:
        """Start to answer calls; files are looked up in this storage."""
        self.storage = storage
        self.has_launched = self.is_running = True
        self.state_session_capacity = _MAX_SESSIONS

    async def preprocess_data(
        self, block_fn: Any, inputs: Any, state: Any, explicit_call: bool = False
    ) -> Any:
        """Return the arguments of a function call."""
        if len(inputs) < len(block_fn.inputs):
            raise _refusal(f"This function takes {len(block_fn.inputs)} inputs.")
        pairs = zip(block_fn.inputs, inputs, strict=False)
        return [self._check_value(block, value, state=state) for block, value in pairs]

    def _check_value(self, block: Any, value: Any, *, state: Any) -> Any:
        """Return the argument for an input, or refuse the value."""
        if block.stateful:
            return state[block._id] if state is not None else None
        if state is not None and block._id in state:
            block = state[block._id]
        if isinstance(block, gr.Image | gr.File):
            return self._find_files(block, value)
        if isinstance(value, str) and len(value) > _MAX_TEXT:
            raise _refusal(f"{block.label} takes at most {_MAX_TEXT:,} characters.")
        if isinstance(value, float) and not math.isfinite(value):
            raise _refusal(f"{block.label} takes a finite number.")
        if value is not None and not isinstance(value, str | int | float):
            raise _refusal(f"{block.label} takes a text or a number.")
        try:
            return block.preprocess(value)
        except Exception:
            raise _refusal(f"{block.label} does not take this value.") from None

    def _find_files(self, block: Any, value: Any) -> Any:
        """Return the path or paths of uploaded files."""
        if value is None:
            return None
        many = getattr(block, "file_count", "single") != "single"
        values = value if many and isinstance(value, list) else [value]
        if len(values) > MAX_FILES_AT_ONCE:
            raise _refusal(f"{block.label} takes at most {MAX_FILES_AT_ONCE:,} files at once: send a zip.")
        if not all(isinstance(each, dict) for each in values):
            raise _refusal(f"{block.label} takes a file: upload it first.")
        try:
            paths = [str(self.storage.find_input(each.get("path"))) for each in values]
        except OrbituneError as error:
            raise _refusal(str(error)) from None
        return paths if many else paths[0]

    async def process_api(self, *args: Any, **settings: Any) -> Any:
        """Handle one call; errors reach the client without a traceback."""
        try:
            return await super().process_api(*args, **settings)
        except gr.Error as error:
            raise gr.Error(error.message, error.duration, print_exception=False) from None
        except Exception as error:
            log.warning("a call of the pages failed: %s", describe_error(error))
            raise _refusal("The server could not answer this.") from None


def _refusal(message: str) -> gr.Error:
    return gr.Error(message, duration=None, print_exception=False)
