"""The cached hash of a checkpoint's configuration."""

import resource
from types import SimpleNamespace

import pytest

from orbitune.cache import cache_dir
from orbitune.integrity import write_checksummed_json
from orbitune.models.files.config_hash import config_hash


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("ORBITUNE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    return tmp_path / "config.json"


@pytest.fixture
def reads():
    return []


@pytest.fixture
def hash_of(file, reads):
    """Return a function that hashes the file; each time it is read with its defaults is noted."""

    def read():
        reads.append(file)
        return SimpleNamespace(to_dict=lambda: {"model_type": "vit", "hidden_size": 768})

    return lambda: config_hash(file, {"size": 224}, read=read)


def test_a_config_is_read_once(hash_of, reads):
    assert hash_of() == hash_of()
    assert len(reads) == 1


@pytest.mark.parametrize("content", [{}, {"sha256": 3}, {"other": "text"}])
def test_a_cache_file_without_a_hash_is_replaced(hash_of, reads, content):
    known = hash_of()
    [cached] = cache_dir().rglob("*.json")
    write_checksummed_json(cached, content)
    assert hash_of() == hash_of() == known
    assert len(reads) == 2


def test_a_cache_that_cannot_be_made_does_not_fail(hash_of, reads):
    cache_dir().write_text("a file")
    assert hash_of() == hash_of()
    assert len(reads) == 2


def test_a_full_disk_does_not_fail(hash_of, reads):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        first = hash_of()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [*cache_dir().rglob("*.json")]
    assert hash_of() == first
    assert len(reads) == 2
