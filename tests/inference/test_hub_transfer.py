import os
import subprocess
import sys

from hub_server import hub

from orbitune.inference.bundle import Bundle


def orbitune(server, *arguments, token="secret", **folders):
    """The command line in a process that knows no other hub than this one."""
    environment = {**os.environ, "HF_ENDPOINT": server.address, "HF_HUB_DISABLE_XET": "1", **folders}
    environment.pop("HF_HUB_OFFLINE", None)
    environment["HF_TOKEN"] = token
    return subprocess.run(
        [sys.executable, "-m", "orbitune", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
    )


def test_what_is_pushed_is_what_is_pulled(example_bundle, tmp_path):
    folder = example_bundle.folder
    with hub() as server:
        pushed = orbitune(server, "push", folder, "ann/model", HF_HOME=str(tmp_path))
        assert pushed.returncode == 0, pushed.stderr
        assert pushed.stdout.startswith(f"{server.address}/ann/model/commit/")
        server.files["checkpoints/1/state.json"] = server.files["logs/log.json"] = b"{}"
        pulled = orbitune(server, "pull", "ann/model", "--out", tmp_path / "b", HF_HOME=str(tmp_path))
        assert pulled.returncode == 0, pulled.stderr
    pushed, pulled = (
        {str(file.relative_to(place)): file.read_bytes() for file in place.rglob("*") if file.is_file()}
        for place in (folder, tmp_path / "b")
    )
    assert pulled == pushed and "examples/0.png" in pulled
    assert Bundle.open(tmp_path / "b").classes == ("class_0", "class_1", "class_2")


def test_a_token_that_may_not_write_is_one_line(bundle, tmp_path):
    with hub() as server:
        done = orbitune(server, "push", bundle.folder, "ann/model", token="wrong", HF_HOME=str(tmp_path))
    assert done.returncode == 2
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .startswith("error: Cannot push to 'ann/model': the hub answers 401")
    )


def test_a_run_is_not_pushed_without_a_card(runs, tmp_path):
    with hub() as server:
        done = orbitune(server, "push", runs / "run", "ann/model", HF_HOME=str(tmp_path))
        assert server.files == {}
    assert done.returncode == 2 and "make a bundle of it first" in done.stderr
