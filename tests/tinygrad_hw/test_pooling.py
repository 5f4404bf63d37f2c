"""Pooling and interpolation against PyTorch over a grid of sizes; ties, special numbers, empty batches, bad input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_hw as tg
from tinygrad_hw import functional as F
from tinygrad_hw import nn

torch = pytest.importorskip("torch")
torch.set_num_threads(1)


def normal(shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def agree(ours, theirs, x, rtol=1e-12):
    """The same value and the same gradient."""
    mine, other = tg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    a, b = ours(mine), theirs(other)
    assert a.shape == tuple(b.shape) and a.dtype == x.dtype
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=rtol, atol=rtol)
    weights = normal(a.shape, x.dtype, 1)
    a.backward(weights)
    b.backward(torch.tensor(weights))
    np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=rtol, atol=rtol)


def both(name):
    return getattr(F, name), getattr(torch.nn.functional, name)


@st.composite
def windows(draw, dilated):
    """Axes, the shape of images (with a batch or without) and sizes of windows that fit them."""
    axes = draw(st.sampled_from([1, 2]))
    kernel = draw(st.tuples(*[st.integers(1, 4)] * axes))
    dilation = draw(st.tuples(*[st.integers(1, 3 if dilated else 1)] * axes))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    image = [draw(st.integers(max(1, r - 2 * p), 11)) for r, p in zip(reach, padding, strict=True)]
    sizes = {
        "kernel_size": kernel,
        "stride": draw(st.one_of(st.none(), st.tuples(*[st.integers(1, 4)] * axes))),
        "padding": padding,
        "ceil_mode": draw(st.booleans()),
    }
    batch = draw(st.sampled_from([(), (1,), (2,), (17,)]))
    return axes, (*batch, draw(st.integers(1, 3)), *image), sizes | ({"dilation": dilation} if dilated else {})


@given(case=windows(True), dtype=st.sampled_from(["float32", "float64"]))
def test_max_pooling_as_pytorch(case, dtype):
    axes, shape, sizes = case
    ours, theirs = both(f"max_pool{axes}d")
    exact = 1e-12 if dtype == "float64" else 1e-5  # of sums, where windows overlap
    agree(lambda x: ours(x, **sizes), lambda x: theirs(x, **sizes), normal(shape, dtype), exact)


@given(case=windows(True), seed=st.integers(0, 99))
def test_the_first_of_equal_entries_takes_the_gradient(case, seed):
    axes, shape, sizes = case
    ours, theirs = both(f"max_pool{axes}d")
    agree(lambda x: ours(x, **sizes), lambda x: theirs(x, **sizes), np.round(normal(shape, seed=seed)))


@given(case=windows(False), counted=st.booleans(), divisor=st.one_of(st.none(), st.integers(1, 5)))
def test_average_pooling_as_pytorch(case, counted, divisor):
    axes, shape, sizes = case
    ours, theirs = both(f"avg_pool{axes}d")
    sizes |= {"count_include_pad": counted} | ({"divisor_override": divisor} if axes == 2 else {})
    agree(lambda x: ours(x, **sizes), lambda x: theirs(x, **sizes), normal(shape))


@given(data=st.data(), axes=st.sampled_from([1, 2]))
def test_adaptive_pooling_as_pytorch(data, axes):
    image = data.draw(st.tuples(*[st.integers(1, 9)] * axes))
    size = data.draw(st.one_of(st.integers(1, 11), st.tuples(*[st.one_of(st.none(), st.integers(1, 11))] * axes)))
    if axes == 1 and size == (None,):  # PyTorch takes it for images alone
        size = image
    ours, theirs = both(f"adaptive_avg_pool{axes}d")
    shape = (*data.draw(st.sampled_from([(), (3,)])), 2, *image)
    agree(lambda x: ours(x, size), lambda x: theirs(x, size), normal(shape))


@given(
    image=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    size=st.one_of(st.integers(1, 20), st.tuples(st.integers(1, 20), st.integers(1, 20))),
    mode=st.sampled_from([("nearest", None), ("bilinear", None), ("bilinear", False), ("bilinear", True)]),
)
def test_interpolation_to_a_size_as_pytorch(image, size, mode):
    ours, theirs = both("interpolate")
    settings = {"size": size, "mode": mode[0], "align_corners": mode[1]}
    agree(lambda x: ours(x, **settings), lambda x: theirs(x, **settings), normal((2, 3, *image)), 1e-11)


@given(
    length=st.integers(1, 12),
    factor=st.sampled_from([0.5, 0.7, 1, 1.3, 1.5, 2, 2.4, 3, 10 / 3]),
    mode=st.sampled_from(["nearest", "linear"]),
)
def test_interpolation_by_a_factor_as_pytorch(length, factor, mode):
    ours, theirs = both("interpolate")
    if int(length * factor) >= 1:
        settings = {"scale_factor": factor, "mode": mode}
        agree(lambda x: ours(x, **settings), lambda x: theirs(x, **settings), normal((2, 3, length)), 1e-11)


def test_the_nearest_pixel_of_every_size_is_that_of_pytorch():
    for size in range(1, 30):
        x = np.arange(size, dtype=float).reshape(1, 1, size)
        for count in range(1, 61):
            expected = torch.nn.functional.interpolate(torch.tensor(x), count).numpy()
            np.testing.assert_array_equal(F.interpolate(x, count), expected, err_msg=f"{size} to {count}")


# -------------------------------------------------------------------------------------------------- special numbers


@pytest.mark.parametrize("padding", [0, 1])
def test_special_numbers_in_max_pooling_as_pytorch(padding):
    x = normal((2, 3, 6, 7))
    x[0, 0, 0, 0] = x[0, 0, 3, 3] = x[0, 0, 3, 4] = np.nan
    x[0, 1] = -np.inf
    x[0, 2, 2, 2] = np.inf
    agree(lambda t: F.max_pool2d(t, 3, 2, padding), lambda t: torch.nn.functional.max_pool2d(t, 3, 2, padding), x)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_special_number_stays_in_its_windows_of_an_average(value):
    x = np.ones((1, 1, 6, 6))
    x[0, 0, 2, 2] = value
    y = F.avg_pool2d(x, 2)
    assert not np.isfinite(y[0, 0, 1, 1]) and np.isfinite(y).sum() == 8
    y = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    assert np.isfinite(y).sum() == 144 - 16 and not np.isfinite(y[0, 0, 3:7, 3:7]).any()


def test_a_window_that_lies_in_the_padding_as_a_whole():
    """Its value is -∞, it gives no gradient, and the second derivative is none either."""
    x = tg.tensor(np.array([[[[3.0]]]]), requires_grad=True)
    y = F.max_pool2d(x, (2, 1), 1, (2, 0), (4, 1))
    assert y.shape == (1, 1, 1, 1) and y.item() == -np.inf
    (g,) = tg.grad(y, [x], np.ones(y.shape), create_graph=True)
    assert g.item() == 0
    y.backward(np.ones(y.shape))
    assert x.grad.item() == 0


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d", "adaptive_avg_pool2d"])
def test_batches_without_images(name):
    x = tg.tensor(np.zeros((0, 3, 4, 6), np.float32), requires_grad=True)
    y = getattr(F, name)(x, 2)
    assert y.shape == ((0, 3, 2, 2) if name.startswith("adaptive") else (0, 3, 2, 3)) and y.dtype == np.float32
    y.backward(np.zeros(y.shape, np.float32))
    assert x.grad.shape == x.shape


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: F.max_pool2d(x, 6), ValueError, "max_pool2d: a kernel that reaches over 6 pixels is larger than 4"),
        (lambda x: F.max_pool2d(x, 3, dilation=3), ValueError, "reaches over 7 pixels is larger than 4 pixels"),
        (lambda x: F.avg_pool2d(x, (2, 6), padding=(0, 0)), ValueError, "larger than 5 pixels with padding 0"),
        (lambda x: F.max_pool2d(x, -2), ValueError, "max_pool2d: kernel_size must be .* at least 1, .* got -2"),
        (lambda x: F.max_pool2d(x, 2, 0), ValueError, "stride must be"),
        (lambda x: F.max_pool2d(x, 2, padding=-1), ValueError, "padding must be"),
        (lambda x: F.max_pool2d(x, 2, padding=2), ValueError, "at most half of the kernel's reach 2, got 2"),
        (lambda x: F.max_pool2d(x, 2.0), TypeError, "kernel_size must be an integer or 2 of them, got 2.0"),
        (lambda x: F.max_pool2d(x, True), TypeError, "kernel_size must be"),
        (lambda x: F.max_pool2d(x, 2, dilation=0.5), TypeError, "dilation must be"),
        (lambda x: F.max_pool1d(x[0], (2, 2)), ValueError, "max_pool1d: kernel_size must be one integer"),
        (lambda x: F.max_pool2d(x[0, 0], 2), ValueError, r"expected a shape \(N, C, H, W\) or \(C, H, W\)"),
        (lambda x: F.max_pool2d(x[:, :0], 2), ValueError, "none but N zero"),
        (lambda x: F.adaptive_avg_pool2d(x, (1, 2, 3)), ValueError, "an output size for each of 2 axes"),
        (lambda x: F.interpolate(x, scale_factor=float("nan")), ValueError, "a positive number"),
        (lambda x: nn.MaxPool2d(2, -1), ValueError, "MaxPool2d: stride must be"),
        (lambda x: nn.AvgPool1d((2, 2)), ValueError, "AvgPool1d: kernel_size must be"),
        (lambda x: nn.AdaptiveAvgPool2d(0), ValueError, "AdaptiveAvgPool2d: output_size must be"),
        (lambda x: nn.Upsample(), ValueError, "Upsample: expected either size or scale_factor"),
        (lambda x: nn.Upsample(0), ValueError, "Upsample: size must be one integer of at least 1"),
        (lambda x: nn.Upsample(2.5), TypeError, "Upsample: size must be an integer or 2 of them"),
        (lambda x: nn.Upsample((2, 2), mode="linear"), ValueError, "Upsample: size must be one integer of at least 1"),
        (lambda x: nn.Upsample(scale_factor=-1), ValueError, "Upsample: scale_factor must be a positive number"),
        (lambda x: nn.Upsample(scale_factor=(1, 2, 3)), ValueError, "a positive number, or 2 of them"),
        (lambda x: nn.Upsample(2, mode="cubic"), ValueError, "Upsample: expected mode 'nearest', "),
    ],
)
def test_bad_arguments(call, error, words):
    with pytest.raises(error, match=words) as caught:
        call(np.ones((2, 3, 4, 5)))
    assert "\n" not in str(caught.value)


# ----------------------------------------------------------------------------------------------------------- layers

LAYERS = {
    "MaxPool1d": [(3,), (2, 1, 1, 2)],
    "MaxPool2d": [(2,), ((3, 2), 2, 1)],
    "AvgPool2d": [(3,), ((3, 2), 1, 1, True, False)],
    "AdaptiveAvgPool1d": [(3,)],
    "AdaptiveAvgPool2d": [(3,), ((None, 2),), (1,)],
    "Upsample": [(None, 2), (7,), ((5, 9), None, "bilinear", True), (None, (1.5, 2), "bilinear")],
}


@pytest.mark.parametrize(("name", "arguments"), [(n, a) for n, several in LAYERS.items() for a in several], ids=str)
def test_layers_as_pytorch(name, arguments):
    ours, theirs = getattr(nn, name)(*arguments), getattr(torch.nn, name)(*arguments)
    assert repr(ours) == repr(theirs)
    assert ours.state_dict() == {}
    agree(ours, theirs, normal((2, 3, 8) if name.endswith("1d") else (2, 3, 6, 8)), 1e-11)


def test_layers_of_windows_beyond_the_image():
    x = normal((2, 3, 6, 8))
    for name in ("MaxPool2d", "AvgPool2d"):
        ours, theirs = (getattr(library, name)(3, 2, ceil_mode=True) for library in (nn, torch.nn))
        agree(ours, theirs, x)
    assert repr(nn.MaxPool2d(3, 2, ceil_mode=True)) == repr(torch.nn.MaxPool2d(3, 2, ceil_mode=True))


def test_average_pooling_of_sequences_as_a_layer():
    agree(nn.AvgPool1d(3, 2, 1), torch.nn.AvgPool1d(3, 2, 1), normal((2, 3, 8)))
    assert repr(nn.AvgPool1d(3, 2, 1)) == "AvgPool1d(kernel_size=3, stride=2, padding=1)"
