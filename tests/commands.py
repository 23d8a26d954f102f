"""Commands in forks of a process that has loaded the libraries.

Loading torch, transformers and PEFT takes seconds, most commands a moment. What is about starting or ending a
process itself (signals, kills, variables that libraries read when they are loaded) starts
`python -m orbitune` instead.
"""

import atexit
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from unittest import mock

from orbitune.processes.launcher import ForkServer, start_process


@cache
def fork_server() -> ForkServer:
    """The fork server of this test session."""
    server = ForkServer.spawn()
    atexit.register(server.close)
    return server


def orbitune(*arguments, stdout=None) -> subprocess.CompletedProcess:
    """Run a command in this process's folder and environment, in a wide window.

    Args:
        stdout: a file or device that takes its output, which is then not in the result.
    """
    words = list(map(str, arguments))
    with tempfile.TemporaryDirectory() as place:
        files = Path(stdout or Path(place, "stdout")), Path(place, "stderr")
        with files[0].open("wb") as output, files[1].open("wb") as messages:
            with mock.patch.dict(os.environ, COLUMNS="200"):
                process = start_process(
                    "orbitune", *words, stdout=output, stderr=messages, server=fork_server()
                )
            code = process.wait()
        printed = ["" if stdout else files[0].read_text(), files[1].read_text()]
        return subprocess.CompletedProcess(words, code, *printed)
