"""The command line, in a process for each command that has the libraries loaded already.

Loading torch, transformers and PEFT takes seconds, most commands a moment. One process of this file loads
them and waits; each command runs in a fork of it, with arguments, stdout, stderr and an exit code of its
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
    """Run a command; it is in this process's folder, with this process's environment and a wide window.

    Args:
        stdout: a file or device that takes its output, which is then not in the result.
    """
    words = list(map(str, arguments))
    with tempfile.TemporaryDirectory() as place:
        files = [str(stdout or Path(place, "stdout")), str(Path(place, "stderr"))]
        order = {"words": words, "files": files, "folder": str(Path.cwd())}
        order["environment"] = {**os.environ, "COLUMNS": "200"}
        loaded = _loaded()
        print(json.dumps(order), file=loaded.stdin, flush=True)
        code = int(loaded.stdout.readline())
        printed = ["" if stdout else Path(files[0]).read_text(), Path(files[1]).read_text()]
        return subprocess.CompletedProcess(words, code, *printed)


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
    gc.freeze()
    for line in sys.stdin:
        order = json.loads(line)
        if not (process := os.fork()):
            _become(order)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


def _become(order: dict) -> None:
    """Be `python -m orbitune`, and end."""
    for number, name in enumerate(order["files"], 1):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv = ["orbitune", *order["words"]]
    code = 0
    try:
        runpy.run_module("orbitune", run_name="__main__", alter_sys=True)
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
