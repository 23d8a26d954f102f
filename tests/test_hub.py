"""Names that may be hub ids or paths."""

import pytest

from orbitune.errors import DataError, ModelError, RunError
from orbitune.inference.bundle import Bundle
from orbitune.models.backbones import find_backbone
from orbitune.sources.registry import find_source


@pytest.mark.parametrize("typed", ["runs/lora-eurosta", "rnus/lora-eurosat"])
def test_a_mistyped_path_is_not_asked_of_the_hub(tmp_path, monkeypatch, typed):
    (tmp_path / "runs" / "lora-eurosat").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("the hub was asked")
    )
    with pytest.raises(ModelError, match=r"There is no backbone folder .*; did you mean runs"):
        find_backbone(typed)
    with pytest.raises(DataError, match=r"There is no folder or zip .*; did you mean runs"):
        find_source(typed)
    with pytest.raises(RunError, match=r"There is no folder .*; did you mean runs"):
        Bundle.open(typed)


@pytest.mark.parametrize(
    ("find", "typed", "meant"),
    [
        (find_backbone, "facebok/dinov2-small", "facebook/dinov2-small"),
        (find_backbone, "dinov2-small", "facebook/dinov2-small"),
        (find_source, "blanchon/EuroSAT-RGB", "blanchon/EuroSAT_RGB"),
        (find_source, "torchgeo/EuroSAT_RGB", "blanchon/EuroSAT_RGB"),
        (find_source, "eurosat_rgb", "blanchon/EuroSAT_RGB"),
    ],
)
def test_a_mistyped_hub_id_is_answered_with_the_nearest_known_one(monkeypatch, find, typed, meant):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises((ModelError, DataError)) as refused:
        find(typed)
    line = str(refused.value)
    assert f"{typed}; did you mean {meant}?" in line and "\n" not in line


@pytest.mark.parametrize(
    ("find", "valid"),
    [
        (find_source, "blanchon/EuroSAT_MSI"),
        (find_source, "timm/eurosat-rgb"),
        (find_backbone, "facebook/dinov2-with-registers-large"),
        (find_backbone, "google/vit-base-patch16-384"),
    ],
)
def test_a_hub_id_that_cannot_be_reached_is_not_answered_with_another(monkeypatch, find, valid):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises((ModelError, DataError)) as refused:
        find(valid)
    assert "did you mean" not in str(refused.value)


def test_a_hub_id_beside_folders_of_other_models_is_asked_of_the_hub(tmp_path, monkeypatch):
    (tmp_path / "google" / "vit-base-patch16-384").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="Cannot get model 'google/vit-base-patch16-224'"):
        find_backbone("google/vit-base-patch16-224")
