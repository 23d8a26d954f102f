"""`study` and `report`."""

import json

import pytest
from commands import orbitune
from pages import STUDY


@pytest.mark.slow
def test_a_study_with_a_failed_run_ends_with_exit_code_1_and_pure_json(inputs, tmp_path):
    (tmp_path / "linear-seed0").write_text("in the way")
    done = orbitune("study", *inputs, "--methods", "linear", "--seeds", 2, "--out", tmp_path, "--json")
    assert done.returncode == 1
    assert [run["status"] for run in json.loads(done.stdout)["runs"]] == ["failed", "done"]


def test_a_report_is_written_again_from_the_results_alone(tmp_path):
    (tmp_path / "results.json").write_bytes((STUDY / "results.json").read_bytes())
    done = orbitune("report", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report.md").read_bytes() == (STUDY / "report.md").read_bytes()
    assert (tmp_path / "report.html").exists()
    (tmp_path / "empty").mkdir()
    assert "or a study (results.json)" in orbitune("report", tmp_path / "empty").stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "two"], "--seeds takes whole numbers"),
        (["--splits", "random,odd"], "--splits: must be default, random, spatial or group, not 'odd'"),
        (["--tune", "1"], "--tune must be at least 2"),
    ],
)
def test_an_invalid_grid_of_a_study_is_one_line(inputs, tmp_path, arguments, message):
    done = orbitune("study", *inputs, "--methods", "linear", "--out", tmp_path / "s", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and message in done.stderr
    assert not (tmp_path / "s").exists()
