"""The head in the weight files of a saved model."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from orbitune.errors import ModelError
from orbitune.models.families.table import FAMILIES
from orbitune.models.files.head_tensors import read_head, write_head


@pytest.fixture
def head():
    random = np.random.default_rng(0)
    return random.normal(size=(3, 8)).astype(np.float32), random.normal(size=3).astype(np.float32)


def save(folder, heads, dtype=torch.float32):
    tensors = {"base_model.model.vit.lora_A.weight": torch.ones(2, 4, dtype=dtype)}
    for number, name in enumerate(heads):
        tensors[f"base_model.model.{name}.weight"] = torch.full(
            (3, 8 // len(heads)), float(number), dtype=dtype
        )
        tensors[f"base_model.model.{name}.bias"] = torch.full((3,), float(number), dtype=dtype)
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    return load_file(folder / "adapter_model.safetensors")


def test_a_head_that_is_written_is_read_and_other_tensors_stay(tmp_path, head):
    before = save(tmp_path, ["classifier"])
    write_head(tmp_path, FAMILIES["vit"], weight=head[0], bias=head[1])
    for written, read in zip(head, read_head(tmp_path, FAMILIES["vit"]), strict=True):
        assert np.array_equal(written, read)
    after = load_file(tmp_path / "adapter_model.safetensors")
    assert after.keys() == before.keys()
    assert [name for name in after if not torch.equal(after[name], before[name])] == [
        "base_model.model.classifier.bias",
        "base_model.model.classifier.weight",
    ]


def test_the_heads_of_a_distilled_deit_are_one_whose_output_is_their_mean(tmp_path, head):
    save(tmp_path, ["distillation_classifier", "cls_classifier"])
    write_head(tmp_path, FAMILIES["deit"], weight=head[0], bias=head[1])
    stored = load_file(tmp_path / "adapter_model.safetensors")
    inputs = np.random.default_rng(1).normal(size=(5, 8)).astype(np.float32)
    outputs = [
        inputs[:, part] @ stored[f"base_model.model.{name}.weight"].numpy().T
        + stored[f"base_model.model.{name}.bias"].numpy()
        for name, part in (("cls_classifier", slice(4)), ("distillation_classifier", slice(4, 8)))
    ]
    assert np.allclose(np.mean(outputs, 0), inputs @ head[0].T + head[1], atol=1e-5)
    assert np.allclose(read_head(tmp_path, FAMILIES["deit"])[0], head[0], atol=1e-6)


def test_16_bits_stay_16_bits_and_numbers_beyond_them_are_an_error(tmp_path, head):
    save(tmp_path, ["classifier"], torch.float16)
    write_head(tmp_path, FAMILIES["vit"], weight=head[0], bias=head[1])
    stored = load_file(tmp_path / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    assert np.allclose(read_head(tmp_path, FAMILIES["vit"])[0], head[0], atol=2e-3)
    with pytest.raises(ModelError, match=r"too large for torch.float16"):
        write_head(tmp_path, FAMILIES["vit"], weight=1e6 * head[0], bias=head[1])


def test_a_model_without_a_head_of_its_own_is_one_line(tmp_path):
    save(tmp_path, [])
    with pytest.raises(ModelError, match="holds no classification head"):
        read_head(tmp_path, FAMILIES["vit"])
