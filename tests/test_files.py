import os
import resource
import subprocess
import sys
from itertools import product

import pytest

from orbitune.errors import OrbituneError
from orbitune.files import cache_dir, cache_folder, remove_abandoned, replacing, write_text
from orbitune.integrity import read_sealed_json, sealed, unsealed, write_sealed_json


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


KILLED = (
    "import os, sys\nfrom orbitune.files import replacing\n"
    "with replacing(sys.argv[1]) as temporary:\n    temporary.write_text('half')\n    os.kill(os.getpid(), 9)"
)


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a.txt")])
    [left] = tmp_path.iterdir()
    assert left.name.startswith(".a.txt.") and (left / "a.txt").read_text() == "half"
    write_text(tmp_path / "b.txt", "another file of the folder")
    assert [path.name for path in tmp_path.iterdir()] == ["b.txt"]


def test_what_a_living_process_is_writing_stays(tmp_path):
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("mine")
        subprocess.run(
            [sys.executable, "-c", KILLED.replace("os.kill(os.getpid(), 9)", ""), str(tmp_path / "a.txt")]
        )
        assert (tmp_path / "a.txt").read_text() == "half" and temporary.read_text() == "mine"
    assert (tmp_path / "a.txt").read_text() == "mine"


def test_a_lock_that_another_machine_left_is_believed_for_a_day(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a.txt")])
    [left] = tmp_path.iterdir()
    (left / "lock").write_text("elsewhere")
    remove_abandoned(tmp_path)
    assert left.exists()
    os.utime(left, (0, 0))
    remove_abandoned(tmp_path)
    assert not left.exists()


def test_temporary_files_that_earlier_versions_left_are_removed_once_their_process_is_gone(tmp_path):
    dead, alive = tmp_path / ".a.txt.4194999.tmp", tmp_path / f".a.txt.{os.getpid()}.tmp"
    for path in (dead, alive):
        path.write_text("half")
    write_text(tmp_path / "a.txt", "new")
    assert not dead.exists() and alive.exists()


def test_a_file_has_the_mode_that_the_umask_says(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def test_a_device_is_written_to_and_not_replaced():
    with replacing("/dev/null") as path:
        path.write_text("x")
    assert not os.path.isfile("/dev/null")  # noqa: PTH113


def test_every_flipped_bit_of_a_sealed_object_is_noticed(tmp_path):
    file, value = tmp_path / "a.json", {"a": 1.5, "names": ["x", "yé"], "none": None}
    write_sealed_json(file, value)
    assert read_sealed_json(file) == value
    whole = file.read_bytes()
    for place, bit in product(range(len(whole)), range(8)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        file.write_bytes(damaged)
        with pytest.raises(OrbituneError, match="damaged"):
            read_sealed_json(file)


def test_a_sealed_object_that_a_person_edited_is_read(tmp_path):
    file = tmp_path / "a.json"
    write_sealed_json(file, {"a": 1})
    file.write_text(file.read_text().replace('"a": 1', '"a": 100'))
    assert read_sealed_json(file) == {"a": 100}


@pytest.mark.parametrize(
    "harm", [lambda d: d[:-1], lambda d: bytes(len(d)), lambda d: d + b"x", lambda d: b""]
)
def test_sealed_bytes_that_were_cut_zeroed_or_lengthened_are_refused(harm):
    assert unsealed(sealed(b"content")) == b"content"
    with pytest.raises(ValueError, match="damaged"):
        unsealed(harm(sealed(b"content")))
