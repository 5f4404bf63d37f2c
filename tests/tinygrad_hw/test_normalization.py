"""Batch, layer and group normalisation against PyTorch: values, gradients, running statistics; the CPU kernel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_hw as tg
from tinygrad_hw import functional as F
from tinygrad_hw import nn
from tinygrad_hw.kernels import cpu_module
from tinygrad_hw.kernels import normalization as kernels
from tinygrad_hw.random import Stream
from tinygrad_hw.serialization import load, save

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
MODULE = cpu_module("cpu_normalization")
needs_kernel = pytest.mark.skipif(MODULE is None, reason="no Numba")


def normal(shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def trained(x):
    """Batch normalisation in training, with some weights or other."""
    channels = np.arange(x.shape[1], dtype=x.dtype)
    return F.batch_norm(x, None, None, channels / 4 + 1, -channels, training=True)


def step(ours, theirs, x, rtol=1e-10, atol=1e-11):
    """The same value and gradients of both layers."""
    mine, other = tg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    ours.zero_grad()
    theirs.zero_grad()
    a, b = ours(mine), theirs(other)
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=rtol, atol=atol)
    weights = normal(a.shape, x.dtype, 1)
    a.backward(weights)
    b.backward(torch.tensor(weights))
    named = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        np.testing.assert_allclose(parameter.grad.numpy(), named[name].grad.numpy(), rtol=rtol, atol=atol)
    np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=rtol, atol=atol)


def same_state(ours, theirs):
    """The same keys in the same order, and the same values."""
    mine, other = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(other)
    for name, array in mine.items():
        assert str(array.dtype) == str(other[name].dtype).removeprefix("torch.") and array.shape == other[name].shape
        np.testing.assert_allclose(array, other[name].numpy(), rtol=1e-11, atol=1e-12)


def drawn(ours, theirs):
    """Both layers in float64, with the same random weights."""
    ours.to(np.float64)
    for number, parameter in enumerate(ours.parameters()):
        parameter.data = normal(parameter.shape, seed=number + 5)
    theirs.double().load_state_dict({name: torch.tensor(array) for name, array in ours.state_dict().items()})
    return ours, theirs


@given(
    shape=st.one_of(
        st.tuples(st.integers(1, 6), st.integers(1, 4)),
        st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(1, 5)),
        st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(1, 5), st.integers(1, 4)),
    ).filter(lambda shape: np.prod(shape) > 2 * shape[1]),
    momentum=st.sampled_from([0.1, 0.7, 1.0, None]),
    affine=st.booleans(),
    tracked=st.booleans(),
)
def test_batch_norm_as_pytorch(shape, momentum, affine, tracked):
    name = "BatchNorm2d" if len(shape) == 4 else "BatchNorm1d"
    settings = {"eps": 1e-3, "momentum": momentum, "affine": affine, "track_running_stats": tracked}
    ours, theirs = drawn(*(getattr(library, name)(shape[1], **settings) for library in (nn, torch.nn)))
    same_state(ours, theirs)
    for batch in range(3):
        step(ours, theirs, 3 * normal(shape, seed=batch) + 2, 1e-8, 1e-9)
        same_state(ours, theirs)
    ours.eval()
    theirs.eval()
    step(ours, theirs, normal(shape, seed=9), 1e-8, 1e-9)
    same_state(ours, theirs)


@given(data=st.data(), lead=st.lists(st.integers(1, 4), max_size=2), bias=st.booleans(), affine=st.booleans())
def test_layer_norm_as_pytorch(data, lead, bias, affine):
    sizes = data.draw(st.lists(st.integers(2, 5), min_size=1, max_size=2))
    settings = {"eps": 1e-3, "elementwise_affine": affine, "bias": bias}
    ours, theirs = drawn(nn.LayerNorm(tuple(sizes), **settings), torch.nn.LayerNorm(sizes, **settings))
    same_state(ours, theirs)
    step(ours, theirs, normal((*lead, *sizes)) + 1, 1e-8, 1e-9)


@given(
    groups=st.integers(1, 3), each=st.integers(1, 3), rest=st.lists(st.integers(2, 4), max_size=2), affine=st.booleans()
)
def test_group_norm_as_pytorch(groups, each, rest, affine):
    channels = groups * each
    settings = {"eps": 1e-3, "affine": affine}
    made = nn.GroupNorm(groups, channels, **settings), torch.nn.GroupNorm(groups, channels, **settings)
    ours, theirs = drawn(*made)
    same_state(ours, theirs)
    step(ours, theirs, normal((3, channels, *rest)) + 1, 1e-8, 1e-9)


def test_defaults_are_those_of_pytorch():
    made = [(nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3)), (nn.BatchNorm2d(3), torch.nn.BatchNorm2d(3))]
    made += [(nn.LayerNorm((3, 4)), torch.nn.LayerNorm((3, 4))), (nn.GroupNorm(2, 4), torch.nn.GroupNorm(2, 4))]
    for ours, theirs in made:
        same_state(ours, theirs)
        assert ours.eps == theirs.eps and getattr(ours, "momentum", 0.1) == getattr(theirs, "momentum", 0.1)
    assert repr(made[1][0]) == "BatchNorm2d(3, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)"
    assert repr(made[3][0]) == "GroupNorm(2, 4, eps=1e-05, affine=True)"


# ------------------------------------------------------------------------------------------------- running statistics


def test_state_travels_to_pytorch_and_back_by_a_file(tmp_path):
    ours = nn.Sequential(nn.BatchNorm2d(3), nn.GroupNorm(3, 3))
    for seed in range(2):
        ours(normal((4, 3, 5, 2), "float32", seed))
    save(tmp_path / "net.safetensors", ours.state_dict())
    theirs = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.GroupNorm(3, 3))
    theirs.load_state_dict({name: torch.tensor(array) for name, array in load(tmp_path / "net.safetensors").items()})
    assert theirs[0].num_batches_tracked.item() == 2
    theirs(torch.tensor(normal((4, 3, 5, 2), "float32", 3)))
    back = nn.Sequential(nn.BatchNorm2d(3), nn.GroupNorm(3, 3))
    back.load_state_dict({name: tensor.numpy() for name, tensor in theirs.state_dict().items()})
    same_state(back, theirs)
    step(back.eval(), theirs.eval(), normal((2, 3, 4, 4), "float32"), 1e-5, 1e-5)


def test_running_statistics_are_buffers():
    layer = nn.BatchNorm1d(3)
    assert [name for name, _ in layer.named_buffers()] == ["running_mean", "running_var", "num_batches_tracked"]
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    layer.to(np.float64)
    dtypes = [buffer.dtype for buffer in layer.buffers()]
    assert dtypes == [np.float64, np.float64, np.int64] and not any(b.requires_grad for b in layer.buffers())
    layer(normal((4, 3)))
    layer.reset_running_stats()
    assert not layer.running_mean.numpy().any() and (layer.running_var.numpy() == 1).all()
    assert layer.num_batches_tracked.item() == 0


def test_nothing_is_tracked_outside_training_nor_of_batches_without_entries():
    layer = nn.BatchNorm2d(2)
    before = layer.state_dict()
    y = layer(tg.tensor(np.zeros((0, 2, 3, 3), np.float32), requires_grad=True))
    y.backward(np.zeros(y.shape, np.float32))
    assert y.shape == (0, 2, 3, 3) and not layer.weight.grad.numpy().any()
    layer.eval()(normal((4, 2, 3, 3), "float32"))
    after = layer.state_dict()
    assert after.pop("num_batches_tracked") == 1  # as in PyTorch
    for name, array in after.items():
        np.testing.assert_array_equal(array, before[name])


def test_a_change_of_running_statistics_before_backward_is_noticed():
    mean, var = tg.tensor(np.zeros(3)), tg.tensor(np.ones(3))
    x = tg.tensor(normal((4, 3)), requires_grad=True)
    y = (x * mean).sum()
    F.batch_norm(x, mean, var, training=True)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: nn.BatchNorm1d(3)(normal((1, 3))),
            ValueError,
            r"batch_norm: expected more than 1 value per channel when training, got input size \(1, 3\)",
        ),
        (lambda: nn.BatchNorm2d(3)(normal((4, 3))), ValueError, r"BatchNorm2d\(3, .*expected an input \(N, C, H, W\)"),
        (lambda: nn.BatchNorm2d(3)(normal((4, 2, 3, 3))), ValueError, r"with C = 3, got \(4, 2, 3, 3\)"),
        (lambda: nn.BatchNorm1d(3)(normal((4, 3, 2, 2))), ValueError, r"expected an input \(N, C\) or \(N, C, L\)"),
        (lambda: nn.BatchNorm1d(0), ValueError, "BatchNorm1d: num_features must be"),
        (lambda: nn.BatchNorm1d(2.5), TypeError, "BatchNorm1d: num_features must be"),
        (lambda: nn.LayerNorm((3, 0)), ValueError, "LayerNorm: normalized_shape must be"),
        (lambda: nn.LayerNorm(3)(normal((3, 4))), ValueError, r"layer_norm: expected a shape \(..., 3\), got \(3, 4\)"),
        (lambda: nn.GroupNorm(2, 3), ValueError, "3 channels cannot be divided into 2 groups"),
        (lambda: nn.GroupNorm(2, 4)(normal((2, 6))), ValueError, "with C = 4, got"),
        (lambda: nn.BatchNorm2d(3, eps=0.0), ValueError, "BatchNorm2d: eps must be a finite number > 0, got 0.0"),
        (lambda: nn.BatchNorm1d(3, eps=float("inf")), ValueError, "BatchNorm1d: eps must be"),
        (lambda: nn.LayerNorm(3, eps=-1e-5), ValueError, "LayerNorm: eps must be a finite number > 0, got -1e-05"),
        (lambda: nn.GroupNorm(2, 4, eps=float("nan")), ValueError, "GroupNorm: eps must be a finite number > 0"),
        (lambda: F.batch_norm(normal((4, 3)), training=False), ValueError, "running statistics outside training"),
    ],
)
def test_bad_arguments(call, error, words):
    with pytest.raises(error, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_batch_of_one_is_fine_outside_training():
    assert nn.BatchNorm1d(3).eval()(normal((1, 3))).shape == (1, 3)


# ---------------------------------------------------------------------------------------------------------- the kernel


def computed(x, dtype, training=True, relu=False):
    """Value and gradients of batch normalisation in that dtype, of ``x`` as it lies in memory."""
    channels = x.shape[1]
    leaf = tg.tensor(x.astype(dtype), requires_grad=True)
    leaf.data = x.astype(dtype)
    weight, bias = (tg.tensor(normal(channels, dtype, seed), requires_grad=True) for seed in (2, 3))
    mean, var = normal(channels, dtype, 4), normal(channels, dtype, 5) ** 2 + 1
    y = F.batch_norm(leaf, mean, var, weight, bias, training, relu=relu)
    y.backward(normal(x.shape, dtype, 6))
    return [y.detach().numpy(), *(leaf.grad.numpy() for leaf in (leaf, weight, bias)), mean, var]


def innermost(x):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 0, -1)), -1, 0)


@needs_kernel
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layout", [innermost, np.ascontiguousarray])
@pytest.mark.parametrize("shape", [(16, 5, 21, 20), (17, 5, 20, 21), (128, 3, 30, 30), (40, 7, 200), (5000, 2, 33)])
def test_the_kernel_is_as_exact_as_float32_allows(shape, layout, training, monkeypatch):
    x = layout(3 * normal(shape, "float32") + 5)
    used = []
    for name in ("forward", "backward"):
        original = getattr(MODULE, name)
        monkeypatch.setattr(MODULE, name, lambda *args, f=original: (used.append(1), f(*args))[1])
    fused, exact = computed(x, np.float32, training), computed(x, np.float64, training)
    assert len(used) == 2 and fused[0].strides[0] == 4
    rounding = np.finfo(np.float32).eps
    for number, (mine, theirs) in enumerate(zip(fused, exact, strict=True)):
        assert mine.dtype == np.float32
        size = np.sqrt(x.size / shape[1]) * 10 if number in (2, 3) else np.abs(theirs).max()  # of sums over a channel
        assert np.abs(mine - theirs).max() <= 16 * rounding * size, number


@needs_kernel
@pytest.mark.parametrize("offset", [0.0, 1e3, 1e4])
def test_a_large_mean_does_not_swallow_the_variance(offset):
    x = innermost((normal((64, 4, 16, 16)) + offset).astype(np.float32))
    assert kernels._takes(x, (0, 2, 3))
    y = F.batch_norm(x, training=True, eps=0.0)
    exact = x.astype(np.float64)
    exact = (exact - exact.mean((0, 2, 3), keepdims=True)) / exact.std((0, 2, 3), keepdims=True)
    # the mean itself is rounded, by half a unit in its last place
    np.testing.assert_allclose(y, exact, atol=2e-5 + np.spacing(np.float32(offset)))
    assert np.abs(y.std((0, 2, 3)) - 1).max() < 1e-4


@needs_kernel
def test_the_kernel_leaves_alone_what_it_is_not_for(monkeypatch):
    monkeypatch.setattr(kernels, "cpu_module", lambda name: pytest.fail("asked for a kernel"))
    trained(normal((15, 8, 50, 50), "float32"))
    trained(normal((4096, 64), "float32"))
    trained(normal((64, 8, 30, 30)))
    F.layer_norm(normal((64, 8, 30, 30), "float32"), (30, 30))


@needs_kernel
@pytest.mark.parametrize("relu", [False, True])
def test_the_second_derivative_after_the_kernel(relu):
    """Recorded, backward runs without the kernel: on the statistics as functions of x."""

    def second(dtype):
        x = tg.tensor(normal((64, 3, 16, 16)).astype(dtype), requires_grad=True)
        weight, bias = normal(3, dtype, 3), normal(3, dtype, 4)
        y = F.batch_norm(x, None, None, weight, bias, training=True, relu=relu)
        (g,) = tg.grad(y, [x], normal(x.shape, dtype, 1), create_graph=True)
        return tg.grad(g, [x], normal(x.shape, dtype, 2))[0].numpy()

    exact = second(np.float64)
    assert np.abs(exact).max() > 0.1
    np.testing.assert_allclose(second(np.float32), exact, atol=2e-4 * np.abs(exact).max())


@needs_kernel
def test_only_what_is_wanted_is_computed():
    x = innermost(normal((64, 3, 16, 16), "float32"))
    weight = tg.tensor(normal(3, "float32"), requires_grad=True)
    F.batch_norm(x, None, None, weight, training=True).sum().backward()
    leaf = tg.tensor(x, requires_grad=True)
    F.batch_norm(leaf, None, None, weight.detach(), training=True).backward(normal(x.shape, "float32", 1))
    assert weight.grad is not None and leaf.grad is not None


# -------------------------------------------------------------------------------------------------- with the rectifier


def chained(net, x, together):
    """Value and gradients of a chain, called as a whole or module by module."""
    leaf = tg.tensor(x, requires_grad=True)
    leaf.data = x
    net.zero_grad()
    y = leaf
    if together:
        y = net(leaf)
    else:
        for module in net:
            y = module(y)
    y.backward(normal(y.shape, x.dtype, 1))
    return [y.detach().numpy(), leaf.grad.numpy(), *(p.grad.numpy().copy() for p in net.parameters())]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("settings", [{}, {"affine": False}], ids=str)
def test_a_chain_rectifies_in_one_pass_with_the_same_bits(settings, training, dtype, monkeypatch):
    net = nn.Sequential(nn.BatchNorm2d(3, **settings), nn.ReLU(), nn.ReLU(), nn.BatchNorm2d(3)).to(np.dtype(dtype))
    net.train(training)
    for number, parameter in enumerate(net.parameters()):
        parameter.data = normal(parameter.shape, dtype, number)
    x = innermost(normal((64, 3, 16, 16), dtype))
    apart = chained(net, x, False)
    called = []
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, x: (called.append(1), F.relu(x))[1])
    for mine, theirs in zip(chained(net, x, True), apart, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert len(called) == 1, "the second rectifier alone"


def test_a_chain_calls_what_has_a_hook_or_a_forward_of_its_own():
    class Doubled(nn.BatchNorm1d):
        def forward(self, x):
            return 2 * super().forward(x)

    x, seen = normal((5, 3), "float32"), []
    net = nn.Sequential(Doubled(3), nn.ReLU())
    np.testing.assert_allclose(net(x).detach().numpy(), 2 * trained_plainly(x).clip(0), rtol=1e-5)
    for hooked in (0, 1):
        net = nn.Sequential(nn.BatchNorm1d(3), nn.ReLU())
        net[hooked].register_forward_hook(lambda module, args, output: seen.append(output.detach().numpy()))
        net(x)
    np.testing.assert_allclose(seen[0], trained_plainly(x), rtol=1e-5)
    np.testing.assert_allclose(seen[1], trained_plainly(x).clip(0), rtol=1e-5)


def trained_plainly(x):
    return F.batch_norm(x, training=True)


# ------------------------------------------------------------------------------------------------------ whole channels


def test_dropout_of_whole_channels():
    layer = nn.Dropout2d(0.3, stream=Stream(0, "dropout"))
    x = normal((200, 50, 2, 3)) + 10
    y = layer(x)
    kept = y.any(axis=(2, 3))
    np.testing.assert_allclose(y, x * kept[:, :, None, None] / 0.7)
    assert kept.mean() == pytest.approx(0.7, abs=0.01)
    assert layer.eval()(x) is x and repr(layer) == "Dropout2d(p=0.3)"
    np.testing.assert_array_equal(F.dropout2d(x, 0.3, stream=Stream(0, "dropout")), y)
