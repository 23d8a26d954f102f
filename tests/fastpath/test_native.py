"""Kernels of a wheel are loaded; others are built once into the user's cache. A failure is reported once."""

import multiprocessing
import os
import platform
import shutil
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orbitune.errors import OrbituneError
from orbitune.fastpath.native import build, library, variants
from orbitune.fastpath.native.variants import Variant, find_variant

FLAGS = ("-O2",)
VARIANT = Variant("any processor", torch.float32, platform.machine(), (), FLAGS, 4)
pytestmark = pytest.mark.skipif(build.compiler() is None, reason="needs a C compiler")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return the kernels' folder in an empty cache; they are one quick function."""
    source = tmp_path / "answer.c"
    source.write_text("int answer(void) { return 42; }")
    monkeypatch.setattr(build, "SOURCES", [source])
    monkeypatch.setattr(library, "SIGNATURES", {"answer": ()})
    monkeypatch.setattr(library, "VARIANTS", [VARIANT])
    monkeypatch.setattr(variants, "VARIANTS", [VARIANT])
    monkeypatch.setattr(library, "SHIPPED", tmp_path / "wheel")
    monkeypatch.setenv("ORBITUNE_CACHE", str(tmp_path / "cache"))
    library.open_library.cache_clear()
    yield tmp_path / "cache" / "kernels"
    library.open_library.cache_clear()


def built():
    return build.load(build.compiler(), FLAGS)


def opened():
    return library.open_library(torch.float32)


def answer():
    return opened().library.functions["answer"]()


@pytest.fixture
def failing_compiler(folder, monkeypatch, tmp_path):
    """A compiler that fails."""
    script = tmp_path / "my-cc"
    write_compiler(script, "1.0", "echo 'kernels.c:1: error: unknown type name floats' >&2; exit 1")
    monkeypatch.setenv("CC", str(script))
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
    library.open_library.cache_clear()


def test_a_library_is_built_once_and_then_loaded(folder, monkeypatch):
    assert built().answer() == 42
    monkeypatch.setattr(build.subprocess, "run", lambda *_, **__: pytest.fail("it was built again"))
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
    assert opened().library is None
    assert "no C compiler" in opened().why_not


def test_the_compiler_may_be_named_with_options(monkeypatch):
    plain = build.compiler()
    monkeypatch.setenv("CC", f"{plain[0]} -fno-math-errno")
    assert build.compiler() == [plain[0], "-fno-math-errno"]


def test_a_failed_build_is_one_warning_with_the_compilers_reason(folder, failing_compiler):
    with pytest.warns(RuntimeWarning, match="unknown type name floats"):
        assert opened().library is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert opened().library is None
    assert "unknown type name floats" in opened().why_not


def test_a_failed_build_is_not_tried_again_in_other_processes(folder, failing_compiler):
    with pytest.warns(RuntimeWarning, match="It is not tried again until the compiler changes"):
        opened()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            in_another_process()
            assert opened().library is None
            assert "unknown type name floats" in opened().why_not
    assert builds(failing_compiler) == 1


def test_a_repaired_compiler_is_tried_again(folder, failing_compiler):
    with pytest.warns(RuntimeWarning):
        opened()
    command = shutil.which("cc")
    write_compiler(failing_compiler, "1.1", f'exec {command} "$@"')
    in_another_process()
    assert answer() == 42
    assert builds(failing_compiler) == 2


def test_other_sources_are_tried_again(folder, failing_compiler, monkeypatch, tmp_path):
    with pytest.warns(RuntimeWarning):
        opened()
    other = tmp_path / "other.c"
    other.write_text("int answer(void) { return 43; }")
    monkeypatch.setattr(build, "SOURCES", [other])
    in_another_process()
    with pytest.warns(RuntimeWarning):
        opened()
    assert builds(failing_compiler) == 2


def test_a_removed_record_of_a_failure_has_the_build_tried_again(folder, failing_compiler):
    with pytest.warns(RuntimeWarning):
        opened()
    [record] = folder.iterdir()
    record.unlink()
    in_another_process()
    with pytest.warns(RuntimeWarning):
        opened()
    assert builds(failing_compiler) == 2


def test_a_killed_compiler_is_tried_again(folder, failing_compiler):
    write_compiler(failing_compiler, "1.0", "kill -9 $$")
    for count in (1, 2):
        in_another_process()
        with pytest.warns(RuntimeWarning, match="does not compile the kernels"):
            assert opened().library is None
        assert builds(failing_compiler) == count


def test_a_library_that_does_not_load_is_reported_once_and_tried_again(folder, failing_compiler):
    write_compiler(failing_compiler, "1.0", 'while [ "$1" != -o ]; do shift; done; echo text > "$2"')
    with pytest.warns(RuntimeWarning, match="compiled kernels cannot be loaded"):
        assert opened().library is None
    in_another_process()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert opened().library is None
    assert builds(failing_compiler) == 1


@pytest.mark.usefixtures("failing_compiler")
def test_a_processor_without_the_instructions_compiles_nothing(folder, monkeypatch):
    monkeypatch.setattr(variants, "VARIANTS", [replace(VARIANT, capabilities=("no_such_instruction",))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert opened().library is None
    assert "the processor has no any processor instructions" in opened().why_not
    assert not folder.exists()


def test_another_operating_system_compiles_nothing(folder, failing_compiler, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert opened().library is None
    assert "Linux only" in opened().why_not


def test_a_library_of_the_wheel_is_loaded_without_a_compiler(folder, monkeypatch):
    shipped = library.SHIPPED
    shipped.mkdir()
    shutil.copy(build.build_library(build.compiler(), FLAGS), shipped / VARIANT.file_name)
    shutil.rmtree(folder)
    monkeypatch.setenv("CC", "/nonexistent")
    assert answer() == 42 and not folder.exists()
    assert not library.is_build_pending(torch.float32)


def test_a_library_of_the_wheel_that_does_not_load_is_one_warning(folder):
    library.SHIPPED.mkdir()
    (library.SHIPPED / VARIANT.file_name).write_text("text")
    with pytest.warns(RuntimeWarning, match="compiled kernels .* cannot be loaded"):
        assert opened().library is None


def test_a_kernel_without_memory_raises_an_error(folder):
    with pytest.raises(library.KernelMemoryError, match="compiled kernel 'answer'"):  # it does not return 0
        opened().library.call("answer")


def test_a_build_is_pending_until_it_is_done(folder):
    assert library.is_build_pending(torch.float32)
    assert answer() == 42
    assert not library.is_build_pending(torch.float32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_processor_with_the_instructions_uses_them(dtype):
    library.open_library.cache_clear()
    assert (library.open_library(dtype).library is not None) == (find_variant(dtype) is not None)


@pytest.mark.parametrize(
    ("capability", "expected"), [("AVX512", "AVX-512"), ("AVX2", "AVX2"), ("DEFAULT", None)]
)
def test_a_limit_of_torch_limits_the_kernels(monkeypatch, capability, expected):
    """ATEN_CPU_CAPABILITY, which torch reads when it is imported."""
    everything = dict.fromkeys((name for each in variants.VARIANTS for name in each.capabilities), True)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: everything)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    found = find_variant(torch.float32)
    assert (found and found.name) == expected
