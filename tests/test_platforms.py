"""Every module can be imported without what only POSIX or Linux has.

The supported systems are the classifiers of pyproject.toml.
"""

import subprocess
import sys
from pathlib import Path

import pytest

import orbitune

ROOT = Path(orbitune.__file__).parent
MODULES = [
    ".".join(("orbitune", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    for path in sorted(ROOT.rglob("*.py"))
    if path.name != "__main__.py"
]

# The libraries are loaded first: only this package is to do without.
CODE = """
import ctypes, importlib, os, signal, sys

for name in ("torch", "peft", "scipy.ndimage", "yaml", "typer", "gradio", "onnxruntime"):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        pass
import torch.utils.checkpoint, uvicorn.protocols.http.h11_impl
from transformers import Trainer

BLOCKED = {"fcntl", "resource", "termios", "pwd", "grp"}
for name in BLOCKED:
    sys.modules[name] = None
for module, names in (
    (os, ("sched_getaffinity", "fork", "getuid", "geteuid", "sysconf", "killpg", "setsid", "O_NOFOLLOW")),
    (signal, ("SIGKILL", "SIGPIPE", "SIGUSR1", "pthread_sigmask")),
):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)


class Library(ctypes.CDLL):
    def __init__(self, name, *arguments, **more):
        if name is None:
            raise TypeError("bad argument type for built-in operation")  # as on Windows
        super().__init__(name, *arguments, **more)


ctypes.CDLL = Library
sys.platform = "win32"
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {error}")
"""


@pytest.mark.slow
def test_every_module_can_be_imported_on_other_systems():
    done = subprocess.run([sys.executable, "-c", CODE, *MODULES], capture_output=True, text=True, timeout=300)
    assert (done.stdout, done.returncode) == ("", 0), done.stderr
