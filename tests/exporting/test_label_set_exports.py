"""Exports of models that give a tile several labels."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from label_sets import real_parts, write_mosaics
from samples import backbone_folder
from scipy.special import logit

from orbitune import Classifier, Recipe, train
from orbitune.bench.figures import accuracy_loss, int8_loss
from orbitune.evaluation.tasks.score_loss import label_set_losses
from orbitune.exporting import distillation
from orbitune.exporting.export_report import ExportReport
from orbitune.exporting.exporter import export
from orbitune.exporting.formats import FORMATS
from orbitune.exporting.reference import ReferenceModel
from orbitune.exporting.refusals import ExportRefusedError, ExportUndecidedError

pytestmark = pytest.mark.usefixtures("short_timing")

ROOT = Path(__file__).parent.parent.parent
FORMS = {
    "merged": "merged",
    "onnx": "model.onnx",
    "onnx-fp16": "model-fp16.onnx",
    "onnx-int8": "model-int8.onnx",
}


@pytest.fixture(scope="module")
def exported(label_set_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "out"
    return out, export(label_set_run, list(FORMS), out=out, tolerance=20, progress=False)


@pytest.fixture(scope="module")
def original(label_set_run):
    return ReferenceModel.open(label_set_run, progress=False)


@pytest.fixture(scope="module")
def tiles(original):
    return original.setup.tiles.read(original.setup.splits["validation"])


def test_graphs_end_in_the_calibrated_sigmoid(exported, original, tiles, label_set_run):
    expected = Classifier.from_pretrained(label_set_run, precision="fp32").predict_proba(tiles)
    decision = original.bundle.decision
    assert decision.temperature != 1 and all(decision.offsets) and expected.sum(1).max() > 1
    for name, closeness in (("onnx", 1e-5), ("onnx-fp16", 0.02), ("merged", 1e-5)):
        found = FORMATS[name].open(exported[0] / FORMS[name], original)(tiles)
        np.testing.assert_allclose(found, expected, atol=closeness)


def test_the_files_state_task_and_thresholds(exported, original):
    import onnxruntime

    classes, thresholds = list(original.bundle.classes), list(original.bundle.decision.thresholds)
    stated = {"task": "multi-label", "labels": classes, "thresholds": thresholds}
    assert json.loads((exported[0] / "labels.json").read_text()) == stated
    facts = onnxruntime.InferenceSession(exported[0] / "model.onnx").get_modelmeta().custom_metadata_map
    assert facts["task"] == "multi-label" and json.loads(facts["labels"]) == classes
    assert json.loads(facts["thresholds"]) == thresholds
    assert json.loads(facts["offsets"]) == list(original.bundle.decision.offsets)


def test_transformers_takes_the_sigmoid_of_the_merged_folder(exported, original, tiles):
    from PIL import Image
    from transformers import pipeline

    opened = pipeline("image-classification", model=str(exported[0] / "merged"), top_k=3)
    assert opened.model.config.problem_type == "multi_label_classification"
    found = opened([Image.fromarray(tile) for tile in tiles[:8]])
    assert max(sum(label["score"] for label in each) for each in found) > 1.2
    expected = original.predict(original.merged(), fast=False)(tiles[:8])
    uncalibrated = logit(expected) - original.bundle.decision.offsets
    assert [each[0]["label"] for each in found] == [
        original.bundle.classes[i] for i in uncalibrated.argmax(1)
    ]


def test_the_record_states_what_map_and_f1_lose_with_paired_intervals(exported):
    folder, report = exported
    assert ExportReport.load(folder).model_dump() == report.model_dump()
    for name, each in report.formats.items():
        assert [lost.score for lost in each.label_losses] == ["mAP", "micro-F1"]
        for lost in each.label_losses:
            assert lost.points_lost == pytest.approx(100 * (lost.reference - lost.found))
            assert lost.low <= lost.points_lost <= lost.high and lost.reference > 0.6
        if name != "onnx-int8":
            assert each.agreement > 0.9
    same = report.formats["onnx"]
    assert same.agreement == 1 and {each.points_lost for each in same.label_losses} == {0}
    header, rows = report.table()
    assert "mAP lost (95 % interval)" in header and "micro-F1 lost (95 % interval)" in header
    assert {len(row) for row in rows} == {len(header)}


def test_labels_that_are_the_same_on_few_tiles_do_not_show_that_nothing_is_lost(exported):
    """A bootstrap of no difference has no width: it would pass any file on a dozen tiles."""
    same = exported[1].formats["onnx"]
    for lost in same.label_losses:
        assert lost.low == -lost.high and lost.alone is None
        assert lost.high == pytest.approx(100 * 3.8415 / (same.tiles + 3.8415), rel=1e-3)
    with pytest.raises(ExportUndecidedError, match="29 validation tiles are too few to show that it loses"):
        same.check("ONNX in int8", difference=None, tolerance=0.5)


def passes(hit, truth, check):
    """Return whether a file passes that has no label on the tiles that are hit."""
    reference = np.where(truth, 0.9, 0.1)
    found = np.where(hit[:, None], 0.05, reference)
    losses = label_set_losses(found, reference, labels=truth.astype(np.uint8), thresholds=np.full(4, 0.5))
    measured = check.model_copy(update={"tiles": len(truth), "label_losses": losses})
    try:
        measured.check("int8", difference=None, tolerance=0.5)
    except ExportRefusedError:
        return False
    return True


@pytest.mark.slow
def test_files_that_truly_lose_the_labels_of_one_tile_in_a_hundred_hardly_ever_pass(exported):
    """With 100 tiles the bootstrap alone passes each third: those that hit none of them."""
    random, check = np.random.default_rng(0), exported[1].formats["onnx"]
    truth = random.random((100, 4)) < 0.4
    assert np.mean([passes(random.random(100) < 0.01, truth, check) for _ in range(60)]) <= 0.05
    truth = random.random((1000, 4)) < 0.4
    assert passes(np.zeros(1000, bool), truth, check)


def test_int8_is_refused_for_labels_lost_at_the_thresholds_although_the_ranking_is_the_same(
    label_set_run, original, tmp_path, monkeypatch
):
    """Probabilities of a tenth keep mAP, so only F1 sees that hardly a tile has a label any more."""
    form = FORMATS["onnx-int8"]

    def tenth(path, reference):
        predict = form.open(path, reference)
        return lambda tiles: predict(tiles) / 10

    monkeypatch.setitem(FORMATS, form.name, replace(form, open=tenth))
    with pytest.raises(
        ExportRefusedError, match=r"loses \d+\.\d\d points of validation micro-F1 \(.*, and 20 "
    ):
        export(label_set_run, [form.name], out=tmp_path / "out", tolerance=20, progress=False)


def test_an_int8_file_with_merged_tokens_learns_the_probabilities_of_its_teacher(
    original, tiles, monkeypatch
):
    import torch

    monkeypatch.setattr(distillation, "EPOCHS", 60)
    monkeypatch.setattr(distillation, "LEARNING_RATE", 1e-2)
    student, found = original.merged(), original.merged()
    with torch.no_grad():
        student.classifier.bias += torch.tensor([3.0, 0.0, -3.0])
    found.load_state_dict(student.state_dict())
    tuned = distillation.distil(
        original.setup, teacher=original.merged(), student=student, merge_after=(1,), progress=False
    )
    expected, away = original.predict(original.merged(), fast=False)(tiles), []
    for tensors in ({}, tuned):
        found.load_state_dict(tensors, strict=False)
        away.append(np.abs(original.predict(found, fast=False)(tiles) - expected).mean())
    assert away[1] < away[0] / 2


def test_the_example_without_orbitune_prints_the_labels_that_reach_their_thresholds(
    exported, label_set_run, original
):
    images = sorted((label_set_run.parent / "tiles").glob("*.png"))[:12]
    script = ROOT / "examples" / "classify_onnx.py"
    done = subprocess.run(
        [sys.executable, script, exported[0] / "model.onnx", *images], capture_output=True, text=True
    )
    classifier = Classifier.from_pretrained(label_set_run, precision="fp32")
    for line, found in zip(done.stdout.splitlines(), classifier.predict(images), strict=True):
        labels = ", ".join(f"{label} {probability:.1%}" for label, probability in found.labels)
        assert line == f"{found.input}: {labels or 'no label'}", done.stderr


def test_bench_figures_measure_the_map_that_is_lost(exported, label_set_run, tmp_path):
    measured = int8_loss.measure(str(label_set_run), folder=str(exported[0]))
    assert "test mAP" in dict(measured["details"])
    same = accuracy_loss.measure(str(label_set_run), str(label_set_run))
    assert same["value"] == 0 and "test mAP" in dict(same["details"])


@pytest.mark.slow
def test_real_tiles_lose_few_points_of_map_in_int8(tmp_path, shared):
    table = write_mosaics(tmp_path / "tiles", real_parts(shared), count=240)
    recipe = Recipe(
        data=str(table),
        backbone=str(backbone_folder(tmp_path / "backbone")),
        epochs=6,
        batch_size=16,
        learning_rate=5e-3,
    )
    train(recipe, tmp_path / "run", progress=False)
    report = export(tmp_path / "run", ["onnx", "onnx-int8"], tolerance=10, progress=False)
    assert report.formats["onnx"].agreement == 1
    assert report.formats["onnx-int8"].label_losses[0].reference > 0.4
