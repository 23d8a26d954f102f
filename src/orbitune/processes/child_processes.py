"""Child processes of runs, with their own peak memory and contained crashes."""

import json
import signal
import subprocess
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from orbitune.errors import CONTINUE, DivergedError, Interrupted, RunError
from orbitune.processes.launcher import LOST, ForkServer, start_process

USER_ERROR, INTERRUPTED = 2, 130
POLL_SECONDS = 0.05


def run_module(
    module: str,
    *arguments: str,
    log: Path | None = None,
    threads: int | None = None,
    server: ForkServer | None = None,
) -> dict[str, Any]:
    """Run `python -m MODULE ...` in a process of its own and return its JSON output.

    Args:
        module: name of the module.
        arguments: its command line.
        log: file that its stderr is appended to; None to share ours.
        threads: value of OMP_NUM_THREADS; None leaves it unset.
        server: forks it, see `start_process`; None starts a new interpreter.

    Raises:
        RunError: the process failed; the message is its own. DivergedError where training diverged.
        Interrupted: the child or this process received SIGINT.
    """
    child = ChildProcess(module, *arguments, log=log, threads=threads, server=server)
    try:
        while child.process.poll() is None:  # Ray's interrupt would not end a wait
            time.sleep(POLL_SECONDS)
    except (KeyboardInterrupt, Interrupted):
        child.interrupt()
    return child.result()


def run_captured(module: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `python -m MODULE ...` in a process of its own; return its exit code, output and messages.

    It is a fork of this process's server, if there is one.
    """
    return _run_captured((module, *arguments), ForkServer.current)


def _run_captured(words: tuple[str, ...], server: ForkServer | None) -> "subprocess.CompletedProcess[str]":
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as messages:
        process = start_process(*words, stdout=output, stderr=messages, server=server)
        try:
            code = process.wait()
        except BaseException:
            process.kill()
            raise
        if code == LOST:
            return _run_captured(words, None)  # by a new interpreter
        for file in (output, messages):
            file.seek(0)
        return subprocess.CompletedProcess(words, code, output.read(), messages.read())


class ChildProcess:
    """A running `python -m MODULE ...`, with the exit codes of the command line.

    Exit code 0 prints JSON; 2 prints {"error": ...}; 130 follows SIGINT.

    Args:
        module: name of the module.
        arguments: its command line.
        log: file that its stderr is appended to; None to share ours.
        threads: value of OMP_NUM_THREADS; None leaves it unset.
        server: as for `run_module`.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        log: Path | None = None,
        threads: int | None = None,
        server: ForkServer | None = None,
    ) -> None:
        # A file, not a pipe: a pipe blocks the child once it is full.
        self._output = tempfile.TemporaryFile()  # noqa: SIM115
        self._log = log
        with log.open("ab") if log else nullcontext() as stderr:
            self.process = start_process(
                module, *arguments, stdout=self._output, stderr=stderr, threads=threads, server=server
            )

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
        if code == LOST:
            raise RunError(f"the process that started it was killed, perhaps out of memory. {CONTINUE}")
        if code < 0:
            raise RunError(f"the process was killed ({signal.Signals(-code).name}), perhaps out of memory")
        place = f"in {self._log}" if self._log else "above"
        raise RunError(f"the process ended with exit code {code}; its message is {place}")
