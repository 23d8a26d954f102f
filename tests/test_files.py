import errno
import os
import resource
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from orbitune.cache import cache_dir, cache_folder, check_private
from orbitune.errors import OrbituneError
from orbitune.files import remove_abandoned, replacing, scratch, write_text
from orbitune.integrity import read_checksummed_json, with_checksum, without_checksum, write_checksummed_json


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
    with pytest.raises(OrbituneError, match=r"^Cannot write .*n: File name too long\.$"):
        write_text(tmp_path / ("n" * 256), "x")
    write_text(tmp_path / ("n" * 255), "x")


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


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o077])
def test_files_made_in_the_cache_are_trusted_under_any_umask(monkeypatch, tmp_path, umask):
    monkeypatch.setenv("ORBITUNE_CACHE", str(tmp_path / "home" / ".cache" / "orbitune"))
    before = os.umask(umask)
    try:
        for _ in range(2):  # made, and found again
            folder = cache_folder("kernels", "x")
            if not (folder / "a.so").exists():
                with replacing(folder / "a.so") as temporary:
                    temporary.write_bytes(b"code")
                    temporary.chmod(0o700)
            check_private(folder / "a.so")
    finally:
        os.umask(before)


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


@pytest.fixture
def abandoned(tmp_path):
    """A function that kills a process while it writes, and returns what is left."""

    def leave(folder):
        folder.mkdir(exist_ok=True)
        subprocess.run([sys.executable, "-c", KILLED, str(folder / "a.txt")])
        [left] = folder.iterdir()
        return left

    return leave


def test_a_lock_that_another_machine_left_is_believed_for_a_day(tmp_path, abandoned):
    left = abandoned(tmp_path)
    lock = left / ".orbitune-lock"
    lock.write_text(lock.read_text() + "elsewhere")
    remove_abandoned(tmp_path)
    assert left.exists()
    os.utime(left, (0, 0))
    remove_abandoned(tmp_path)
    assert not left.exists()


NAME = ".a.txt.abcd1234.orbitune-tmp"


def test_a_link_with_the_name_of_a_temporary_folder_is_not_followed(tmp_path, abandoned):
    victim = abandoned(tmp_path / "elsewhere")  # even where it leads to what would itself be removed
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / NAME).symlink_to(victim)
    write_text(tmp_path / "out" / "a.txt", "x")
    assert (victim / "a.txt").read_text() == "half"


def test_links_in_a_temporary_folder_are_removed_and_what_they_lead_to_stays(tmp_path, abandoned):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "backup.sql").write_text("precious")
    left = abandoned(tmp_path / "out")
    (left / "link").symlink_to(tmp_path / "mine")
    remove_abandoned(tmp_path, recursive=True)
    assert not left.exists() and (tmp_path / "mine" / "backup.sql").exists()


@pytest.mark.parametrize("name", [NAME, ".dump.20240101.tmp", ".a.txt.4194999.tmp", ".a.txt.abcd1234.tmp"])
@pytest.mark.parametrize("lock", [None, "", "mine", "folder", "link"])
def test_a_folder_that_someone_else_named_like_a_temporary_one_stays(tmp_path, abandoned, name, lock):
    folder = tmp_path / "out" / name
    folder.mkdir(parents=True)
    (folder / "backup.sql").write_text("precious")
    if lock == "folder":
        (folder / ".orbitune-lock").mkdir()
    elif lock == "link":
        (folder / ".orbitune-lock").symlink_to(abandoned(tmp_path / "elsewhere") / ".orbitune-lock")
    elif lock is not None:
        (folder / ".orbitune-lock").write_text(lock)
    os.utime(folder, (0, 0))
    write_text(tmp_path / "out" / "a.txt", "x")
    remove_abandoned(tmp_path, recursive=True)
    assert (folder / "backup.sql").read_text() == "precious"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another user")
@pytest.mark.parametrize("part", [".", ".orbitune-lock"])
def test_a_temporary_folder_that_another_user_owns_stays(tmp_path, abandoned, part):
    left = abandoned(tmp_path)
    os.chown(left / part, 12345, 12345)
    remove_abandoned(tmp_path)
    assert (left / "a.txt").exists()


@pytest.mark.parametrize("lock", [False, True])
def test_what_a_process_left_that_was_killed_before_its_lock_was_written_is_removed(tmp_path, lock):
    (tmp_path / NAME).mkdir()
    if lock:
        (tmp_path / NAME / ".orbitune-lock").touch()
    with scratch(tmp_path):
        assert not (tmp_path / NAME).exists()


def test_many_processes_at_once_do_not_take_each_others_new_folders_for_abandoned(tmp_path):
    code = (
        "import sys\nfrom orbitune.files import scratch\n"
        "for number in range(200):\n"
        "    with scratch(sys.argv[1]) as folder:\n        (folder / 'x').write_text('mine')\n"
        "        assert (folder / 'x').read_text() == 'mine'\n"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    assert [process.communicate()[1] for process in started] == [b""] * 4
    assert not list(tmp_path.iterdir())


def test_a_file_may_have_the_longest_name_or_that_of_a_lock(tmp_path):
    for name in ("x" * 255, "\u885b" * 85, "lock"):
        write_text(tmp_path / name, "x")
        assert (tmp_path / name).read_text() == "x"


@pytest.fixture(params=["exchanged", "moved aside"])
def way(request, monkeypatch):
    """The two ways in which a folder is replaced."""
    if request.param == "moved aside":
        monkeypatch.setattr("orbitune.files.swap_paths", lambda one, other: False)
    elif sys.platform != "linux":
        pytest.skip("names are exchanged on Linux alone")
    return request.param


def write_folder(path, text):
    with replacing(path) as temporary:
        temporary.mkdir()
        (temporary / text).touch()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_replaced_whole_and_nothing_else_is_left(tmp_path, way):
    write_folder(tmp_path / "run", "old")
    write_folder(tmp_path / "run", "new")
    assert names(tmp_path) == ["run"] and names(tmp_path / "run") == ["new"]


def test_a_folder_whose_replacement_fails_is_kept(tmp_path, monkeypatch):
    write_folder(tmp_path / "run", "old")
    monkeypatch.setattr("orbitune.files.swap_paths", lambda one, other: False)
    rename = Path.rename

    def failing(path, target):
        if path.name == "run" and Path(target).name == "run":
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OrbituneError, match="Input/output error"):
        write_folder(tmp_path / "run", "new")
    assert names(tmp_path) == ["run"] and names(tmp_path / "run") == ["old"]


