"""Processes of `python -m MODULE`: forks of a fork server, else new interpreters.

See `orbitune.processes.fork_server`.
"""

import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Protocol

READY = b"\n"
LOST = 256  # exit code of a child whose server ended before it; no process returns it
PR_SET_PDEATHSIG = 1  # of Linux's prctl(2)
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before any fork


class ForkServerError(Exception):
    """The server has ended, or does not fork."""


class Process(Protocol):
    """A child process; the part of `subprocess.Popen` that is used."""

    pid: int

    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""

    def wait(self) -> int:
        """Wait for the end; return the exit code."""

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless it has ended."""

    def kill(self) -> None:
        """Kill it, unless it has ended."""


class ForkedProcess:
    """A child of a fork server.

    Args:
        status: pipe on which the server writes the process id, and the exit code at the end.

    Attributes:
        pid: its process id.

    Raises:
        ForkServerError: the server has ended, or does not fork.
    """

    def __init__(self, status: IO[bytes]) -> None:
        self._status = status
        self._code: int | None = None
        if not (line := status.readline()):
            status.close()
            raise ForkServerError
        self.pid = int(line)

    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""
        if self._code is None:
            ended = select.poll()
            ended.register(self._status, select.POLLIN)
            return self.wait() if ended.poll(0) else None
        return self._code

    def wait(self) -> int:
        """Wait for the end; return the exit code, or `LOST` if the server has ended."""
        if self._code is None:
            self._code = int(self._status.readline() or LOST)
            self._status.close()  # not before: after an interrupt it is read again
        return self._code

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended, which the server is about to report
                os.kill(self.pid, sig)

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """The caller's end of a fork server; the server ends with it.

    Args:
        channel: socket to the server.
        process: the server, if this process started it.
        forks: whether it forks; None until it reports it.

    Attributes:
        current: the server that this process is a child of, or has forked; None without one.
    """

    current: "ForkServer | None" = None

    def __init__(
        self,
        channel: socket.socket,
        process: "subprocess.Popen[bytes] | None" = None,
        *,
        forks: bool | None = True,
    ) -> None:
        self._channel, self._process, self._forks = channel, process, forks

    @classmethod
    def spawn(cls, threads: int | None = None) -> "ForkServer":
        """Start a server in a new interpreter; on Linux, elsewhere it does not fork.

        Args:
            threads: value of OMP_NUM_THREADS, which OpenMP reads when it is loaded; None leaves it unset.
        """
        ours, theirs = socket.socketpair()
        if sys.platform != "linux":
            theirs.close()
            return cls(ours, forks=False)
        code = "from orbitune.processes.fork_server import main; main()"
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-c", code, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=_environment(threads),
                start_new_session=True,
            )
        return cls(ours, process, forks=None)

    def wait(self) -> bool:
        """Wait until it has imported the libraries; return whether it forks."""
        if self._forks is None:
            self._forks = self._channel.recv(1) == READY
        return self._forks

    def start(
        self,
        module: str,
        *arguments: str,
        stdout: IO[Any],
        stderr: IO[Any] | None,
        threads: int | None = None,
    ) -> ForkedProcess:
        """Run `python -m MODULE ...` in a fork, see `start_process`.

        Raises:
            ForkServerError: the server has ended, or does not fork.
        """
        if not self.wait():
            raise ForkServerError
        words, environment = [module, *arguments], _environment(threads)
        job = {"words": words, "folder": str(Path.cwd()), "environment": environment}
        read, write = os.pipe()
        with tempfile.TemporaryFile() as file, os.fdopen(write, "wb") as status:
            file.write(json.dumps(job).encode())
            file.seek(0)
            try:
                messages = stderr.fileno() if stderr else 2
                files = [file.fileno(), stdout.fileno(), messages, status.fileno()]
                socket.send_fds(self._channel, [READY], files)
            except OSError:
                os.close(read)
                raise ForkServerError from None
        return ForkedProcess(os.fdopen(read, "rb"))

    def close(self) -> None:
        """End the server; its children receive SIGINT."""
        self._channel.close()
        if self._process:
            self._process.wait()

    def __enter__(self) -> "ForkServer":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def start_process(
    module: str,
    *arguments: str,
    stdout: IO[Any],
    stderr: IO[Any] | None = None,
    threads: int | None = None,
    server: ForkServer | None = None,
) -> Process:
    """Start `python -m MODULE ...`: a fork of a server, else a new interpreter.

    It has a session of its own, so that Ctrl-C reaches it only from this process, and receives SIGINT when
    this process ends (Linux).

    Args:
        module: name of the module.
        arguments: its command line.
        stdout: open file for its output.
        stderr: open file for its messages; None to share ours.
        threads: value of OMP_NUM_THREADS, that of the server; None leaves it unset.
        server: None starts a new interpreter.
    """
    if server:
        try:
            return server.start(module, *arguments, stdout=stdout, stderr=stderr, threads=threads)
        except ForkServerError:
            pass
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdout=stdout,
        stderr=stderr,
        env=_environment(threads),
        start_new_session=True,
        preexec_fn=end_with_parent if os.name == "posix" else None,
    )


def end_with_parent() -> None:
    """Have this process receive SIGINT when its parent ends (Linux)."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # Ray's workers have blocked it
    if _LIBC:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGINT)


def _environment(threads: int | None) -> dict[str, str]:
    """Return the environment of a child."""
    return {**os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {})}
