"""AdaLoRA's ranks fall to the budget along its schedule, and its state is whole."""

import pytest
import torch
from samples import backbone_folder

from orbitune.models.adalora import RankSchedule
from orbitune.models.backbones import find_backbone
from orbitune.models.factory import build
from orbitune.recipe import Recipe

STEPS, MATRICES, RANK = 20, 2 * 3, 4


@pytest.fixture
def model(tmp_path):
    backbone = find_backbone(str(backbone_folder(tmp_path / "b")))
    return build(
        Recipe(method="adalora", lora={"rank": RANK, "dropout": 0}), backbone, classes=("a", "b", "c")
    )


def take_steps(model, schedule, steps):
    """Training in small: how many triplets are not zero after each step."""
    trained = [p for p in model.parameters() if p.requires_grad]
    left = []
    for step in steps:
        pixels = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(step))
        model(pixel_values=pixels).logits.square().mean().backward()
        schedule.add_penalty(1.0)
        with torch.no_grad():
            for parameter in trained:
                parameter -= 0.1 / step * parameter.grad.sign()  # no sum of which is zero again
        schedule.after_step(step)
        model.zero_grad()
        left.append(sum((p != 0).sum().item() for n, p in model.named_parameters() if ".lora_E." in n))
    return left


def copied(tensors):
    return {name: tensor.clone() for name, tensor in tensors.items()}


def test_the_number_of_triplets_falls_to_the_budget_and_stays(model):
    left = take_steps(model, RankSchedule(model, STEPS), range(1, STEPS + 1))
    assert left[:2] == [MATRICES * 6] * 2  # a tenth of the steps with half as many again
    assert left == sorted(left, reverse=True)
    assert left[9:] == [MATRICES * RANK] * 11  # from half-way on


def test_the_penalty_is_zero_for_orthogonal_vectors(model):
    for name, parameter in model.named_parameters():
        if ".lora_A." in name or ".lora_B." in name:
            torch.nn.init.orthogonal_(parameter.data)
    assert RankSchedule(model, STEPS).penalty().item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("stop", [4, 15])
def test_a_restored_schedule_continues_unchanged(model, stop):
    schedule = RankSchedule(model, STEPS)
    take_steps(model, schedule, range(1, stop + 1))
    state, weights = copied(schedule.state()), copied(model.state_dict())
    take_steps(model, schedule, range(stop + 1, STEPS + 1))
    expected = copied(model.state_dict())
    model.load_state_dict(weights)
    schedule.restore(state)
    take_steps(model, schedule, range(stop + 1, STEPS + 1))
    assert all(torch.equal(expected[name], tensor) for name, tensor in model.state_dict().items())


def test_gradients_that_are_not_finite_do_not_spoil_the_averages(model):
    schedule = RankSchedule(model, STEPS)
    take_steps(model, schedule, [1])
    before = copied(schedule.state())
    for name, parameter in model.named_parameters():
        if ".lora_" in name and parameter.requires_grad:
            parameter.grad = torch.full_like(parameter, torch.inf)
    schedule.after_step(2)
    assert all(torch.equal(before[name], tensor) for name, tensor in schedule.state().items())