REPLACED_AND_KILLED = (
    "import os, sys\nfrom pathlib import Path\nfrom orbitune import files\n"
    "if sys.argv[2] == 'moved aside': files.swap_paths = lambda one, other: False\n"
    "rename, left = Path.rename, int(sys.argv[3])\n"
    "def counted(path, target):\n"
    "    global left\n    left -= 1\n"
    "    if left < 0: os.kill(os.getpid(), 9)\n    return rename(path, target)\n"
    "Path.rename = counted\n"
    "files.remove_scratch = lambda *_: os.kill(os.getpid(), 9)\n"
    "with files.replacing(sys.argv[1]) as new:\n    new.mkdir()\n    (new / 'new').touch()\n"
)


@pytest.mark.parametrize("renames", range(3))
def test_a_process_killed_while_it_replaces_a_folder_loses_neither(tmp_path, way, renames):
    write_folder(tmp_path / "run", "old")
    subprocess.run([sys.executable, "-c", REPLACED_AND_KILLED, str(tmp_path / "run"), way, str(renames)])
    remove_abandoned(tmp_path)
    expected = "old" if way == "moved aside" and renames == 0 else "new"
    assert names(tmp_path) == ["run"] and names(tmp_path / "run") == [expected]


def test_a_folder_that_was_put_in_the_place_of_a_lost_one_stays(tmp_path):
    write_folder(tmp_path / "run", "old")
    subprocess.run([sys.executable, "-c", REPLACED_AND_KILLED, str(tmp_path / "run"), "moved aside", "1"])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "another").touch()
    remove_abandoned(tmp_path)
    assert names(tmp_path) == ["run"] and names(tmp_path / "run") == ["another"]


def test_a_file_has_the_mode_that_the_umask_says(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_weights_in_a_folder_have_the_mode_that_the_umask_says(tmp_path, umask, mode):
    from safetensors.numpy import save_file

    before = os.umask(umask)
    try:
        with replacing(tmp_path / "bundle") as folder:
            (folder / "adapter").mkdir(parents=True)
            save_file({"weight": np.zeros(3, np.float32)}, folder / "adapter" / "a.safetensors")
            assert (folder / "adapter" / "a.safetensors").stat().st_mode & 0o777 == 0o600  # as it is made
            (folder / "script.sh").touch(0o700)
    finally:
        os.umask(before)
    adapter, script = tmp_path / "bundle" / "adapter", tmp_path / "bundle" / "script.sh"
    assert (adapter / "a.safetensors").stat().st_mode & 0o777 == mode
    assert adapter.stat().st_mode & 0o777 == 0o777 & ~umask
    assert script.stat().st_mode & 0o777 == 0o700 & ~umask  # only 0600 is a library's default


def test_a_device_is_written_to_and_not_replaced():
    with replacing("/dev/null") as path:
        path.write_text("x")
    assert not os.path.isfile("/dev/null")  # noqa: PTH113


def test_every_flipped_bit_of_a_sealed_object_is_noticed(tmp_path):
    file, value = tmp_path / "a.json", {"a": 1.5, "names": ["x", "yé"], "none": None}
    write_checksummed_json(file, value)
    assert read_checksummed_json(file) == value
    whole = file.read_bytes()
    for place, bit in product(range(len(whole)), range(8)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        file.write_bytes(damaged)
        with pytest.raises(OrbituneError, match="damaged"):
            read_checksummed_json(file)


def test_damage_of_a_sealed_object_comes_with_advice_for_who_edited_it(tmp_path):
    file = tmp_path / "a.json"
    write_checksummed_json(file, {"a": 1})
    file.write_text(file.read_text().replace('"a": 1', '"a": 2'))
    with pytest.raises(
        OrbituneError, match=r'a\.json is damaged.*edited on purpose, remove its entry "digest"'
    ):
        read_checksummed_json(file)
    file.write_text('{"a": 2}')  # the advice followed
    assert read_checksummed_json(file) == {"a": 2}


def test_a_sealed_object_that_a_person_edited_is_read(tmp_path):
    file = tmp_path / "a.json"
    write_checksummed_json(file, {"a": 1})
    file.write_text(file.read_text().replace('"a": 1', '"a": 100'))
    assert read_checksummed_json(file) == {"a": 100}


@pytest.mark.parametrize(
    "harm", [lambda d: d[:-1], lambda d: bytes(len(d)), lambda d: d + b"x", lambda d: b""]
)
def test_sealed_bytes_that_were_cut_zeroed_or_lengthened_are_refused(harm):
    assert without_checksum(with_checksum(b"content")) == b"content"
    with pytest.raises(ValueError, match="damaged"):
        without_checksum(harm(with_checksum(b"content")))


def test_leftovers_of_an_earlier_version_are_removed_after_its_process_ended(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left, living = (tmp_path / f".a.txt.{process}.tmp" for process in (gone.pid, os.getpid()))
    left.write_text("half")
    living.write_text("being written")
    write_text(tmp_path / "a.txt", "x")
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", living.name}
