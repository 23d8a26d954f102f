"""A finished run is scored on corrupted validation tiles, once."""

import json
import shutil

import pytest

from orbitune.data.sensor.corruptions import CORRUPTIONS
from orbitune.errors import RunError
from orbitune.evaluation.run_result import RunResult
from orbitune.training.corruption_scores import score_robustness


@pytest.fixture(scope="module")
def run(finished, tmp_path_factory):
    return shutil.copytree(finished[1], tmp_path_factory.mktemp("runs") / "run")


def test_the_saved_model_gives_on_clean_tiles_what_the_run_recorded_and_the_test_split_stays_closed(run):
    recorded = RunResult.load(run)
    scores = score_robustness(run, 1000, progress=False)
    assert scores.count == recorded.validation.count == 12  # there are no more
    assert scores.clean.accuracy == recorded.validation.accuracy
    assert [kind.name for kind in scores.corruptions] == list(CORRUPTIONS) and 0 <= scores.mean <= 1
    assert RunResult.load(run).test_reads == recorded.test_reads


def test_what_was_tried_is_not_repeated_with_as_many_tiles(run):
    first = score_robustness(run, 5, progress=False)
    assert first.count == 5
    written = (run / "robustness.json").stat().st_mtime_ns
    assert score_robustness(run, 5, progress=False) == first
    assert (run / "robustness.json").stat().st_mtime_ns == written


def test_scores_that_lack_a_kind_of_corruption_are_measured_again(run):
    whole = score_robustness(run, 5, progress=False)
    file = run / "robustness.json"
    file.write_text(json.dumps({**whole.to_json(), "corruptions": whole.to_json()["corruptions"][:5]}))
    assert score_robustness(run, 5, progress=False) == whole


def test_a_run_that_is_not_finished_or_no_tiles_are_one_clear_error(run, tmp_path):
    with pytest.raises(RunError, match="no finished run"):
        score_robustness(tmp_path, 5)
    with pytest.raises(RunError, match="at least one tile"):
        score_robustness(run, 0)
