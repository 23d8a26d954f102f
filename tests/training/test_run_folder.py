"""Files of a run folder that a newer version wrote are not called damaged."""

import pytest

from orbitune.errors import RunError
from orbitune.training.run_folder import divergence, read_inputs


@pytest.mark.parametrize(("read", "name"), [(divergence, "diverged.json"), (read_inputs, "inputs.json")])
def test_a_file_of_a_newer_version_is_named_as_such(tmp_path, read, name):
    (tmp_path / name).write_text('{"format": 99}')
    with pytest.raises(RunError, match=rf"{name} was written by a newer Orbitune; update it"):
        read(tmp_path)
