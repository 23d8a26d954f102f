"""`bundle`."""

from commands import orbitune


def test_a_bundle_is_not_made_of_other_tiles_than_those_of_the_run(place, tmp_path):
    done = orbitune("bundle", place / "run", "--out", tmp_path / "bundle")
    assert done.returncode == 2  # one of its tiles was damaged since
    assert "tile_0_3.png" in done.stderr and not (tmp_path / "bundle").exists()
