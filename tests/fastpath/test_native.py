"""The compiled kernels are built once, loaded from this user's own cache, and not missed in silence."""

import multiprocessing
import os
import warnings

import pytest
import torch
from torch.nn import functional as F

from orbitune.errors import OrbituneError
from orbitune.fastpath import kernels, native

pytestmark = pytest.mark.skipif(native.compiler() is None, reason="needs a C compiler")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where kernels are kept in an empty cache; they are one small function here, that compiles at once."""
    source = tmp_path / "answer.c"
    source.write_text("int answer(void) { return 42; }")
    monkeypatch.setattr(native, "_SOURCES", [source])
    monkeypatch.setenv("ORBITUNE_CACHE", str(tmp_path / "cache"))
    native.library.cache_clear()
    yield tmp_path / "cache" / "kernels"
    native.library.cache_clear()


def built():
    return native.load(native.compiler(), native.STAND_IN)


def refuses(monkeypatch, place):
    """A compiler that stops with an error."""
    script = place / "my-cc"
    script.write_text("#!/bin/sh\necho 'kernels.c:1: error: unknown type name __m512' >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setenv("CC", str(script))


def test_a_library_is_built_once_and_then_loaded(folder, monkeypatch):
    assert built().answer() == 42
    monkeypatch.setattr(native, "_compile", lambda *_: pytest.fail("it was built again"))
    assert built().answer() == 42


def test_only_its_user_may_read_and_change_a_library(folder):
    built()
    [path] = folder.iterdir()
    assert path.stat().st_mode & 0o777 == folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("damage", ["cut off", "empty", "a flipped bit"])
def test_a_damaged_library_is_built_anew(folder, damage):
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


def test_without_a_compiler_torch_computes(folder, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    h = torch.linspace(-3, 3, 9).bfloat16()
    assert native.library() is None
    assert torch.equal(kernels.gelu(h), F.gelu(h))


def test_the_compiler_may_be_named_with_options(monkeypatch):
    plain = native.compiler()
    monkeypatch.setenv("CC", f"{plain[0]} -fno-math-errno")
    assert native.compiler() == [plain[0], "-fno-math-errno"]


def test_a_compiler_that_refuses_the_kernels_is_warned_of_once(folder, monkeypatch, tmp_path):
    refuses(monkeypatch, tmp_path)
    monkeypatch.setattr(native, "suits_processor", lambda: True)
    with pytest.warns(RuntimeWarning, match="unknown type name __m512"):
        assert native.library() is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert native.library() is None
    assert not list(folder.iterdir())


def test_a_processor_without_the_instructions_compiles_nothing(folder, monkeypatch, tmp_path):
    refuses(monkeypatch, tmp_path)
    monkeypatch.setattr(native, "suits_processor", lambda: False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert native.library() is None
    assert not folder.exists()


def test_a_processor_with_the_instructions_uses_them():
    assert (native.library() is not None) == native.suits_processor()
