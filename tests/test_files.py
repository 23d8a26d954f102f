import os
import resource
import subprocess
import sys

import pytest

from orbitune.errors import OrbituneError
from orbitune.files import cache_dir, cache_folder, replacing, write_text


def test_a_file_is_replaced_whole(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_replaces_a_folder(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "stale").touch()
    with replacing(tmp_path / "run") as temporary:
        temporary.mkdir()
        (temporary / "fresh").touch()
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["fresh"]


def test_a_full_disk_is_one_clear_error(tmp_path):
    code = (
        "import sys\nfrom orbitune.errors import OrbituneError\nfrom orbitune.files import write_text\n"
        "try: write_text(sys.argv[1], 'x' * 100_000)\n"
        "except OrbituneError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.txt")],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
    )
    assert done.stdout.startswith("Cannot write") and "a.txt" in done.stdout, done.stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OrbituneError, match="Cannot write"):
        write_text(tmp_path / "file" / "a.txt", "x")


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("ORBITUNE_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("ORBITUNE_CACHE")
    monkeypatch.setenv("HOME", os.fspath(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "orbitune"


def test_folders_of_the_cache_are_made_for_this_user_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("ORBITUNE_CACHE", str(tmp_path / "cache"))
    folder = cache_folder("kernels", "x")
    assert folder == tmp_path / "cache" / "kernels" / "x"
    assert {path.stat().st_mode & 0o777 for path in (folder, folder.parent, folder.parent.parent)} == {0o700}


@pytest.mark.parametrize("part", [".", "kernels"])
def test_a_folder_of_the_cache_that_others_may_write_is_refused(monkeypatch, tmp_path, part):
    monkeypatch.setenv("ORBITUNE_CACHE", str(tmp_path))
    (tmp_path / part).mkdir(exist_ok=True)
    (tmp_path / part).chmod(0o777)
    with pytest.raises(OrbituneError, match=r"Other users may write to .*chmod -R go-w"):
        cache_folder("kernels")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another user")
def test_a_folder_of_the_cache_that_another_user_owns_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("ORBITUNE_CACHE", str(tmp_path))
    (tmp_path / "kernels").mkdir()
    os.chown(tmp_path / "kernels", 12345, 12345)
    with pytest.raises(OrbituneError, match="belongs to another user"):
        cache_folder("kernels")
