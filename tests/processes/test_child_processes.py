"""A killed child process is distinguished from a failed one."""

import pytest

from orbitune.errors import RunError
from orbitune.processes.child_processes import ChildProcess, run_module


def test_a_killed_process_is_distinguished_from_a_failed_one(tmp_path):
    log = tmp_path / "log"
    child = ChildProcess("http.server", "0", log=log)
    child.process.kill()
    with pytest.raises(RunError, match="SIGKILL"):
        child.result()
    with pytest.raises(RunError, match=f"exit code 1; its message is in {log}"):
        run_module("timeit", "raise ValueError('in the log')", log=log)
    assert "in the log" in log.read_text()


def test_the_json_that_a_module_prints_is_its_result(tmp_path, monkeypatch):
    (tmp_path / "prints_json.py").write_text(
        "import os; print('{\"threads\": %s}' % os.environ['OMP_NUM_THREADS'])"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert run_module("prints_json", threads=3) == {"threads": 3}
