"""Predictions of several labels a tile, their formats and their bundle; and what does not know them yet."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
from commands import orbitune
from image_files import stripes
from scipy.special import logit

from orbitune import Bundle, Classifier
from orbitune.data.tileset import load_tiles
from orbitune.errors import OrbituneError, RunError
from orbitune.evaluation.run_result import RunResult
from orbitune.inference.bundle_builder import build_bundle
from orbitune.models.metadata import ModelMetadata
from orbitune.records import RecordError


@pytest.fixture(scope="module")
def classifier(label_set_bundle):
    return Classifier.from_pretrained(label_set_bundle.folder)


@pytest.fixture(scope="module")
def mosaics(label_set_run):
    return load_tiles(str(label_set_run.parent / "tiles" / "tiles.csv"), progress=False)


def test_a_bundle_keeps_task_thresholds_and_scores(label_set_run, label_set_bundle):
    for place in (label_set_run, label_set_bundle.folder):
        bundle = Bundle.open(place)
        assert bundle.task.name == "multi-label" and bundle.task.activation == "sigmoid"
        assert len(bundle.decision.thresholds) == 3 and bundle.confusion is None
        assert bundle.metadata.scores["test"].mean_average_precision > 0.8
    card = (label_set_bundle.folder / "README.md").read_text()
    header = "| split | tiles | mAP | 95 % interval | micro-F1 (95 % interval) | macro-F1 (95 % interval) |"
    assert header in card
    scores = RunResult.load(label_set_run).test
    for name in ("micro_f1", "macro_f1"):
        low, high = scores.intervals[name]
        assert f"| {getattr(scores, name):.4f} ({low:.4f} to {high:.4f}) |" in card
    assert "before the sigmoid. A tile has every label whose probability reaches its threshold" in card


def test_a_run_without_a_temperature_is_calibrated_with_offsets_and_thresholds_of_the_same_fit(
    label_set_run, tmp_path
):
    run = shutil.copytree(label_set_run, tmp_path / "run")
    [stated] = run.rglob("orbitune.json")
    values = json.loads(stated.read_text()) | {"temperature": None, "offsets": None, "thresholds": [0.9] * 3}
    stated.write_text(json.dumps(values))
    assert Bundle.open(run).decision == Bundle.open(label_set_run).decision


def test_a_prediction_has_all_labels_that_reach_their_thresholds(classifier, mosaics):
    tiles = mosaics.read(np.arange(40))
    found = classifier.predict_proba(tiles)
    assert found.shape == (40, 3) and found.sum(1).max() > 1
    thresholds = np.array(classifier.bundle.decision.thresholds)
    for row, prediction in zip(found, classifier.predict(tiles, batch_size=40), strict=True):
        expected = [classifier.classes[c] for c in np.argsort(-row) if row[c] >= thresholds[c]]
        assert [label for label, _ in prediction.labels] == expected
        assert all(0 <= probability <= 1 for _, probability in prediction.labels)
        assert prediction.sure is not None and prediction.error is None


def test_at_most_the_asked_number_of_labels_is_returned(classifier, mosaics):
    full = list(classifier.predict(mosaics.read(np.arange(20))))
    few = list(classifier.predict(mosaics.read(np.arange(20)), top_k=1))
    assert max(len(each.labels) for each in full) > 1
    assert [each.labels for each in few] == [each.labels[:1] for each in full]


def test_tiles_unlike_the_mosaics_are_not_sure(classifier, mosaics):
    known = [each.sure for each in classifier.predict(mosaics.read(np.arange(150)))]
    assert np.mean(known) > 0.9
    assert not any(each.sure for each in classifier.predict([stripes(32)]))


def test_csv_holds_the_labels_as_training_reads_them(label_set_bundle, mosaics, label_set_run, tmp_path):
    folder = label_set_run.parent / "tiles"
    done = orbitune("predict", label_set_bundle.folder, folder, "--format", "csv", "--quiet")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert list(rows[0]) == ["input", "labels", "probabilities", "sure", "distance", "error"]
    assert len(rows) == 150
    for row in rows:
        count = 0 if row["labels"] == "[]" else len(row["labels"].split("|"))
        assert count == len(row["probabilities"].split("|")) - (row["probabilities"] == "")
    lines = [f"{row['input'].rpartition('/')[2]},{row['labels']}" for row in rows]
    (folder / "predicted.csv").write_text("\n".join(["file_name,labels", *lines]))
    read = load_tiles(str(folder / "predicted.csv"), progress=False)
    (folder / "predicted.csv").unlink()
    assert read.multi_label and (read.labels == mosaics.labels).mean() > 0.8


def test_the_table_and_json_lines_list_several_labels(label_set_bundle, label_set_run):
    image = label_set_run.parent / "tiles" / "mosaic_000.png"
    shown = orbitune("predict", label_set_bundle.folder, image, "--quiet").stdout
    [line] = orbitune("predict", label_set_bundle.folder, image, "--json", "--quiet").stdout.splitlines()
    labels = json.loads(line)["labels"]
    assert labels and all(f"{each['label']} " in shown for each in labels)
    assert all(each["probability"] <= 1 for each in labels)


def test_weights_of_16_bits_are_compared_by_map_and_micro_f1(label_set_run, tmp_path):
    bundle = build_bundle(label_set_run, tmp_path / "half", dtype="float16", progress=False)
    storage = bundle.metadata.storage
    assert list(storage.label_scores) == ["mAP", "micro-F1"] and storage.accuracy_before is None
    before, after = storage.label_scores["mAP"]
    expected = bundle.metadata.scores["validation"].mean_average_precision
    assert before == pytest.approx(expected, abs=1e-3) and after == pytest.approx(before, abs=0.1)
    card = (bundle.folder / "README.md").read_text()
    assert f"validation tiles: mAP {before:.4f} before and {after:.4f} after, micro-F1 " in card
    assert "accuracy" not in card


def test_an_earlier_version_reads_no_thresholds_as_one_label(label_set_bundle, bundle):
    """It would take the softmax of these logits: so the format is a newer one, where several labels are."""
    several, one = (
        json.loads((each.folder / "orbitune.json").read_text()) for each in (label_set_bundle, bundle)
    )
    assert several["format"] == 5 and several["task"] == "multi-label"
    assert one["format"] == 5 and one["task"] == "single-label" and "thresholds" not in one
    with pytest.raises(RecordError, match="thresholds: expected 3 for task multi-label"):
        ModelMetadata.from_json({**several, "thresholds": [0.5]})
    with pytest.raises(RecordError, match="offsets: expected 3 for task multi-label"):
        ModelMetadata.from_json({**several, "offsets": [0.5]})


def test_a_bundle_of_before_the_offsets_has_a_temperature_alone(label_set_bundle, tmp_path):
    shutil.copytree(label_set_bundle.folder, tmp_path / "before")
    file = tmp_path / "before" / "orbitune.json"
    stated = json.loads(file.read_text())
    offsets = np.array(stated.pop("offsets"))
    file.write_text(json.dumps({**stated, "format": 4}))
    tiles = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    found, before = (
        Classifier.from_pretrained(each).predict_proba(tiles)
        for each in (label_set_bundle.folder, tmp_path / "before")
    )
    np.testing.assert_allclose(logit(found) - logit(before), np.tile(offsets, (3, 1)), atol=0.01)


# --- what knows one label a tile only ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "feature"),
    [
        (("adapters", "merge", "{run}", "{run}", "--out", "{out}"), "Merged adapters"),
    ],
    ids=lambda each: each[0] if isinstance(each, tuple) else "",
)
def test_commands_that_know_one_label_refuse_several_in_one_line(label_set_run, tmp_path, arguments, feature):
    done = orbitune(*(each.format(run=label_set_run, out=tmp_path / "out") for each in arguments))
    assert done.returncode == 2
    [line] = done.stderr.strip().splitlines()[-1:]
    assert f"{feature} know one label a tile, and run has several." in line
    assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()


def test_an_adapter_of_several_labels_is_not_imported_as_one_of_a_single_label(label_set_run, tmp_path):
    options = ("--backbone", label_set_run.parent / "backbone", "--labels", "class_0,class_1,class_2")
    done = orbitune("import", label_set_run / "adapter", *options, "--out", tmp_path / "out")
    assert done.returncode == 2 and "has several labels a tile and thresholds" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()


def test_scores_of_corrupted_tiles_refuse_several_labels(label_set_run):
    from orbitune.training.corruption_scores import score_robustness

    with pytest.raises(
        RunError, match="Scores of corrupted tiles know one label a tile, and run has several"
    ):
        score_robustness(label_set_run, 4, progress=False)


def test_a_bank_of_adapters_gives_the_probabilities_of_each_task(label_set_run, classifier, mosaics):
    from orbitune.adapters.adapter_bank import AdapterBank

    bank = AdapterBank(label_set_run.parent / "backbone", 32, precision="fp32")
    bank.add("mosaics", label_set_run / "adapter")
    tiles = mosaics.read(np.arange(4))
    found = np.stack(bank.predict(tiles, ["mosaics"] * 4))
    np.testing.assert_allclose(found, classifier.predict_proba(tiles), atol=0.02)


def test_one_label_models_are_not_refused(bundle):
    bundle.require_single_label("Maps")
    with pytest.raises(OrbituneError):
        Bundle.open("nowhere")
