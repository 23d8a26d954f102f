"""Small runs of the scripts under benchmarks/reliability."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).parents[2] / "benchmarks" / "reliability"


@pytest.mark.skipif(sys.platform != "linux", reason="the script reads /proc and forks")
def test_a_killed_command_run_again_gives_the_same_bytes_and_leaves_nothing():
    command = [sys.executable, str(SCRIPTS / "kills.py"), "--only", "bundle", "--moments", "2"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for each in json.loads(done.stdout)["kills"]:
        assert each["kills"] == each["well"] == 2, each


def test_a_flipped_byte_is_reported_or_the_file_rebuilt():
    found = runpy.run_path(str(SCRIPTS / "flips.py"))["measure"](14, seed=3)
    assert {each["outcome"] for each in found} <= {"reported", "rebuilt"}, found
