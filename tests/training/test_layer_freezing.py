"""First layers stop training after a fraction of the steps."""

import pytest
import torch
from samples import backbone_folder

from orbitune import Recipe, plan_run
from orbitune.errors import OrbituneError
from orbitune.resources import make_accelerator
from orbitune.training.run import open_run
from orbitune.training.run_folder import RunFolder
from orbitune.training.schedule import phase_starts, step_frozen_layers
from orbitune.training.setup import prepare_training
from orbitune.training.trainer import Trainer


@pytest.fixture
def recipe(tiles, backbone):
    """Ten steps, of which the first five train both layers."""
    return Recipe(data=tiles, backbone=backbone, epochs=2, batch_size=8, freeze_layers="1:0.5", method="full")


def new_trainer(recipe, out):
    setup = prepare_training(recipe, progress=False)
    return Trainer.build(
        setup, RunFolder(out, setup.recipe, inputs=setup.inputs()), accelerator=make_accelerator()
    )


def weights(trainer):
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters() if p.requires_grad}


def of_first_layer(name):
    return ".layers.0." in name or "embeddings" in name


def test_layers_are_frozen_from_their_fraction_of_the_steps_on(recipe):
    staged = recipe.replace(freeze_layers="2:0.25,5:0.75")
    assert [step_frozen_layers(staged, step, steps=8) for step in range(8)] == [0, 0, 2, 2, 2, 2, 5, 5]
    assert step_frozen_layers(recipe.replace(freeze_layers=None), 7, steps=8) == 0


def test_the_first_step_trains_all_layers(recipe):
    early = recipe.replace(freeze_layers="1:0.01")
    assert [step_frozen_layers(early, step, steps=8) for step in range(3)] == [0, 1, 1]


def test_layers_stay_frozen_after_a_restart_of_the_schedule(recipe):
    restarted = recipe.replace(epochs=4, restarts=(2,))
    assert [step_frozen_layers(restarted, step, steps=8) for step in range(8)] == [0, 0, 1, 1, 1, 1, 1, 1]


def test_the_phases_of_a_run_begin_where_size_or_frozen_layers_change(recipe):
    growing = recipe.replace(sizes="16:0.5,32:0.5", image_size=32, freeze_layers="1:0.25")
    assert phase_starts(growing, 8) == [0, 2, 4]


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("method", ["full", "lora", "bitfit"])
def test_frozen_weights_do_not_drift_and_the_others_train_on(recipe, tmp_path, method, fast):
    trainer = new_trainer(recipe.replace(method=method, fast=fast), tmp_path / "run")
    start = weights(trainer)
    for _ in range(5):
        trainer.step()
    halfway = weights(trainer)
    for _ in range(5):
        trainer.step()
    end = weights(trainer)
    moved = {name for name in end if not torch.equal(end[name], halfway[name])}
    assert any(map(of_first_layer, end)) and not any(map(of_first_layer, moved))
    assert any(".layers.1." in name for name in moved) and any("classifier" in name for name in moved)
    assert all(not torch.equal(halfway[name], start[name]) for name in end if of_first_layer(name))


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("family", ["vit", "deit", "dinov2", "dinov3_vit", "siglip"])
def test_the_other_gradients_are_those_without_freezing(recipe, tmp_path, family, fast):
    backbone = backbone_folder(tmp_path / "b", model_type=family)
    recipe = recipe.replace(backbone=str(backbone), fast=fast, precision="fp32", augment="none")
    trainer = new_trainer(recipe, tmp_path / "run")
    tiles = trainer.loader.tiles(trainer.setup.splits["train"][:4])
    gradients = []
    for count in (0, 1):
        trainer.network.frozen_layers = count
        trainer.network(tiles).square().sum().backward()
        gradients.append({n: p.grad for n, p in trainer.model.named_parameters() if p.grad is not None})
        trainer.optimizer.zero_grad()
    whole, part = gradients
    left = {name for name in whole if "embeddings" not in name and not layer_0(name)}
    assert part.keys() == left and len(left) < len(whole)
    for name in left:
        assert torch.allclose(part[name], whole[name], rtol=1e-4, atol=1e-6), name


