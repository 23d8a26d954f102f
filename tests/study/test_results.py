"""Results are read from the runs alone, and predictions are compared on the same tiles only."""

import json

import numpy as np
import pytest
import torch

from orbitune.errors import RunError
from orbitune.study.results import load_predictions, read_results, reads_of_test
from orbitune.training.checkpoint import Progress, save_checkpoint


def run(folder, method, seed, logits, indices=(4, 7, 9), labels=(0, 1, 1), **more):
    """A run with these test logits, as results.json and its folder have it."""
    name = f"{method}-seed{seed}"
    (folder / name).mkdir()
    arrays = {"test_logits": logits, "test_indices": indices, "test_labels": labels}
    np.savez(folder / name / "predictions.npz", **{key: np.array(value) for key, value in arrays.items()})
    facts = {"name": name, "method": method, "seed": seed, "split": "default", "sweep": None}
    return {**facts, "status": "done", **more}


ZERO, ONE = [2.0, 1.0], [1.0, 2.0]


def test_predictions_have_a_row_for_each_seed_in_rising_order(tmp_path):
    runs = [
        run(tmp_path, "lora", 1, [ZERO, ONE, ONE]),
        run(tmp_path, "lora", 0, [ONE, ONE, ZERO]),
        run(tmp_path, "full", 0, [ZERO, ZERO, ONE]),
    ]
    found = load_predictions({"runs": runs}, tmp_path)
    assert found.seeds == {"lora": (0, 1), "full": (0,)}
    assert found.predicted["lora"].tolist() == [[1, 1, 0], [0, 1, 1]]
    assert found.correct["lora"].tolist() == [[False, True, False], [True, True, True]]
    assert found.correct["full"].tolist() == [[True, False, True]]
    assert (found.indices.tolist(), found.labels.tolist()) == ([4, 7, 9], [0, 1, 1])


def test_failed_runs_sweeps_and_other_splits_are_left_out(tmp_path):
    runs = [
        run(tmp_path, "lora", 0, [ZERO, ONE, ONE]),
        run(tmp_path, "lora", 1, [ZERO, ONE, ONE], status="failed"),
        run(tmp_path, "lora", 2, [ZERO, ONE, ONE], sweep="ranks"),
        run(tmp_path, "lora", 3, [ZERO, ONE, ONE], split="spatial"),
    ]
    assert load_predictions({"runs": runs}, tmp_path).seeds == {"lora": (0,)}
    assert load_predictions({"runs": runs}, tmp_path, "spatial").seeds == {"lora": (3,)}
    with pytest.raises(RunError, match="no finished run on the random split"):
        load_predictions({"runs": runs}, tmp_path, "random")


def test_runs_that_were_tested_on_other_tiles_are_not_compared(tmp_path):
    runs = [
        run(tmp_path, "lora", 0, [ZERO, ONE, ONE]),
        run(tmp_path, "full", 0, [ZERO, ONE, ONE], indices=(4, 7, 8)),
    ]
    with pytest.raises(RunError, match=r"full-seed0 .* was scored on other test tiles"):
        load_predictions({"runs": runs}, tmp_path)


def test_reads_of_the_test_split_are_counted_in_finished_unfinished_and_new_runs(tmp_path):
    assert reads_of_test(tmp_path) == 0
    model = torch.nn.Linear(1, 1)
    (tmp_path / "checkpoint").mkdir()
    state = tmp_path / "checkpoint" / "state.safetensors"
    save_checkpoint(state, model, torch.optim.AdamW(model.parameters()), None, Progress(test_reads=1))
    assert reads_of_test(tmp_path) == 1
    (tmp_path / "result.json").write_text('{"test_reads": 2}')
    assert reads_of_test(tmp_path) == 2


@pytest.mark.parametrize("text", [None, "{", "[]", '{"runs": []}'])
def test_what_holds_no_results_is_one_clear_error(tmp_path, text):
    if text is not None:
        (tmp_path / "results.json").write_text(text)
    with pytest.raises(RunError, match=r"no results\.json|damaged or no study's"):
        read_results(tmp_path)


def test_results_are_read_as_they_were_written(tmp_path):
    results = {"format": 2, "runs": [{"status": "failed"}]}
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert read_results(tmp_path) == results
