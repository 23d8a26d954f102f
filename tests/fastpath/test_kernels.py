"""The compiled kernels give what torch gives, forward and backward."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from orbitune.fastpath import kernels
from orbitune.fastpath.attention import attend
from orbitune.fastpath.native.library import KernelMemoryError, call
from orbitune.fastpath.operations import CompiledDropout, CompiledOperations, Dropout, LowRankUpdate, add

pytestmark = pytest.mark.usefixtures("variant")


@pytest.fixture
def rows(dtype):
    """Return random rows in the dtype of the kernels."""

    def draw(seed, *shape, size=3):
        generator = torch.Generator().manual_seed(seed)
        return (size * torch.randn(shape, generator=generator)).to(dtype).requires_grad_()

    return draw


@pytest.mark.parametrize("count", [1, 15, 17, 10001])
def test_gelu_is_torchs_to_its_rounding(dtype, rounding, count):
    h = torch.linspace(-9, 9, count).to(dtype).requires_grad_()
    wide = h.detach().float().requires_grad_()
    y, expected = kernels.gelu(h), F.gelu(wide)
    y.sum().backward()
    expected.sum().backward()
    assert torch.allclose(y.float(), expected, rtol=rounding, atol=1e-6)
    assert torch.allclose(h.grad.float(), wide.grad, rtol=rounding, atol=1e-6)


@pytest.mark.parametrize("queries", [1, 2, 7, None])
@pytest.mark.parametrize("tokens", [1, 2, 5, 17, 50, 197, 512])
def test_attention_is_torchs_to_its_rounding(rows, rounding, tokens, queries):
    heads, width = 3, 48
    if queries is None:
        parts = [rows(0, 2, tokens, 3, heads, width, size=1)]
    else:
        parts = [
            rows(n, 2, *shape, heads, width, size=1) for n, shape in enumerate([(queries, 1), (tokens, 2)])
        ]
    wide = [part.detach().float().requires_grad_() for part in parts]
    out, expected = attend("plain", parts, compiled_queries=512), attend("sdpa", wide)
    slope = rows(2, *out.shape).detach()
    found = torch.autograd.grad(out, parts, slope)
    wanted = torch.autograd.grad(expected, wide, slope.float())
    for one, other in zip((out, *found), (expected, *wanted), strict=True):
        # A single token's gradient for its query and key is zero, and torch's fp32 noise.
        assert (one.float() - other).abs().max() <= 8 * rounding * other.abs().max() + 1e-5
        assert (one.float() - other).abs().mean() <= 4 * rounding * other.abs().mean() + 1e-6


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("width", [3, 32, 192, 385])
def test_add_norm_is_torchs_to_its_rounding(rows, dtype, rounding, width, scaled):
    x, y = rows(0, 7, width), rows(1, 7, width)
    scale = torch.linspace(0.5, 2, width).to(dtype) if scaled else None
    norm = nn.LayerNorm(width, eps=1e-6).requires_grad_(False)
    norm.weight.data.uniform_(0.5, 1.5)
    total, out = kernels.add_norm(x, y, scale=scale, norm=norm)
    (out * 2 + total).sum().backward()
    wide = total.detach().float().requires_grad_()
    rounded = norm.weight.to(dtype).float(), norm.bias
    expected = F.layer_norm(wide, (width,), *rounded, norm.eps)
    (expected * 2 + wide).sum().backward()
    assert torch.allclose(total, add(x, (y, scale)), rtol=1e-6, atol=1e-6)
    assert torch.allclose(out.float(), expected, rtol=2 * rounding, atol=2 * rounding)
    assert torch.allclose(x.grad.float(), wide.grad, rtol=2 * rounding, atol=4 * rounding)
    assert torch.allclose(y.grad, x.grad * scale if scaled else x.grad, rtol=2 * rounding)


def test_a_norm_without_a_sum_has_the_same_gradient(rows, dtype):
    x, zero = rows(0, 7, 64), torch.zeros(7, 64, dtype=dtype)
    norm = nn.LayerNorm(64).requires_grad_(False)
    (alone,) = torch.autograd.grad((kernels.add_norm(x, None, scale=None, norm=norm)[1] ** 2).sum(), x)
    (added,) = torch.autograd.grad((kernels.add_norm(x, zero, scale=None, norm=norm)[1] ** 2).sum(), x)
    assert torch.equal(alone, added)


@pytest.fixture(params=["compiled", "torch"])
def drawn(request):
    """Return a draw of dropout, by the kernels or by torch."""

    def draw(share, shape):
        if request.param == "compiled":
            return CompiledDropout(share)
        return Dropout(torch.Size(shape), share, device=torch.device("cpu"))

    return draw


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_dropout_removes_its_share_and_leaves_the_rest(drawn, rows, share):
    torch.manual_seed(0)
    x = rows(0, 1000, 100).detach()
    dropped = drawn(share, x.shape).apply(x)
    assert (dropped == 0).float().mean().item() == pytest.approx(share, abs=0.005)
    assert torch.equal(dropped[dropped != 0], x[dropped != 0])


def test_dropout_removes_neighbours_independently(dtype):
    torch.manual_seed(0)
    removed = CompiledDropout(0.5).apply(torch.ones(400, 500, dtype=dtype)) == 0
    for other in (removed.roll(1, 0), removed.roll(1, 1), removed.roll(16, 1)):
        assert (removed & other).float().mean().item() == pytest.approx(0.25, abs=0.005)


def test_every_variant_removes_the_same_places(dtype):
    torch.manual_seed(0)
    places = (CompiledDropout(0.5).apply(torch.ones(40, dtype=dtype)) == 0).nonzero().flatten()
    assert places.tolist() == [
        3,
        4,
        5,
        11,
        13,
        14,
        15,
        16,
        18,
        19,
        21,
        22,
        25,
        27,
        28,
        29,
        31,
        32,
        33,
        34,
        36,
        39,
    ]


def test_one_draw_removes_the_same_places_each_time(drawn, dtype):
    draw, x = drawn(0.3, (50, 70)), torch.ones(50, 70, dtype=dtype)
    assert torch.equal(draw.apply(x), draw.apply(x))


@pytest.mark.parametrize("count", [1, 31, 32, 1007])
def test_a_dropped_tensor_can_be_added_in_place(drawn, rows, count):
    draw = drawn(0.3, (count,))
    x, y = (rows(seed, count).detach() for seed in range(2))
    expected = y + draw.apply(x)
    draw.add(y, x)
    assert torch.equal(y, expected)


def test_dropout_follows_the_seed_and_differs_from_draw_to_draw(dtype):
    def twice():
        torch.manual_seed(3)
        return [CompiledDropout(0.5).apply(torch.ones(50, 7, dtype=dtype)) for _ in range(2)]

    first, again = twice(), twice()
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], first[1])


def test_a_loss_that_is_not_a_number_stays_so(dtype):
    bad = torch.tensor([[float("nan"), 1.0]] * 40, dtype=dtype)
    norm = nn.LayerNorm(2).requires_grad_(False)
    assert kernels.gelu(bad).isnan().any()
    assert kernels.add_norm(bad, bad, scale=None, norm=norm)[1].isnan().any()
    assert kernels.attention(*[bad.tile(8).view(1, 40, 1, 16)] * 3)[0].isnan().any()


@pytest.mark.parametrize("count", [1, 97, 101])
def test_an_mlp_in_one_pass_is_torchs_to_its_rounding(rows, rounding, count):
    x = rows(0, count, 48, size=1)
    weights = [
        rows(n, *shape, size=0.2).detach() for n, shape in enumerate([(64, 48), (64,), (48, 64), (48,)])
    ]
    wide, w1, b1, w2, b2 = (t.detach().float() for t in (x, *weights))
    wide.requires_grad_()
    y, expected = (
        kernels.mlp(x, weights[:2], out=weights[2:]),
        F.linear(F.gelu(F.linear(wide, w1, b1)), w2, b2),
    )
    y.sum().backward()
    expected.sum().backward()
    for one, other in ((y, expected), (x.grad, wide.grad)):
        assert (one.float() - other).abs().max() <= 4 * rounding * other.abs().max()


def test_an_mlp_may_have_no_biases(rows, dtype):
    x, w1, w2 = (rows(n, *s, size=0.3).detach() for n, s in enumerate([(9, 48), (64, 48), (48, 64)]))
    zeros = [torch.zeros(n, dtype=dtype) for n in (64, 48)]
    without = kernels.mlp(x, (w1, None), out=(w2, None))
    assert torch.equal(without, kernels.mlp(x, (w1, zeros[0]), out=(w2, zeros[1])))


@pytest.mark.parametrize(("count", "width", "out"), [(1, 16, 16), (7, 80, 144), (97, 16, 64), (101, 48, 80)])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dropped", [False, True])
def test_a_product_with_an_update_is_torchs_to_its_rounding(
    rows, dtype, rounding, dropped, transposed, count, width, out
):
    shapes = [(count, width), (count, 16), (16, out)]
    x, low, lift = (rows(n, *s, size=1).detach() for n, s in enumerate(shapes))
    right = rows(3, out, width, size=1).detach().t() if transposed else rows(3, width, out, size=1).detach()
    draw, bias = (CompiledDropout(0.3), None) if dropped else (None, rows(4, out).detach())
    added = (low.float() @ lift.float()).to(dtype)
    expected = x.float() @ right.float() + (draw.apply(added) if draw else added + bias).float()
    found = CompiledOperations().product(x, right, bias=bias, update=LowRankUpdate(low, lift, draw))
    assert (found.float() - expected).abs().max() <= 4 * rounding * expected.abs().max()


@pytest.mark.parametrize(("count", "across"), [(1, 1), (97, 32), (301, 24), (1009, 7)])
def test_an_outer_product_is_torchs(rows, count, across):
    a, b = rows(0, count, 32, size=1).detach(), rows(1, count, 80, size=1).detach()
    expected = a[:, :across].float().t() @ b.float()
    assert torch.allclose(CompiledOperations().outer(a, b, columns=across), expected, rtol=1e-4, atol=1e-3)


def test_an_outer_product_does_not_depend_on_the_number_of_threads(rows):
    a, b = rows(0, 2001, 32, size=1).detach(), rows(1, 2001, 80, size=1).detach()
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(CompiledOperations().outer(a, b, columns=24))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_memory_that_cannot_be_had_is_an_error_and_not_a_crash(rows):
    x, much = rows(0, 4, 16).detach(), 2**44
    with pytest.raises(KernelMemoryError, match="compiled kernel 'mlp'"):
        call("mlp", x, x, None, x, None, x, None, 4, 16, much)
    with pytest.raises(KernelMemoryError, match="compiled kernel 'product'"):
        call("product", x, x, None, None, None, x, 0, 0, 0, 4, 16, much, 0)
    with pytest.raises(KernelMemoryError, match="compiled kernel 'attention'"):
        call("attention", x, x, x, x, x, 1.0, 1, 1, 4, much, 16, 16, 16)
