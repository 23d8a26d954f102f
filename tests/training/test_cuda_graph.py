"""On a GPU, whole batches are computed by replaying a CUDA graph."""

import pytest
import torch
from torch.testing import assert_close

from orbitune import Recipe
from orbitune.models.methods import METHODS
from orbitune.resources import make_accelerator
from orbitune.training.gradients import cuda_graph
from orbitune.training.run_folder import RunFolder
from orbitune.training.setup import prepare_training
from orbitune.training.trainer import Trainer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

STEPS = 12  # of 8 and of 4 tiles in turn: three whole batches before the capture, three after it


def steps(recipe, folder):
    """Return the losses of the first steps, and the trained weights after them."""
    setup = prepare_training(recipe, progress=False)
    run = RunFolder(folder, setup.recipe, inputs=setup.inputs())
    trainer = Trainer.build(setup, run, accelerator=make_accelerator())
    losses = [trainer.step() for _ in range(STEPS)]
    return losses, {name: p for name, p in trainer.model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("method", METHODS)
def test_a_replayed_graph_trains_as_steps_without_one(tiles, backbone, tmp_path, monkeypatch, method):
    recipe = Recipe(data=tiles, backbone=backbone, method=method, batch_size=8, precision="fp32")
    losses, weights = steps(recipe, tmp_path / "graph")
    monkeypatch.setattr(cuda_graph, "EAGER_STEPS", STEPS)
    expected_losses, expected_weights = steps(recipe, tmp_path / "eager")
    assert losses == pytest.approx(expected_losses, rel=1e-4)
    assert_close(weights, expected_weights, rtol=1e-3, atol=1e-5)


def test_tf32_rounds_products_and_fp32_does_not(tiles, backbone, tmp_path):
    first = {
        precision: steps(
            Recipe(data=tiles, backbone=backbone, batch_size=8, precision=precision), tmp_path / precision
        )
        for precision in ("tf32", "fp32")
    }
    (rounded, _), (exact, _) = first.values()
    assert rounded != exact and rounded == pytest.approx(exact, rel=0.02)
