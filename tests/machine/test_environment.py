"""The suite does not depend on the machine or the shell."""

import os

import pytest
from environment import seal

STRANGE = {
    "HF_HUB_OFFLINE": "1",
    "HF_HOME": "/nowhere",
    "HF_TOKEN": "secret",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "ORBITUNE_CACHE": "/nowhere",
    "RAY_ADDRESS": "elsewhere:6379",
    "RANK": "3",
    "WORLD_SIZE": "8",
    "COLUMNS": "20",
    "FORCE_COLOR": "1",
    "NO_COLOR": "1",
    "PYTHONWARNINGS": "error",
}


@pytest.mark.parametrize("name", STRANGE)
def test_what_others_set_is_not_seen(name):
    environment = {name: STRANGE[name], "PATH": "/bin"}
    seal(environment)
    assert name not in environment and environment["PATH"] == "/bin"


def test_language_time_zone_and_threads_are_the_tests_own():
    environment = {"LC_ALL": "de_DE", "TZ": "Asia/Tokyo", "TERM": "dumb", "OMP_NUM_THREADS": "64"}
    seal(environment)
    assert environment["LC_ALL"] == "C.UTF-8" and environment["TZ"] == "UTC"
    assert environment["TERM"] == "xterm" and environment["OMP_NUM_THREADS"] == "1"


def test_the_shared_tiles_may_lie_elsewhere():
    environment = {"ORBITUNE_SHARED": "/data"}
    seal(environment)
    assert environment["ORBITUNE_SHARED"] == "/data"


def test_this_session_is_sealed():
    assert "HF_HUB_OFFLINE" not in os.environ and os.environ["TZ"] == "UTC"
    before = os.umask(0o022)
    assert before == 0o022
