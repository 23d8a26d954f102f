"""A fork server's children are processes like new interpreters, without their imports."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from samples import backbone_folder, tile_folder

from orbitune import Recipe
from orbitune.errors import RunError
from orbitune.processes.child_processes import ChildProcess, run_module
from orbitune.processes.fork_server import can_fork
from orbitune.processes.launcher import ForkServer, ForkServerError
from orbitune.study.executor import LocalExecutor, Task

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fork servers run on Linux only")

STATE = """
import json, os, torch
print(json.dumps({
    "parent": os.getppid(), "session": os.getsid(0) == os.getpid(), "folder": os.getcwd(),
    "threads": torch.get_num_threads(), "variable": os.environ.get("OWN"),
    "files": sorted(map(int, os.listdir("/proc/self/fd")))[:-1],
}))
"""
WAIT = "import sys, time; sys.stderr.write('waiting\\n'); sys.stderr.flush(); time.sleep(600)"


@pytest.fixture(scope="module", autouse=True)
def modules(tmp_path_factory):
    """Modules that tell their state or wait are on the path of new interpreters."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "tells_state.py").write_text(STATE)
    (folder / "waits.py").write_text(WAIT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        yield


@pytest.fixture
def at_start(tmp_path, monkeypatch):
    """Have each new interpreter run some code first."""

    def set_code(code):
        (tmp_path / "sitecustomize.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)

    return set_code


@pytest.fixture(scope="module")
def server():
    with ForkServer.spawn() as server:
        yield server


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_running(pid):
    """Whether a process runs; not if it has ended and its parent has not heard of it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_child_has_its_own_session_folder_environment_and_files(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OWN", "x")
    first, second = (run_module("tells_state", server=server) for _ in range(2))
    assert first == second
    assert first["parent"] != os.getpid() and first["session"]
    assert (first["folder"], first["variable"]) == (str(tmp_path), "x")
    assert len(first["files"]) == 4  # the three streams, and the socket to the server


def test_the_server_has_a_single_thread_whatever_its_libraries_start(server):
    pid = run_module("tells_state", server=server)["parent"]
    assert len([*Path(f"/proc/{pid}/task").iterdir()]) == 1


@pytest.mark.slow
def test_threads_are_those_that_were_asked_for():
    with ForkServer.spawn(threads=2) as server:
        assert run_module("tells_state", server=server, threads=2)["threads"] == 2


def test_a_child_can_be_killed_after_its_wait_was_interrupted(server, tmp_path):
    child = ChildProcess("waits", log=tmp_path / "log", server=server)

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            child.process.wait()
    finally:
        signal.signal(signal.SIGALRM, before)
    child.process.kill()
    assert child.process.wait() == -signal.SIGKILL


def test_exit_codes_messages_and_kills_are_those_of_a_new_interpreter(server, tmp_path):
    log = tmp_path / "log"
    with pytest.raises(RunError, match=f"exit code 1; its message is in {log}"):
        run_module("timeit", "raise ValueError('in the log')", log=log, server=server)
    assert "ValueError: in the log" in log.read_text()
    child = ChildProcess("waits", log=log, server=server)
    assert child.process.poll() is None
    child.process.kill()
    with pytest.raises(RunError, match="SIGKILL"):
        child.result()
    with pytest.raises(RunError, match="holds no finished run"):
        run_module("orbitune", "robustness", str(tmp_path), "--tiles", "1", "--json", server=server)


def test_an_interrupt_reaches_the_child_alone(server, tmp_path):
    child = ChildProcess("waits", log=tmp_path / "log", server=server)
    wait_for(lambda: "waiting" in (tmp_path / "log").read_text())
    child.interrupt()
    child.process.wait()
    assert "KeyboardInterrupt" in (tmp_path / "log").read_text()
    assert run_module("tells_state", server=server)["session"]


@pytest.mark.slow
def test_children_of_a_killed_server_are_interrupted(tmp_path):
    with ForkServer.spawn() as server:
        child = ChildProcess("waits", log=tmp_path / "log", server=server)
        wait_for(lambda: "waiting" in (tmp_path / "log").read_text())
        os.kill(parent_of(child.process.pid), signal.SIGKILL)
        with pytest.raises(RunError, match="process that started it was killed"):
            child.result()
        wait_for(lambda: not is_running(child.process.pid))
        assert "KeyboardInterrupt" in (tmp_path / "log").read_text()


@pytest.mark.slow
def test_a_task_that_lost_the_server_fails_and_the_next_one_runs(recipe_file, tmp_path):
    executor = LocalExecutor(1, tmp_path / "logs")
    task = Task("t", ("plan", "--recipe", str(recipe_file), "--json"), str)
    executor.start(task)
    [child] = executor._children.values()
    os.kill(parent_of(child.process.pid), signal.SIGKILL)
    [(_, outcome)] = until_done(executor)
    assert "Run the same command again" in outcome.message
    executor.start(task)
    [(_, outcome)] = until_done(executor)
    executor.close()
    assert outcome.status == "done"


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def until_done(executor):
    while not (done := executor.poll()):
        pass
    return done


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forked")
    tiles, backbone = tile_folder(folder / "tiles"), backbone_folder(folder / "backbone")
    Recipe(data=str(tiles), backbone=str(backbone), epochs=1, batch_size=16).save(folder / "recipe.yaml")
    return folder / "recipe.yaml"


@pytest.mark.slow
def test_the_server_and_its_children_end_with_a_parent_that_is_killed(tmp_path):
    code = (
        "import time; from pathlib import Path\n"
        "from orbitune.processes.launcher import ForkServer\n"
        "from orbitune.processes.child_processes import ChildProcess\n"
        "child = ChildProcess('waits', log=Path('log'), server=ForkServer.spawn())\n"
        "print(child.process.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=tmp_path) as parent:
        child = int(parent.stdout.readline())
        server = parent_of(child)
        assert is_running(child) and is_running(server)
        parent.kill()
    wait_for(lambda: not is_running(child) and not is_running(server))


@pytest.mark.slow
def test_a_server_with_a_second_thread_does_not_fork(at_start):
    at_start("import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()")
    with ForkServer.spawn() as server:
        assert not server.wait()
        with pytest.raises(ForkServerError):
            server.start("tells_state", stdout=sys.stdout, stderr=None)
        assert run_module("tells_state", server=server)["parent"] == os.getpid()


def test_a_process_whose_forks_cannot_use_the_gpu_is_not_forked(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert not can_fork()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_children_of_a_server_compute_on_the_gpu_one_after_the_other(tmp_path, monkeypatch):
    (tmp_path / "computes.py").write_text("import torch\nprint(torch.ones(2, device='cuda').sum().item())")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with ForkServer.spawn() as server:
        assert server.wait()
        assert [run_module("computes", server=server) for _ in range(2)] == [2, 2]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_process_that_has_used_the_gpu_is_not_forked():
    code = "import torch; torch.ones(1, device='cuda'); from orbitune.processes.fork_server import can_fork; "
    done = subprocess.run([sys.executable, "-c", code + "print(can_fork())"], capture_output=True, text=True)
    assert done.stdout == "False\n"


@pytest.fixture(scope="module")
def trained(recipe_file, server):
    """The folder of a run that was trained by a new interpreter, and of one in a fork."""
    folder, command = recipe_file.parent, ("train", "--recipe", str(recipe_file), "--json")
    run_module("orbitune", *command, "--out", str(folder / "new"))
    run_module("orbitune", *command, "--out", str(folder / "forked"), server=server)
    return folder


@pytest.mark.parametrize(
    "name", ["adapter/adapter_model.safetensors", "predictions.npz", "environment.json", "inputs.json"]
)
def test_a_forked_run_writes_the_same_bytes(trained, name):
    assert (trained / "forked" / name).read_bytes() == (trained / "new" / name).read_bytes()


def test_the_peak_memory_of_a_forked_run_is_near_that_of_a_new_interpreter(trained):
    # Below it by the pages that only imports touch: about 100 MB, a fifth of so small a run.
    new, forked = (json.loads((trained / name / "result.json").read_text()) for name in ("new", "forked"))
    ratio = forked["cost"]["peak_rss_bytes"] / new["cost"]["peak_rss_bytes"]
    assert 0.7 < ratio < 1.1


@pytest.mark.slow
@pytest.mark.parametrize(("command", "interpreters"), [("train", 1), ("study", 2)])
def test_a_command_imports_the_libraries_once(recipe_file, at_start, tmp_path, command, interpreters):
    starts = tmp_path / "starts"
    at_start(f"open({str(starts)!r}, 'a').write('start\\n')")
    words = [sys.executable, "-m", "orbitune", command, "--recipe", str(recipe_file)]
    words += ["--methods", "linear"] if command == "study" else []
    done = subprocess.run([*words, "--out", str(tmp_path / "out")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert starts.read_text().count("start") == interpreters