def layer_0(name):
    return ".layers.0." in name or ".layer.0." in name


@pytest.mark.parametrize("fast", [True, False])
def test_evaluation_is_the_same_bit_for_bit_whatever_is_frozen(recipe, tmp_path, fast):
    trainer = new_trainer(recipe.replace(fast=fast), tmp_path / "run")
    before = trainer.logits("validation")
    trainer.network.frozen_layers = 1
    assert (trainer.logits("validation") == before).all()


def test_the_fast_path_trains_to_the_loss_of_the_plain_one(recipe, tmp_path):
    losses = []
    for fast in (True, False):
        with open_run(
            recipe.replace(fast=fast, precision="fp32"), tmp_path / str(fast), progress=False
        ) as run:
            losses.append([epoch.validation_loss for epoch in run.fit().state.history])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_plan_measures_steps_before_and_after_layers_are_frozen(recipe):
    every = plan_run(recipe.replace(freeze_layers=None), progress=False)
    plan = plan_run(recipe, progress=False)
    assert (every.steps_measured, plan.steps_measured) == (5, 10)


def test_a_plan_measures_each_phase_by_its_own_steps(recipe, monkeypatch):
    frozen, step = [], Trainer.step

    def watched(trainer):
        loss = step(trainer)
        frozen.append(trainer.network.frozen_layers)
        return loss

    monkeypatch.setattr(Trainer, "step", watched)
    plan = plan_run(recipe, progress=False)
    each = plan.steps_measured // 2 + 1  # with one to warm up
    assert frozen == [0] * each + [1] * each


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"freeze_layers": "4"}, "must be numbers of layers with fractions, such as 4:0.3,8:0.6, not '4'"),
        ({"freeze_layers": "0:0.5"}, "freeze_layers: must be at least 1, not '0'"),
        ({"freeze_layers": "1:1"}, "freeze_layers: must be below 1, not '1'"),
        ({"freeze_layers": "2:0.5,1:0.6"}, "the numbers of layers and the fractions must rise, such as"),
        ({"freeze_layers": "1:0.5,2:0.5"}, "the numbers of layers and the fractions must rise, such as"),
        ({"method": "linear"}, "freeze_layers cannot be combined with method linear, which trains no layer"),
        ({"method": "adalora"}, "freeze_layers cannot be combined with method adalora, which ranks"),
        (
            {"cache_frozen": True, "method": "topk", "augment": "flips"},
            "cache_frozen cannot be combined with freeze_layers",
        ),
    ],
)
def test_a_recipe_that_cannot_freeze_layers_is_refused(recipe, changes, message):
    with pytest.raises(OrbituneError, match=message):
        recipe.replace(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"freeze_layers": "2:0.5"}, "2 leaves no layer to train, as the backbone has 2: freeze at most 1"),
        (
            {"method": "topk", "lora": {"top_layers": 1}},
            "1 is without effect: the first layer that is trained is number 2",
        ),
    ],
)
def test_layers_that_the_backbone_or_the_method_does_not_train_are_refused(
    recipe, tmp_path, changes, message
):
    with pytest.raises(OrbituneError, match=f"--freeze-layers {message}"):
        new_trainer(recipe.replace(**changes), tmp_path / "run")


def test_a_family_whose_layers_are_not_alike_is_refused_before_its_weights_are_read(recipe, tmp_path):
    swin = backbone_folder(tmp_path / "swin", model_type="swin")
    with pytest.raises(
        OrbituneError, match=r"layers of Swin cannot be frozen while training \(--freeze-layers\)"
    ):
        prepare_training(recipe.replace(backbone=str(swin), image_size=32), progress=False)
