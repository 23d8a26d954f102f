"""Programs of the package, in forks of a process that has loaded the libraries.

Loading torch, transformers and PEFT takes seconds, most commands a moment. One process of this file loads
them and waits; each program runs in a fork of it, with arguments, stdout, stderr and an exit code of its
own. What is about starting or ending a process itself (signals, kills, variables that libraries read when
they are loaded) starts `python -m orbitune` instead.
"""

import atexit
import gc
import json
import os
import runpy
import subprocess
import sys
import tempfile
from functools import cache
from importlib import import_module
from pathlib import Path

LIBRARIES = (
    "orbitune.cli.main",
    "accelerate",
    "peft",
    "sklearn.metrics",
    "sklearn.model_selection",
    "transformers.models.vit.modeling_vit",
)


def orbitune(*arguments, stdout=None) -> subprocess.CompletedProcess:
    """Run a command in this process's folder and environment, in a wide window.

    Args:
        stdout: a file or device that takes its output, which is then not in the result.
    """
    return _run("orbitune", arguments, stdout)


def reload_saved(arguments) -> subprocess.CompletedProcess:
    """Run `orbitune.models.reload`, in place of `checkpoint_io.run_reload`."""
    return _run("orbitune.models.reload", arguments)


def _run(module, arguments, stdout=None) -> subprocess.CompletedProcess:
    words = list(map(str, arguments))
    with tempfile.TemporaryDirectory() as place:
        files = [str(stdout or Path(place, "stdout")), str(Path(place, "stderr"))]
        order = {"module": module, "words": words, "files": files, "folder": str(Path.cwd())}
        order["environment"] = {**os.environ, "COLUMNS": "200"}
        code = _start(order)
        printed = ["" if stdout else Path(files[0]).read_text(), Path(files[1]).read_text()]
        return subprocess.CompletedProcess(words, code, *printed)


def _start(order: dict) -> int:
    """Have the loaded process run an order; return the exit code."""
    loaded = _loaded()
    print(json.dumps(order), file=loaded.stdin, flush=True)
    return int(loaded.stdout.readline())


@cache
def _loaded() -> subprocess.Popen:
    """The process that waits; it ends with this one, whose end closes its stdin."""
    command = [sys.executable, __file__]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(process.communicate)
    return process


def _serve() -> None:
    for name in LIBRARIES:
        import_module(name)
    global _start
    _start = _fork  # a command that trains reloads its model in a fork too
    import_module("orbitune.models.checkpoint_io").run_reload = reload_saved
    gc.freeze()
    for line in sys.stdin:
        print(_fork(json.loads(line)), flush=True)


def _fork(order: dict) -> int:
    """Run an order in a fork of this process; return the exit code."""
    if not (process := os.fork()):
        _become(order)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _become(order: dict) -> None:
    """Be `python -m MODULE`, and end."""
    for number, name in enumerate(order["files"], 1):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv = [order["module"], *order["words"]]
    code = 0
    try:
        runpy.run_module(order["module"], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve()
