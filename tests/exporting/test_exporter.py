import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import FAMILIES, backbone_folder, model_metadata, tile_folder

from orbitune import Recipe
from orbitune.errors import OrbituneError, RunError
from orbitune.exporting import distillation, validation
from orbitune.exporting.exporter import EXPORTS, Form, export
from orbitune.exporting.onnx_export import open_onnx, write_onnx
from orbitune.exporting.reference import ReferenceModel
from orbitune.exporting.validation import ExportCheck, RefusedError, check_table
from orbitune.inference.bundle import Bundle
from orbitune.models.checkpoint_io import save_model
from orbitune.models.factory import build
from orbitune.training.setup import prepare_training

ROOT = Path(__file__).parent.parent.parent
ONNX = ("onnx", "onnx-int8")


@pytest.fixture(scope="module", autouse=True)
def short_timing():
    """Latency is measured all the same, a moment only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "_SECONDS", 0.0)
        yield


def untrained(place, model_type="vit", method="lora", size=24):
    """A model as a run would have saved it, had it trained."""
    tiles, backbone = tile_folder(place / "tiles", each=8), backbone_folder(place / "backbone", model_type)
    settings = {"data": str(tiles), "backbone": str(backbone), "method": method, "image_size": size}
    job = prepare_training(Recipe(**settings), progress=False)
    model = build(job.recipe, job.backbone, job.tiles.classes).eval()
    with torch.no_grad():  # LoRA starts at zero
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.02 * torch.randn_like(parameter)
    metadata = model_metadata(job.backbone, job.tiles.classes, method, temperature=1.5)
    metadata = metadata.model_copy(update={"preprocessing": job.preprocessing})
    save_model(model, place / "saved", job.backbone, metadata)
    return ReferenceModel(Bundle(place / "saved", metadata), job)


@pytest.fixture(scope="module")
def original(run):
    return ReferenceModel.open(run, progress=False)


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """What does not need OpenVINO, of one run, and what the gate says of it."""
    out = tmp_path_factory.mktemp("export") / "out"
    return out, export(run, ("merged", *ONNX), out, tolerance=10, progress=False)


def reference(original, tiles):
    return original.predict(original.model())(tiles)


def some_tiles(original):
    return original.job.tiles.read(original.job.splits["validation"])


def test_every_form_passes_the_gate_with_its_measures_beside_it(exported):
    folder, report = exported
    assert json.loads((folder / "gate.json").read_text()) == report
    assert set(report["forms"]) == {"merged", *ONNX}
    for form in report["forms"].values():
        assert form["tiles"] == 24 and form["bytes"] > 0 and set(form["milliseconds"]) == {"1", "64"}
        assert form["low"] <= form["points_lost"] <= form["high"]
    assert report["forms"]["onnx"]["largest_difference"] < 1e-5
    assert report["forms"]["merged"]["largest_difference"] < 1e-5
    assert report["forms"]["onnx-int8"]["largest_difference"] > 0
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_the_table_has_a_row_for_each_form(exported):
    header, rows = check_table(exported[1]["forms"])
    assert [row[0] for row in rows] == ["merged", *ONNX] and {len(row) for row in rows} == {len(header)}


def test_transformers_pipeline_opens_the_merged_folder(exported, original):
    from PIL import Image
    from transformers import pipeline

    tiles = some_tiles(original)
    opened = pipeline("image-classification", model=str(exported[0] / "merged"), top_k=3)
    found = opened([Image.fromarray(tile) for tile in tiles])
    expected = reference(original, tiles)
    labels = original.bundle.classes
    assert [each[0]["label"] for each in found] == [labels[i] for i in expected.argmax(1)]


def test_the_graph_takes_any_number_of_tiles_and_names_its_classes(exported, original):
    import onnxruntime

    tiles = some_tiles(original)
    for name in ("model.onnx", "model-int8.onnx"):
        session = onnxruntime.InferenceSession(exported[0] / name)
        assert session.get_inputs()[0].type == "tensor(uint8)"
        probabilities = session.run(None, {"tiles": tiles[:5]})[0]
        assert probabilities.shape == (5, 3) and np.allclose(probabilities.sum(1), 1, atol=1e-5)
        facts = session.get_modelmeta().custom_metadata_map
        assert json.loads(facts["labels"]) == list(original.bundle.classes)
        assert float(facts["temperature"]) == original.bundle.temperature
        assert facts["recipe_hash"] == original.job.recipe.hash
    assert json.loads((exported[0] / "labels.json").read_text()) == list(original.bundle.classes)


def test_no_path_of_the_machine_is_in_a_file(exported):
    for name in ("model.onnx", "model-int8.onnx"):
        content = (exported[0] / name).read_bytes()
        assert b"site-packages" not in content and str(ROOT).encode() not in content


def test_layers_are_stored_in_8_bits(exported):
    import onnx

    kinds = [tensor.data_type for tensor in onnx.load(exported[0] / "model-int8.onnx").graph.initializer]
    assert kinds.count(onnx.TensorProto.INT8) >= 2 * 4  # two layers of four products


@pytest.mark.parametrize("model_type", [name for name in FAMILIES if name != "vit"])
def test_every_family_exports_at_sizes_that_are_not_its_own(tmp_path, model_type):
    original = untrained(tmp_path, model_type)
    tiles, path = some_tiles(original), tmp_path / "model.onnx"
    write_onnx(original, path)
    expected = reference(original, tiles)
    assert np.allclose(open_onnx(path, original)(tiles), expected, atol=1e-5)
    assert np.allclose(original.predict(original.merged())(tiles), expected, atol=1e-5)


@pytest.fixture(scope="module")
def merging(run, tmp_path_factory):
    """An int8 file whose patches are halved after the first of two blocks."""
    out = tmp_path_factory.mktemp("merging") / "out"
    return out, export(run, "onnx-int8", out, tolerance=100, merge_tokens="1", progress=False)


def test_an_int8_file_may_merge_tokens_and_says_so(merging):
    import onnx
    import onnxruntime

    folder, report = merging
    assert report["forms"]["onnx-int8"]["merge_tokens"] == [1]
    assert check_table(report["forms"])[1][0][0] == "onnx-int8, tokens merged after 1"
    file = folder / "model-int8.onnx"
    facts = onnxruntime.InferenceSession(file).get_modelmeta().custom_metadata_map
    assert json.loads(facts["merge_tokens"]) == [1]
    assert [node.op_type for node in onnx.load(file).graph.node].count("ArgMax") == 1


def test_a_file_that_merges_takes_any_number_of_tiles(merging, original):
    predict, tiles = open_onnx(merging[0] / "model-int8.onnx", original), some_tiles(original)
    whole = predict(tiles)
    assert whole.shape == (len(tiles), 3) and np.allclose(whole.sum(1), 1, atol=1e-5)
    for count in (1, 5):
        assert np.allclose(predict(tiles[:count]), whole[:count], atol=1e-4)


def test_a_model_that_merges_learns_the_answers_of_the_trained_one(original, monkeypatch):
    monkeypatch.setattr(distillation, "EPOCHS", 20)
    monkeypatch.setattr(distillation, "_RATE", 1e-2)
    tiles, student, found = some_tiles(original), original.merged(), original.merged()
    with torch.no_grad():
        student.classifier.bias += torch.tensor([3.0, 0.0, -3.0])
    found.load_state_dict(student.state_dict())
    tuned = distillation.distil(original.job, original.merged(), student, (1,), progress=False)
    assert not any(".layers.0." in name or "embeddings" in name for name in tuned)  # what lies below stays
    away = []
    for tensors in ({}, tuned):
        found.load_state_dict(tensors, strict=False)
        away.append(np.abs(original.predict(found)(tiles) - reference(original, tiles)).mean())
    assert away[1] < away[0] / 4


def test_without_merging_nothing_in_a_file_tells_of_it(exported):
    import onnx

    for name in ("model.onnx", "model-int8.onnx"):
        assert "ArgMax" not in {node.op_type for node in onnx.load(exported[0] / name).graph.node}
    assert [form["merge_tokens"] for form in exported[1]["forms"].values()] == [[], [], []]


@pytest.mark.parametrize(
    ("to", "blocks", "message"),
    [
        ("onnx", "1", "Only forms in int8 merge tokens"),
        ("onnx-int8", "one", "takes numbers of blocks, such as 3,6, not 'one'"),
        ("onnx-int8", (2,), "name blocks from 1 to 1"),
    ],
)
def test_tokens_that_cannot_be_merged_are_one_line(run, tmp_path, to, blocks, message):
    with pytest.raises(OrbituneError, match=message):
        export(run, to, tmp_path / "out", merge_tokens=blocks, progress=False)


@pytest.mark.parametrize("method", ["full", "linear"])
def test_what_has_no_adapter_merges_too(tmp_path, method):
    original = untrained(tmp_path, method=method, size=16)
    tiles = some_tiles(original)
    assert np.allclose(original.predict(original.merged())(tiles), reference(original, tiles), atol=1e-5)


def test_openvino_computes_the_same(original, tmp_path):
    pytest.importorskip("openvino", reason="needs orbitune[openvino]")
    tiles = some_tiles(original)
    expected = reference(original, tiles)
    for name, closeness in (("openvino", 1e-4), ("openvino-int8", 0.1)):
        form = EXPORTS[name]
        form.write(original, tmp_path / name)
        found = form.open(tmp_path / name, original)
        assert np.allclose(found(tiles), expected, atol=closeness)
        assert found(tiles[:3]).shape == (3, 3)


def test_a_signal_can_be_handled_after_openvino_was_used(original, tmp_path):
    pytest.importorskip("openvino", reason="needs orbitune[openvino]")
    form, arrived = EXPORTS["openvino"], []
    form.write(original, tmp_path / "model")
    first, second = (form.open(tmp_path / "model", original) for _ in range(2))
    del first
    del second
    before = signal.signal(signal.SIGUSR1, lambda number, frame: arrived.append(number))
    signal.raise_signal(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)
    assert arrived == [signal.SIGUSR1]


def test_a_form_that_differs_is_refused_and_leaves_no_file(run, tmp_path, monkeypatch):
    def other(folder, original):
        return lambda tiles: np.full((len(tiles), 3), 1 / 3, np.float32)

    monkeypatch.setitem(EXPORTS, "merged", replace(EXPORTS["merged"], open=other))
    with pytest.raises(RefusedError, match="differs from the trained model's by"):
        export(run, "merged", tmp_path / "out", progress=False)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["labels.json"]


PASSAGE = ExportCheck(12, 0.9, 2e-4, 0.9, 0.906, 0.6, -0.1, 1.3, 1000, {"1": 1.0, "64": 1.0})


def test_int8_is_held_to_the_points_that_the_user_allows():
    PASSAGE.check("ONNX in int8", exact=False, tolerance=0.6)
    with pytest.raises(RefusedError, match=r"loses 0.60 points .* \(-0.10 to 1.30\), and 0.5 are allowed"):
        PASSAGE.check("ONNX in int8", exact=False, tolerance=0.5)


def test_fp32_is_held_to_the_probabilities_whatever_the_user_allows():
    PASSAGE.check("ONNX", exact=True, tolerance=0)
    for difference in (2e-3, float("nan")):
        with pytest.raises(RefusedError, match="a probability differs"):
            replace(PASSAGE, largest_difference=difference).check("ONNX", exact=True, tolerance=100)


@pytest.mark.parametrize(
    ("to", "message"),
    [("onx", "There is no form 'onx'"), ("rare", "A rare form needs no_such_module: pip install rare")],
)
def test_what_cannot_be_made_is_one_line_that_says_what_to_do(run, monkeypatch, to, message):
    rare = Form("rare", "A rare form", "x", None, None, needs=("no_such_module",), install="pip install rare")
    monkeypatch.setitem(EXPORTS, "rare", rare)
    with pytest.raises(RunError, match=message):
        export(run, to, progress=False)


def test_a_folder_with_exports_of_another_model_is_left_alone(run, tmp_path):
    (tmp_path / "gate.json").write_text(json.dumps({"hashes": {"recipe": "other"}, "forms": {}}))
    with pytest.raises(RunError, match="holds exports of another model"):
        export(run, "merged", tmp_path, progress=False)


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory):
    """A Python with onnxruntime, numpy and Pillow alone."""
    place = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    install = [sys.executable, "-m", "pip", "-q", "--python", place, "install"]
    done = subprocess.run([*install, "onnxruntime", "numpy", "pillow"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip("needs a package registry with onnxruntime, numpy and pillow")
    yield place / "bin" / "python"
    shutil.rmtree(place)


def test_the_example_classifies_without_torch(exported, original, bare_python):
    row = int(original.job.splits["validation"][0])
    label = original.bundle.classes[original.job.tiles.labels[row]]
    images = sorted(Path(original.job.recipe.data, label).iterdir())[:2]
    script = ROOT / "examples" / "classify_onnx.py"
    assert len(script.read_text().splitlines()) <= 40
    assert subprocess.run([bare_python, "-c", "import torch"], capture_output=True).returncode
    done = subprocess.run(
        [bare_python, script, exported[0] / "model.onnx", *images], capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stderr
    for line, image in zip(lines, images, strict=True):
        assert line.startswith(f"{image}: class_") and line.count("%") == 3
