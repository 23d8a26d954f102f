"""Child processes of runs, with their own peak memory and contained crashes."""

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

from orbitune.errors import CONTINUE, DivergedError, Interrupted, RunError

USER_ERROR, INTERRUPTED = 2, 130
POLL_SECONDS = 0.05
PR_SET_PDEATHSIG = 1  # of Linux's prctl(2)
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before any fork


def run_command(verb: str, recipe_file: Path, *options: str) -> dict[str, Any]:
    """Run `orbitune VERB --recipe FILE --json ...` in a fresh process.

    Args:
        verb: command of orbitune.
        recipe_file: YAML recipe.
        options: further command-line options.

    Returns:
        What the command prints as JSON.
    """
    return run_module("orbitune", verb, "--recipe", str(recipe_file), "--json", *options)


def run_module(
    module: str, *arguments: str, log: Path | None = None, threads: int | None = None
) -> dict[str, Any]:
    """Run `python -m MODULE ...` in a fresh process and return its JSON output.

    Args:
        module: name of the module.
        arguments: its command line.
        log: file that its stderr is appended to; None to share ours.
        threads: value of OMP_NUM_THREADS; None leaves it unset.

    Raises:
        RunError: the process failed; the message is its own. DivergedError where training diverged.
        Interrupted: the child or this process received SIGINT.
    """
    child = ChildProcess(module, *arguments, log=log, threads=threads)
    try:
        while child.process.poll() is None:  # Ray's interrupt would not end a wait
            time.sleep(POLL_SECONDS)
    except (KeyboardInterrupt, Interrupted):
        child.interrupt()
    return child.result()


class ChildProcess:
    """A running `python -m MODULE ...`, with the exit codes of the command line.

    Exit code 0 prints JSON; 2 prints {"error": ...}; 130 follows SIGINT.

    Args:
        module: name of the module.
        arguments: its command line.
        log: file that its stderr is appended to; None to share ours.
        threads: value of OMP_NUM_THREADS; None leaves it unset.
    """

    def __init__(
        self, module: str, *arguments: str, log: Path | None = None, threads: int | None = None
    ) -> None:
        # A file, not a pipe: a pipe blocks the child once it is full.
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
        """Send SIGINT: the child saves its state and ends."""
        self.process.send_signal(signal.SIGINT)

    def result(self) -> dict[str, Any]:
        """Wait for the end and return the JSON.

        Raises:
            RunError, Interrupted: as `run_module`.
        """
        code = self.process.wait()
        with self._output:
            self._output.seek(0)
            output = self._output.read()
        if code == INTERRUPTED:
            raise Interrupted(f"Stopped. {CONTINUE}")
        if code == 0:
            return json.loads(output)
        if code == USER_ERROR:
            reply = json.loads(output)
            raise (DivergedError if reply.get("kind") == DivergedError.kind else RunError)(reply["error"])
        if code < 0:
            raise RunError(f"the process was killed ({signal.Signals(-code).name}), perhaps out of memory")
        place = f"in {self._log}" if self._log else "above"
        raise RunError(f"the process ended with exit code {code}; its message is {place}")


def _end_with_parent() -> None:
    """Have the child receive SIGINT when its parent ends (Linux)."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # Ray's workers have blocked it
    if _LIBC:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGINT)
