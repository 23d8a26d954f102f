import numpy as np
import pytest
import torch
from samples import backbone_folder

from orbitune.evaluation.attribution import attribution_map
from orbitune.models import backbones
from orbitune.models.backbones import find_backbone, load_weights

SIDE, PATCH = 32, 8
PLACES = SIDE // PATCH


def tiles_with_a_mark(count):
    """Return noise tiles, every second one with a bright patch, and its index."""
    random = torch.Generator().manual_seed(0)
    pixels = 0.3 * torch.randn(count, 3, SIDE, SIDE, generator=random)
    places = torch.randint(PLACES, (count, 2), generator=random)
    for number in range(1, count, 2):
        row, column = (PATCH * places[number]).tolist()
        pixels[number, :, row : row + PATCH, column : column + PATCH] += 3
    return pixels, torch.arange(count) % 2, places


# A head that reads every patch hears them all, so there the mark stands out less. After more steps than these
# the rounding of a processor decides by how much.
@pytest.mark.parametrize("attention", ["eager", "sdpa"])  # as loaded on a CPU, and on a GPU
@pytest.mark.parametrize(
    ("model_type", "steps", "times"), [("vit", 40, 2), ("dinov2_with_registers", 15, 1.05)]
)
def test_the_patch_that_shows_the_class_is_more_relevant_than_the_others(
    tmp_path, monkeypatch, *, model_type, steps, times, attention
):
    monkeypatch.setattr(backbones, "attention", lambda: attention)
    backbone = find_backbone(str(backbone_folder(tmp_path / "backbone", model_type)))
    model = load_weights(backbone, ("no mark", "mark"), seed=0).train()
    pixels, labels, places = tiles_with_a_mark(128)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(steps):
        logits = model(pixel_values=pixels, **backbone.family.forward).logits
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, labels).backward()
        optimizer.step()
    marked, others = [], []
    for number in range(1, 30, 2):
        score = attribution_map(model.eval(), backbone.family, pixels=pixels[[number]], label=1)
        assert score.shape == (PLACES, PLACES)
        assert score.min() >= 0
        marked.append(score[tuple(places[number])])
        others.append((score.sum() - marked[-1]) / (score.size - 1))
    assert np.mean(marked) > times * np.mean(others)
