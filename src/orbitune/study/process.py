"""A program in a fresh process: its peak memory is its own, and its crash is not ours."""

import ctypes
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from orbitune.errors import Interrupted, RunError

USER_ERROR, INTERRUPTED = 2, 130
PR_SET_PDEATHSIG = 1  # of Linux's prctl(2)


def run_in_process(verb: str, recipe_file: Path, *options: str) -> dict[str, Any]:
    """Run a verb of the command line in a fresh process, see `run_module`."""
    return run_module("orbitune", verb, "--recipe", str(recipe_file), "--json", *options)


def run_module(module: str, *arguments: str) -> dict[str, Any]:
    """Run `python -m module` in a fresh process and return its JSON; progress shows on our stderr.

    The module ends as our command line does: 2 with the JSON {"error": ...}, or 130 after SIGINT.

    Raises:
        RunError: it failed; the message is its own.
        Interrupted: it, or we, received SIGINT.
    """
    command = [sys.executable, "-m", module, *arguments]
    # In a session of its own, so that Ctrl-C reaches it once, from here, and lets it save.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=_end_with_parent
    ) as process:
        try:
            output, _ = process.communicate()
        except (KeyboardInterrupt, Interrupted):
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate()
    if process.returncode == INTERRUPTED:
        raise Interrupted("Stopped. The same command goes on from there.")
    if process.returncode == 0:
        return json.loads(output)
    if process.returncode == USER_ERROR:
        raise RunError(json.loads(output)["error"])
    if process.returncode < 0:
        raise RunError(
            f"the process was killed ({signal.Signals(-process.returncode).name}); was memory short?"
        )
    raise RunError(f"the process ended with exit code {process.returncode}; its message is above")


def _end_with_parent() -> None:
    """In the new process: be interrupted, and so save, if the parent ends in whatever way (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
