"""Fork server: runs `python -m MODULE` in forks of a process that has imported the libraries.

Importing torch, transformers and PEFT takes seconds, and a study starts a dozen processes. The server imports
them once, computes nothing, and forks a child for each request. `multiprocessing.forkserver` would import the
caller's main script again and give all children one output; here a child is a process as `subprocess` starts
it, with its own session, output, exit code and peak memory. It can ask the same server for processes too.

Forking is unsafe beside other threads, and a GPU that a process has used is lost to its forks: the server
runs on Linux only, leaves the GPU to its children, and refuses to fork while it has a second thread or where
a fork could not compute. The caller then starts a new interpreter.
"""

import atexit
import gc
import json
import os
import runpy
import selectors
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from orbitune.processes.launcher import READY, ForkServer, end_with_parent
from orbitune.resources import find_device, limit_openmp_spinning

# What runs import.
LIBRARIES = (
    "transformers.models.auto.modeling_auto",
    "transformers.modeling_layers",
    "peft",
    "accelerate",
    "scipy.optimize",
    "scipy.stats",
    "sklearn.metrics",
    "sklearn.model_selection",
    "orbitune.cli.train",
    "orbitune.training.run",
)
_ASK_DRIVER = "PYTORCH_NVML_BASED_CUDA_CHECK"
POLL_SECONDS = 0.02  # until the end of a child is seen
_HANDLES = 4  # of a request: itself, output, messages, status


def main() -> None:
    """Serve the socket whose number is the argument."""
    ending = _Ending()
    atexit.register(ending)  # before the libraries register theirs, which therefore run first
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit_openmp_spinning()
    channel = socket.socket(fileno=int(sys.argv[1]))
    if can_fork():
        with suppress(BrokenPipeError):  # the caller has ended
            channel.send(READY)
        if words := serve(channel):
            ending.code = _run(words)
            return
    os._exit(0)  # its children receive SIGINT


class _Ending:
    """The last exit handler of a child: ends it without taking its modules apart.

    That would copy a large part of the memory that it shares with the server, and take half a second.
    """

    code = 1

    def __call__(self) -> NoReturn:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(self.code)


@contextmanager
def forked_server() -> Iterator[None]:
    """Make a fork of this process the current server, if there is none and it can be forked.

    For programs alone: a library does not know what else its process holds.
    """
    if ForkServer.current or not can_fork():
        yield
        return
    ours, theirs = socket.socketpair()
    sys.stdout.flush()  # or the fork would print it too
    if not (pid := os.fork()):
        ours.close()
        _serve_as_fork(theirs)
    theirs.close()
    ForkServer.current = ForkServer(ours)
    try:
        yield
    finally:
        ForkServer.current.close()
        ForkServer.current = None
        os.waitpid(pid, 0)


def can_fork() -> bool:
    """Import what every run imports, and return whether this process can be forked."""
    if sys.platform != "linux":
        return False
    # scikit-learn imports pyarrow, whose allocator would start a thread.
    os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")
    gc.disable()  # the libraries create a million objects that stay
    try:
        with _gpu_driver_asked():
            for name in LIBRARIES:
                import_module(name)
    except ImportError:
        return False  # the command itself says what is missing
    finally:
        gc.enable()
    gc.freeze()
    # The OpenBLAS of NumPy and of SciPy start threads when they are loaded, and end them before a fork.
    if not (_fork_runs(lambda: None) and _is_single_threaded()):
        return False
    with _gpu_driver_asked():
        return _fork_runs(find_device)


@contextmanager
def _gpu_driver_asked() -> Iterator[None]:
    """Have torch ask the driver whether there is a GPU: to start CUDA would take it from all forks."""
    before = os.environ.get(_ASK_DRIVER)
    os.environ[_ASK_DRIVER] = "1"
    try:
        yield
    finally:
        del os.environ[_ASK_DRIVER]
        os.environ.update({} if before is None else {_ASK_DRIVER: before})


def _fork_runs(function: Callable[[], object]) -> bool:
    """Return whether a fork of this process can be made, and runs a function without an error."""
    try:
        if not (pid := os.fork()):
            with suppress(BaseException):
                function()
                os._exit(0)
            os._exit(1)
    except OSError:
        return False  # too little memory for another process of this size
    return os.waitpid(pid, 0)[1] == 0


