import torch

from orbitune.fastpath.rotary import Rotary


def test_a_table_that_an_evaluation_built_serves_training():
    rotary = Rotary(torch.tensor([1.0, 0.1]), prefix_tokens=1)
    qkv = torch.randn(2, 5, 3, 2, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with torch.inference_mode():
        evaluated = rotary(qkv)
    rotated = rotary(qkv)
    assert torch.equal(rotated, evaluated) and not torch.equal(rotated, qkv)
    rotated.square().sum().backward()
    torch.testing.assert_close(qkv.grad, 2 * qkv.detach())  # rotations keep lengths
