"""Results come from the runs alone; predictions are paired by tile."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pages import STUDY
from studies import run_record

from orbitune.errors import RunError
from orbitune.evaluation.saved_outputs import Predictions, read_predictions, write_predictions
from orbitune.recipe import upgrade
from orbitune.study.folder import count_test_reads
from orbitune.study.older_results import outcome_of
from orbitune.study.predictions import load_predictions
from orbitune.study.records import StudyResults
from orbitune.study.report.tables import verdict_sentences, verdict_table
from orbitune.study.report.view_model import ReportView
from orbitune.study.results import read_results, write_results
from orbitune.training.checkpoint import TrainingState, save_checkpoint
from orbitune.training.run_folder import read_environment


def run(folder, method, seed, logits, indices=(4, 7, 9), labels=(0, 1, 1), **more):
    """A finished run with these test logits."""
    return run_record(folder, method, {"test": logits}, seed=seed, indices=indices, labels=labels, **more)


ZERO, ONE = [2.0, 1.0], [1.0, 2.0]


def test_predictions_have_a_row_for_each_seed_in_rising_order(tmp_path):
    runs = [
        run(tmp_path, "lora", 1, [ZERO, ONE, ONE]),
        run(tmp_path, "lora", 0, [ONE, ONE, ZERO]),
        run(tmp_path, "full", 0, [ZERO, ZERO, ONE]),
    ]
    found = load_predictions(runs, tmp_path)
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
    assert load_predictions(runs, tmp_path).seeds == {"lora": (0,)}
    assert load_predictions(runs, tmp_path, split="spatial").seeds == {"lora": (3,)}
    with pytest.raises(RunError, match="no finished run on split random"):
        load_predictions(runs, tmp_path, split="random")


def test_runs_that_were_tested_on_other_tiles_are_not_compared(tmp_path):
    runs = [
        run(tmp_path, "lora", 0, [ZERO, ONE, ONE]),
        run(tmp_path, "full", 0, [ZERO, ONE, ONE], indices=(4, 7, 8)),
    ]
    with pytest.raises(RunError, match=r"full-seed0 .* was scored on other test tiles"):
        load_predictions(runs, tmp_path)


def test_reads_of_the_test_split_are_counted_in_finished_unfinished_and_new_runs(tmp_path):
    assert count_test_reads(tmp_path) == 0
    model = torch.nn.Linear(1, 1)
    (tmp_path / "checkpoint").mkdir()
    state = tmp_path / "checkpoint" / "state.safetensors"
    save_checkpoint(
        state,
        model,
        optimizer=torch.optim.AdamW(model.parameters()),
        schedule=None,
        state=TrainingState(test_reads=1),
    )
    assert count_test_reads(tmp_path) == 1
    (tmp_path / "result.json").write_text('{"test_reads": 2}')
    assert count_test_reads(tmp_path) == 2


@pytest.mark.parametrize("text", [None, "{", "[]", '{"runs": []}', "\xff", "[" * 100_000])
def test_what_holds_no_results_is_one_clear_error(tmp_path, text):
    if text is not None:
        (tmp_path / "results.json").write_text(text, encoding="latin-1")
    with pytest.raises(RunError, match=r"no results\.json|damaged|lacks"):
        read_results(tmp_path)


STORED = Path(__file__).parents[1] / "stored" / "0.1"


def contains(whole, part):
    """Whether a JSON value has all of another; lists and numbers must be equal."""
    if isinstance(part, dict):
        return all(name in whole and contains(whole[name], value) for name, value in part.items())
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(contains, whole, part))
    return whole == part


NAMES = sorted(path.parent.name for path in STORED.glob("*/results.json"))


@pytest.mark.parametrize("name", NAMES)
def test_results_of_earlier_versions_are_read_in_todays_form(tmp_path, name):
    stored = json.loads((STORED / name / "results.json").read_text())
    results = read_results(STORED / name)
    assert (stored["format"] < 5, results.format) == (True, 5)
    for run, values in zip(results.runs, stored["runs"], strict=True):
        assert (run.method, run.status) == (values["method"], values["status"])
        assert contains(run.to_json()["result"]["test"], values["result"]["test"])
    for name in ("gaps", "verdicts", "disagreements", "robustness", "test_reads"):
        assert contains(results.to_json()[name], stored.get(name, results.to_json()[name]))
    write_results(results, tmp_path)
    assert read_results(tmp_path) == results


def test_fields_that_were_renamed_are_read_under_their_old_names():
    stored = json.loads((STORED / "two-split-study" / "results.json").read_text())
    results = StudyResults.from_json(stored)
    assert results.executor.jobs == stored["engine"]["jobs"]
    assert [check.split for check in results.leakage_checks] == [each["split"] for each in stored["alarms"]]
    assert results.runs[0].plan.cache_bytes == stored["runs"][0]["plan"]["prefix_bytes"]
    run = stored["runs"][0]["result"]
    assert results.runs[0].finished.reload_check.to_json() == run["proof"]
    assert results.runs[0].finished.cost.cache_reused == run["cost"]["prefix_reused"]


def test_the_settings_that_all_runs_share_are_those_that_were_stored():
    stored = json.loads((STORED / "two-split-study" / "results.json").read_text())
    results = StudyResults.from_json(stored)
    assert results.shared_settings == upgrade(stored["recipe"])
    assert results.recipe.method == stored["runs"][0]["method"]
    assert {"method", "learning_rate", "seed", "split"} == set(results.varied)


def test_results_that_name_what_varied_are_not_changed_in_it():
    """The published study is of format 4, whose recipe is that of the first run."""
    stored = json.loads((STUDY / "results.json").read_text())
    results = read_results(STUDY)
    assert results.varied == stored["varied"] == ["split", "method", "learning_rate", "seed"]
    assert not {*results.varied} & {*results.shared_settings}


@pytest.mark.parametrize(
    ("equal", "outcome"), [(0.0, "worse"), (0.04, "worse"), (0.06, "open"), (None, "open")]
)
def test_an_older_comparison_is_worse_if_its_p_value_of_equal_methods_says_so(equal, outcome):
    stored = {"verdict": "cannot be told", "equal": equal, "difference": -0.7}
    assert outcome_of(stored) == {"outcome": outcome}


def test_an_older_comparison_that_was_not_judged_against_0_says_so():
    view = ReportView(read_results(STORED / "two-split-study"))
    table = verdict_table(view)
    rows = [dict(zip(table.header, row, strict=True)) for row in table.rows]
    outcomes = [row["Outcome"] for row in rows if row["Method"] == "LoRA"]
    assert outcomes == ["open (not judged against 0)"] * 2
    assert (
        "within 0.5 points of full fine-tuning, and untested whether it differs ("
        in verdict_sentences(view)[2]
    )
    assert table.caption.endswith("; p values corrected for 7 comparisons")  # the intervals are not


def test_results_of_a_newer_version_are_refused(tmp_path):
    stored = json.loads((STORED / "first-study" / "results.json").read_text())
    (tmp_path / "results.json").write_text(json.dumps({**stored, "format": 99}))
    with pytest.raises(RunError, match="newer Orbitune"):
        read_results(tmp_path)


@pytest.mark.parametrize("field", ["format", "command", "created", "environment", "data", "recipe", "runs"])
@pytest.mark.parametrize("value", [None, 1.5, []])
def test_results_with_a_field_that_holds_what_it_cannot_are_refused_by_its_name(tmp_path, field, value):
    results = json.loads((STORED / "first-study" / "results.json").read_text())
    (tmp_path / "results.json").write_text(json.dumps({**results, field: value}))
    with pytest.raises(RunError, match=rf"results\.json (is damaged|lacks).*{field}"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    "place",
    [
        ("data",),
        ("data", "synthetic"),
        ("environment",),
        ("backbone", "description"),
        ("runs", 0, "result", "test"),
    ],
)
def test_results_that_lack_what_the_report_shows_are_one_clear_error(tmp_path, place):
    results = json.loads((STORED / "first-study" / "results.json").read_text())
    holder = results
    for part in place[:-1]:
        holder = holder[part]
    del holder[place[-1]]
    (tmp_path / "results.json").write_text(json.dumps(results))
    with pytest.raises(RunError, match=f"(is damaged: |lacks ).*{place[-1]}"):
        read_results(tmp_path)


def test_a_damaged_environment_of_a_run_is_one_clear_error(tmp_path):
    (tmp_path / "environment.json").write_text("{")
    with pytest.raises(RunError, match=r"environment\.json .*damaged"):
        read_environment(tmp_path)


def harmed(file, how):
    """predictions.npz of a run, damaged."""
    with np.load(file) as arrays:
        kept = dict(arrays)
    if how in ("cut", "zeroed", "garbage", "empty"):
        data = file.read_bytes()
        file.write_bytes(
            {"cut": data[:-30], "zeroed": bytes(len(data)), "garbage": b"garbage", "empty": b""}[how]
        )
        return
    changed = {
        "missing key": {"test_labels": None},
        "other shape": {"test_logits": kept["test_logits"][:2]},
        "one dimension": {"test_logits": kept["test_logits"][0]},
        "not a number": {"test_logits": kept["test_logits"] * np.nan},
        "pickle": {"test_logits": np.array([{}, {}, {}], object)},
        "label beyond": {"test_labels": kept["test_labels"] + 2},
    }[how]
    np.savez(file, **{name: each for name, each in {**kept, **changed}.items() if each is not None})


@pytest.mark.parametrize(
    "how",
    [
        *("cut", "zeroed", "garbage", "empty", "missing key", "other shape", "one dimension"),
        *("not a number", "pickle", "label beyond"),
    ],
)
def test_damaged_predictions_are_one_clear_error(tmp_path, how):
    entry = run(tmp_path, "lora", 0, [ZERO, ONE, ONE])
    harmed(tmp_path / "lora-seed0" / "predictions.npz", how)
    with pytest.raises(RunError, match=r"predictions\.npz is missing or damaged.*another --out") as caught:
        load_predictions([entry], tmp_path)
    assert "\n" not in str(caught.value)


def test_every_flipped_byte_of_written_predictions_is_noticed(tmp_path):
    kept = Predictions(np.arange(3), np.array([0, 1, 1]), np.array([ZERO, ONE, ONE], np.float32))
    write_predictions(tmp_path, {"test": kept}, recipe_hash="0123456789ab")
    file = tmp_path / "predictions.npz"
    np.testing.assert_array_equal(read_predictions(tmp_path, "test").logits, kept.logits)
    whole = file.read_bytes()
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        with pytest.raises(RunError):
            read_predictions(tmp_path, "test")


def test_predictions_of_another_run_are_refused(tmp_path):
    kept = Predictions(np.arange(3), np.array([0, 1, 1]), np.array([ZERO, ONE, ONE], np.float32))
    write_predictions(tmp_path, {"test": kept}, recipe_hash="0123456789ab")
    (tmp_path / "result.json").write_text('{"recipe_hash": "ba9876543210"}')
    with pytest.raises(RunError, match="belongs to a run of another recipe"):
        read_predictions(tmp_path, "test")