def _is_single_threaded() -> bool:
    tasks = Path("/proc/self/task")
    return tasks.is_dir() and len([*tasks.iterdir()]) == 1


def serve(channel: socket.socket) -> list[str] | None:
    """Fork a child for each request, until the other end of the channel is closed.

    Returns:
        In a child, the module to run and its arguments; in the server, None.
    """
    server = _Server(channel)
    while True:
        for key, _ in server.clients.select(POLL_SECONDS if server.children else None):
            client: Any = key.fileobj
            message, handles, *_ = socket.recv_fds(client, 1, _HANDLES)
            if message:
                if words := server.fork(client, handles):
                    return words
            elif client is channel:
                return None
            else:
                server.drop(client)
        server.reap()


class _Server:
    """The clients of a server, and its children.

    Attributes:
        clients: sockets of the process that uses the server, and of the children.
        children: of each process id, the pipe for its exit code and the client that asked for it.
    """

    def __init__(self, channel: socket.socket) -> None:
        self.clients = selectors.PollSelector()  # epoll's would be shared with the children
        self.clients.register(channel, selectors.EVENT_READ)
        self.children: dict[int, tuple[int, Any]] = {}

    def fork(self, client: socket.socket, handles: list[int]) -> list[str] | None:
        """Fork a child; return its command line in the child.

        Args:
            client: asks for it.
            handles: files of its request, output, messages and status.
        """
        if len(handles) < _HANDLES or not _is_single_threaded():
            _close(handles)
            return None
        *files, status = handles
        ours, theirs = socket.socketpair()
        server = os.getpid()
        try:
            pid = os.fork()
        except OSError:  # too little memory: the client starts a new interpreter
            _close(handles)
            ours.close()
            theirs.close()
            return None
        if not pid:
            ours.close()
            self._close()
            os.close(status)
            return _become(files, theirs, server=server)
        theirs.close()
        _close(files)
        self.clients.register(ours, selectors.EVENT_READ)
        self.children[pid] = status, client
        _write(status, pid)
        return None

    def drop(self, client: socket.socket) -> None:
        """Close the socket of a child that has ended, and interrupt what it asked for."""
        self.clients.unregister(client)
        client.close()
        for pid, (_, asked) in self.children.items():
            if asked is client:
                os.kill(pid, signal.SIGINT)

    def reap(self) -> None:
        """Report the exit codes of the children that have ended."""
        while self.children:
            pid, state = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            status, _ = self.children.pop(pid)
            _write(status, os.waitstatus_to_exitcode(state))
            os.close(status)

    def _close(self) -> None:
        """Close in a child what belongs to the server."""
        for key in self.clients.get_map().values():
            key.fileobj.close()  # type: ignore[union-attr]
        self.clients.close()
        _close([status for status, _ in self.children.values()])


def _write(status: int, number: int) -> None:
    with suppress(BrokenPipeError):  # the client has ended
        os.write(status, b"%d\n" % number)


def _close(handles: list[int]) -> None:
    for handle in handles:
        os.close(handle)


def _become(files: list[int], channel: socket.socket, *, server: int) -> list[str]:
    """Take on the environment, folder and files of a request; return its command line."""
    request, *streams = files
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    end_with_parent()
    if os.getppid() != server:
        os._exit(1)
    for number, stream in enumerate(streams, 1):
        os.dup2(stream, number)
    _close(streams)
    with os.fdopen(request) as file:
        job = json.load(file)
    os.environ.clear()
    os.environ.update(job["environment"])
    os.chdir(job["folder"])
    ForkServer.current = ForkServer(channel)
    return list(job["words"])


def _run(words: list[str]) -> int:
    """Run `python -m MODULE ...` in this process; return its exit code."""
    sys.argv = words
    try:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _serve_as_fork(channel: socket.socket) -> NoReturn:
    """Serve in a fork, and end without the exit handlers of the process that was forked."""
    ending = _Ending()
    try:
        os.setsid()  # Ctrl-C is for that process
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        words = serve(channel)
        ending.code = _run(words) if words else 0
    finally:
        ending()
