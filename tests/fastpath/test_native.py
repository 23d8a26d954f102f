"""Kernels are built once into the user's cache; a failure is reported once."""

import multiprocessing
import os
import shutil
import sys
import warnings
from pathlib import Path

import pytest

from orbitune.errors import OrbituneError
from orbitune.fastpath import native

pytestmark = pytest.mark.skipif(native.compiler() is None, reason="needs a C compiler")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return the kernels' folder in an empty cache; they are one quick function."""
    source = tmp_path / "answer.c"
    source.write_text("int answer(void) { return 42; }")
    monkeypatch.setattr(native, "SOURCES", [source])
    monkeypatch.setenv("ORBITUNE_CACHE", str(tmp_path / "cache"))
    native.open_library.cache_clear()
    yield tmp_path / "cache" / "kernels"
    native.open_library.cache_clear()


def built():
    return native.load(native.compiler(), native.EMULATED)


@pytest.fixture
def failing_compiler(folder, monkeypatch, tmp_path):
    """A compiler that fails, on a processor with the kernels' instructions."""
    script = tmp_path / "my-cc"
    write_compiler(script, "1.0", "echo 'kernels.c:1: error: unknown type name __m512' >&2; exit 1")
    monkeypatch.setenv("CC", str(script))
    monkeypatch.setattr(native, "supports_kernels", lambda: True)
    return script


def write_compiler(script, version, action):
    """Write a compiler that counts its builds in a file beside it."""
    script.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && {{ echo {version}; exit; }}\n'
        f"echo build >> {script}.builds\n{action}\n"
    )
    script.chmod(0o755)


def builds(script):
    return len(Path(f"{script}.builds").read_text().splitlines())


def in_another_process():
    """Reset the module's state, as in a new process."""
    native.open_library.cache_clear()


def test_a_library_is_built_once_and_then_loaded(folder, monkeypatch):
    assert built().answer() == 42
    monkeypatch.setattr(native.subprocess, "run", lambda *_, **__: pytest.fail("it was built again"))
    assert built().answer() == 42


def test_only_its_user_may_read_and_change_a_library(folder):
    built()
    [path] = folder.iterdir()
    assert path.stat().st_mode & 0o777 == folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("damage", ["cut off", "empty", "a flipped bit"])
def test_a_damaged_library_is_rebuilt(folder, damage):
    built()
    [path] = folder.iterdir()
    whole = path.read_bytes()
    flipped = whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:]
    path.unlink()  # a library that is loaded must stay whole
    path.write_bytes({"cut off": whole[: len(whole) // 2], "empty": b"", "a flipped bit": flipped}[damage])
    built()
    assert path.read_bytes() == whole and list(folder.iterdir()) == [path]


@pytest.mark.parametrize("planted", ["the library", "its folder", "the cache"])
def test_what_others_may_write_is_not_loaded(folder, planted):
    built()
    [path] = folder.iterdir()
    place = {"the library": path, "its folder": folder, "the cache": folder.parent}[planted]
    place.chmod(0o777)
    with pytest.raises(OrbituneError, match=f"Other users may write to {place}"):
        built()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, who can give files away")
@pytest.mark.parametrize("planted", ["the library", "its folder"])
def test_what_another_user_owns_is_not_loaded(folder, planted):
    built()
    [path] = folder.iterdir()
    os.chown(path if planted == "the library" else folder, 4321, 4321)
    with pytest.raises(OrbituneError, match="belongs to another user"):
        built()


def test_processes_that_build_at_once_all_get_a_library(folder):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=lambda: os._exit(built().answer())) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [42] * 4
    assert len(list(folder.iterdir())) == 1


def test_without_a_compiler_there_are_no_kernels(folder, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setattr(native, "supports_kernels", lambda: True)
    assert native.library() is None
    assert "no C compiler" in native.why_unavailable()


def test_the_compiler_may_be_named_with_options(monkeypatch):
    plain = native.compiler()
    monkeypatch.setenv("CC", f"{plain[0]} -fno-math-errno")
    assert native.compiler() == [plain[0], "-fno-math-errno"]


def test_a_failed_build_is_one_warning_with_the_compilers_reason(folder, failing_compiler):
    with pytest.warns(RuntimeWarning, match="unknown type name __m512"):
        assert native.library() is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert native.library() is None
    assert "unknown type name __m512" in native.why_unavailable()


def test_a_failed_build_is_not_tried_again_in_other_processes(folder, failing_compiler):
    with pytest.warns(RuntimeWarning, match="It is not tried again until the compiler changes"):
        native.library()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            in_another_process()
            assert native.library() is None
            assert "unknown type name __m512" in native.why_unavailable()
    assert builds(failing_compiler) == 1


def test_a_repaired_compiler_is_tried_again(folder, failing_compiler):
    with pytest.warns(RuntimeWarning):
        native.library()
    command = shutil.which("cc")
    write_compiler(failing_compiler, "1.1", f'exec {command} "$@"')
    in_another_process()
    assert native.library().answer() == 42
    assert builds(failing_compiler) == 2


def test_other_sources_are_tried_again(folder, failing_compiler, monkeypatch, tmp_path):
    with pytest.warns(RuntimeWarning):
        native.library()
    other = tmp_path / "other.c"
    other.write_text("int answer(void) { return 43; }")
    monkeypatch.setattr(native, "SOURCES", [other])
    in_another_process()
    with pytest.warns(RuntimeWarning):
        native.library()
    assert builds(failing_compiler) == 2


def test_a_removed_record_of_a_failure_has_the_build_tried_again(folder, failing_compiler):
    with pytest.warns(RuntimeWarning):
        native.library()
    [record] = folder.iterdir()
    record.unlink()
    in_another_process()
    with pytest.warns(RuntimeWarning):
        native.library()
    assert builds(failing_compiler) == 2


def test_a_killed_compiler_is_tried_again(folder, failing_compiler):
    write_compiler(failing_compiler, "1.0", "kill -9 $$")
    for count in (1, 2):
        in_another_process()
        with pytest.warns(RuntimeWarning, match="does not compile the kernels"):
            assert native.library() is None
        assert builds(failing_compiler) == count


def test_a_library_that_does_not_load_is_reported_once_and_tried_again(folder, failing_compiler):
    write_compiler(failing_compiler, "1.0", 'while [ "$1" != -o ]; do shift; done; echo text > "$2"')
    with pytest.warns(RuntimeWarning, match="compiled kernels cannot be loaded"):
        assert native.library() is None
    in_another_process()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert native.library() is None
    assert builds(failing_compiler) == 1


def test_a_processor_without_the_instructions_compiles_nothing(folder, failing_compiler, monkeypatch):
    monkeypatch.setattr(native, "supports_kernels", lambda: False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert native.library() is None
    assert "AVX512-BF16" in native.why_unavailable()
    assert not folder.exists()


def test_another_operating_system_compiles_nothing(folder, failing_compiler, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert native.library() is None
    assert "Linux only" in native.why_unavailable()


def test_a_processor_with_the_instructions_uses_them():
    native.open_library.cache_clear()
    assert (native.library() is not None) == native.supports_kernels()
