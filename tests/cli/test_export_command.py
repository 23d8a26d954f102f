"""`export`."""

import pytest
from commands import orbitune


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--to", "onx"], "Unknown export format 'onx'. Did you mean onnx? Choose from: merged, onnx, "),
        (["--to", "merged", "--merge-tokens", "one"], "numbers of blocks, such as 3,6, not 'one'"),
        (["--to", "merged", "--merge-tokens", "1"], "it needs a format in int8"),
        (["--to", "merged", "--out", "pyproject.toml/x"], "pyproject.toml is a file, not a folder."),
        (["--to", "merged", "--out", "n" * 248], "its name has 248 bytes; choose one of at most 247."),
    ],
)
def test_invalid_input_is_one_line_on_stderr_and_exit_code_2(tmp_path, options, message):
    done = orbitune("export", tmp_path, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1
    assert message in done.stderr
