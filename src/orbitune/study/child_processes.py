"""A program in a fresh process: its peak memory is its own, and its crash is not ours."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from orbitune.errors import DivergedError, Interrupted, RunError

USER_ERROR, INTERRUPTED = 2, 130
POLL_SECONDS = 0.05
PR_SET_PDEATHSIG = 1  # of Linux's prctl(2)
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before any fork


def run_in_process(verb: str, recipe_file: Path, *options: str) -> dict[str, Any]:
    """Run a verb of the command line in a fresh process, see `run_module`."""
    return run_module("orbitune", verb, "--recipe", str(recipe_file), "--json", *options)


def run_module(
    module: str, *arguments: str, log: Path | None = None, threads: int | None = None
) -> dict[str, Any]:
    """Run `python -m module` in a fresh process and return its JSON, see `Child`.

    Raises:
        RunError: it failed; the message is its own. DivergedError where it says so.
        Interrupted: it, or we, received SIGINT.
    """
    child = Child(module, *arguments, log=log, threads=threads)
    try:
        while child.process.poll() is None:  # Ray's interrupt would not end a wait
            time.sleep(POLL_SECONDS)
    except (KeyboardInterrupt, Interrupted):
        child.interrupt()
    return child.result()


class Child:
    """`python -m module` under way.

    The module ends as our command line does: 2 with the JSON {"error": ...}, or 130 after SIGINT.

    Args:
        log: receives what it writes on stderr, at its end; without it that shows on ours.
        threads: how many it computes with; None leaves that to it.
    """

    def __init__(
        self, module: str, *arguments: str, log: Path | None = None, threads: int | None = None
    ) -> None:
        # Not a pipe: nobody has to read it while it fills.
        self._output = tempfile.TemporaryFile()  # noqa: SIM115
        self._log = log
        own = {"OMP_NUM_THREADS": str(threads)} if threads else {}
        stderr = log.open("ab") if log else None
        try:
            # In a session of its own, so that Ctrl-C reaches it once, from here, and lets it save.
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdout=self._output,
                stderr=stderr,
                env={**os.environ, **own},
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        finally:
            if stderr:
                stderr.close()

    def interrupt(self) -> None:
        """Tell it to save its state and end."""
        self.process.send_signal(signal.SIGINT)

    def result(self) -> dict[str, Any]:
        """Wait for its end, and return its JSON; raises as `run_module` does."""
        code = self.process.wait()
        with self._output:
            self._output.seek(0)
            output = self._output.read()
        if code == INTERRUPTED:
            raise Interrupted("Stopped. The same command goes on from there.")
        if code == 0:
            return json.loads(output)
        if code == USER_ERROR:
            said = json.loads(output)
            raise (DivergedError if said.get("kind") == DivergedError.kind else RunError)(said["error"])
        if code < 0:
            raise RunError(f"the process was killed ({signal.Signals(-code).name}); was memory short?")
        place = f"in {self._log}" if self._log else "above"
        raise RunError(f"the process ended with exit code {code}; its message is {place}")


def _end_with_parent() -> None:
    """In the new process: be interrupted, and so save, if the parent ends in whatever way (Linux)."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # Ray's workers have blocked it
    if _LIBC:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGINT)
