"""`orbitune doctor`: what is there, what is missing and how to get it."""

import json
import sys
from pathlib import Path

import pytest
import torch
from commands import orbitune

from orbitune.cli.doctor.diagnostics import diagnose
from orbitune.extras import EXTRAS
from orbitune.fastpath.native import build, library
from orbitune.fastpath.native.variants import find_variant
from orbitune.recipe_settings import DEFAULT_BACKBONE


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ORBITUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_json_and_text_state_machine_extras_kernels_caches_and_backbones():
    found = json.loads(orbitune("doctor", "--json").stdout)
    assert found["machine"]["cores"] >= 1 and found["machine"]["processor"]
    assert [extra["name"] for extra in found["extras"]] == list(EXTRAS)
    assert found["kernels"]["state"] in ("compiled", "not built yet", "not available")
    assert [each["name"] for each in found["backbones"]] == [DEFAULT_BACKBONE, "demo"]
    text = orbitune("doctor").stdout
    for heading in ("Versions", "Machine", "Compiled kernels", "Extras", "Caches", "Backbones", "Advice"):
        assert f"\n{heading}\n" in f"\n{text}"


def test_nothing_is_written(own_cache):
    diagnose()
    assert not own_cache.exists()


def test_a_missing_extra_has_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    [app] = [extra for extra in diagnose().extras if extra.name == "app"]
    assert (app.installed, app.missing, app.install) == (False, ("gradio",), "pip install 'orbitune[app]'")


def test_a_cache_that_others_may_write_to_is_a_problem_and_advice(own_cache):
    own_cache.mkdir()
    own_cache.chmod(0o777)
    found = diagnose()
    assert "chmod" in found.caches[0].problem
    assert any("chmod" in line for line in found.advice)


def test_a_full_cache_is_measured(own_cache):
    (own_cache / "tiles").mkdir(parents=True, mode=0o700)
    (own_cache / "tiles" / "a.npy").write_bytes(bytes(1000))
    assert diagnose().caches[0].bytes == 1000


def test_without_a_compiler_the_advice_is_to_install_one(monkeypatch):
    if not find_variant(torch.float32):
        pytest.skip("needs a processor for which there are kernels")
    monkeypatch.setattr(library, "SHIPPED", Path("nowhere"))
    monkeypatch.setattr(build, "compiler", lambda: None)
    library.open_library.cache_clear()
    try:
        found = diagnose()
    finally:
        library.open_library.cache_clear()
    assert found.kernels.state == "not available" and "C compiler" in found.kernels.reason
    assert any("C compiler" in line for line in found.advice)


def test_compiled_kernels_are_named_by_their_vector_extension(monkeypatch):
    variant = find_variant(torch.bfloat16) or find_variant(torch.float32)
    if not variant or not build.compiler():
        pytest.skip("needs a C compiler and a processor for which there are kernels")
    library.open_library(variant.dtype)
    assert diagnose().kernels.variant in (variant.name, None)


def test_a_damaged_cache_causes_no_traceback(own_cache):
    own_cache.write_text("a file in the place of the folder")
    found = diagnose()
    assert Path(found.caches[0].path) == own_cache
