"""Standard output that is full, closed or no longer read: no traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

FULL = "/dev/full"
pytestmark = pytest.mark.skipif(not Path(FULL).exists(), reason=f"needs {FULL}")

NO_SPACE = "error: Cannot write to standard output: No space left on device.\n"


def shell(command):
    """Run a command of a shell in which `orbitune` is this package's."""
    program = f'orbitune() {{ "{sys.executable}" -m orbitune "$@"; }}; set -o pipefail; {command}'
    return subprocess.run(["bash", "-c", program], capture_output=True, text=True)


@pytest.mark.parametrize("arguments", ["--version", "--help", "train --help"])
def test_a_full_disk_is_one_line_and_exit_code_2(arguments):
    done = shell(f"orbitune {arguments} > {FULL}")
    assert (done.returncode, done.stderr) == (2, NO_SPACE)


def test_a_closed_output_is_one_line_and_exit_code_2():
    done = shell("orbitune --version >&-")
    assert done.returncode == 2
    assert done.stderr == "error: Cannot write to standard output: Bad file descriptor.\n"


def test_a_closed_pipe_ends_the_command_silently():
    done = shell("orbitune --help | true")
    assert (done.returncode, done.stderr) == (141, "")


def test_a_reader_that_closes_the_pipe_early_has_its_lines():
    done = shell("orbitune --help | head -1")
    assert done.stdout.startswith("Usage") and done.stderr == ""


@pytest.mark.parametrize("where", [f"2> {FULL}", "2>&-"])
def test_a_remark_that_cannot_be_written_loses_no_result(where):
    done = shell(f"orbitune --version {where}")
    assert (done.returncode, done.stdout) == (0, "0.2.0\n")
    assert shell(f"orbitune report nothing {where}").returncode == 2


def test_an_error_in_json_that_cannot_be_written_goes_to_stderr():
    done = shell(f"orbitune adapters list nothing --json > {FULL}")
    assert (done.returncode, done.stderr) == (2, NO_SPACE)


def test_no_stream_at_all_is_still_exit_code_2():
    assert shell("orbitune --version <&- >&- 2>&-").returncode == 2
