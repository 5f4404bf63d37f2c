"""Convolution: values, gradients and second derivatives against PyTorch over a grid of sizes; layers; what it costs."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import tinygrad_hw as tg
from tests.tinygrad_hw.test_nn_layers import agree, spread
from tinygrad_hw import functional as F
from tinygrad_hw import nn
from tinygrad_hw.kernels import convolution as kernels
from tinygrad_hw.random import Stream

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
LAYOUTS = {
    "contiguous": np.ascontiguousarray,
    "batch innermost": lambda x: np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 0, -1)), -1, 0),
    "reversed": lambda x: np.flip(np.flip(x).copy()),
    "every second": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
}


def sizes(axes: int, least: int, most: int):
    """One integer, or one for each axis."""
    each = st.integers(least, most)
    return st.one_of(each, st.tuples(*[each] * axes))


def full(size, axes: int) -> tuple[int, ...]:
    return size if isinstance(size, tuple) else (size,) * axes


@st.composite
def correlations(draw):
    """Shapes of input and weight, whether there is a bias, and the settings of conv1d or conv2d."""
    axes, groups = draw(st.sampled_from([1, 2])), draw(st.sampled_from([1, 1, 2, 3]))
    kernel = draw(st.tuples(*[st.integers(1, 4)] * axes))
    settings = {"dilation": draw(sizes(axes, 1, 3)), "groups": groups}
    padding = draw(st.one_of(sizes(axes, 0, 3), st.sampled_from(["same", "valid"])))
    if padding != "same":
        settings["stride"] = draw(sizes(axes, 1, 3))
    settings["padding"] = padding
    image = draw(st.tuples(*[st.integers(1, 8)] * axes))
    frame = full(0 if isinstance(padding, str) else padding, axes)
    for n, k, d, p in zip(image, kernel, full(settings["dilation"], axes), frame, strict=True):
        assume(padding == "same" or n + 2 * p > d * (k - 1))
    lead = draw(st.sampled_from([(), (1,), (2,), (5,)]))
    channels, outputs = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    weight = (outputs, channels // groups, *kernel)
    return (*lead, channels, *image), weight, draw(st.booleans()) and outputs, settings


@st.composite
def transposes(draw):
    """The same for conv_transpose1d and conv_transpose2d."""
    axes, groups = draw(st.sampled_from([1, 2])), draw(st.sampled_from([1, 1, 2, 3]))
    kernel = draw(st.tuples(*[st.integers(1, 4)] * axes))
    stride, dilation, padding = draw(sizes(axes, 1, 3)), draw(sizes(axes, 1, 3)), draw(sizes(axes, 0, 2))
    tops = [max(s, d) - 1 for s, d in zip(full(stride, axes), full(dilation, axes), strict=True)]
    extra = tuple(draw(st.integers(0, top)) for top in tops)
    image = draw(st.tuples(*[st.integers(1, 5)] * axes))
    paddings = full(padding, axes)
    for n, k, s, d, p, e in zip(image, kernel, full(stride, axes), full(dilation, axes), paddings, extra, strict=True):
        assume((n - 1) * s - 2 * p + d * (k - 1) + 1 + e > 0)
    lead = draw(st.sampled_from([(), (1,), (2,), (5,)]))
    channels, outputs = groups * draw(st.integers(1, 3)), draw(st.integers(1, 3))
    settings = {"stride": stride, "padding": padding, "output_padding": extra, "groups": groups, "dilation": dilation}
    return (*lead, channels, *image), (channels, outputs, *kernel), draw(st.booleans()) and outputs * groups, settings


def operands(case, layout: str = "contiguous", dtype: str = "float64") -> list[np.ndarray]:
    """Random input, weight and, if there is one, bias; weight and input in the layout that is asked for."""
    shape, weight, bias, _ = case
    draw = np.random.default_rng(0)
    arrays = [draw.standard_normal(s).astype(dtype) for s in (shape, weight, *[(bias,)] * bool(bias))]
    return [LAYOUTS[layout](array) for array in arrays[:2]] + arrays[2:]


def differentiated(library, function, arrays, settings, twice: bool):
    """Value, gradients and, with ``twice``, the derivatives of a random combination of gradients."""
    weigh = np.random.default_rng(1)
    make = torch.tensor if library is torch else tg.tensor
    leaves = [make(array.copy() if library is torch else array, requires_grad=True) for array in arrays]
    grad = torch.autograd.grad if library is torch else tg.grad
    value = function(*leaves, **settings)
    dtype = arrays[0].dtype
    cotangent = make(weigh.standard_normal(tuple(value.shape)).astype(dtype), requires_grad=True)
    first = grad(value, leaves, cotangent, create_graph=twice)
    if not twice:
        return [value, *first]
    weights = [make(weigh.standard_normal(tuple(g.shape)).astype(dtype)) for g in first]
    mixed = [(g, w) for g, w in zip(first[:2], weights[:2], strict=True)]  # the bias' gradient depends on ȳ alone
    second = grad([g for g, _ in mixed], [*leaves[:2], cotangent], [w for _, w in mixed])
    return [value, *first, *second]


def compare(name: str, case, layout: str = "contiguous", dtype: str = "float64", twice: bool = True) -> None:
    arrays, settings = operands(case, layout, dtype), case[3]
    ours = differentiated(tg, getattr(F, name), arrays, settings, twice)
    theirs = differentiated(torch, getattr(torch.nn.functional, name), arrays, settings, twice)
    for mine, expected in zip(ours, theirs, strict=True):
        expected = expected.detach().numpy()
        assert mine.shape == expected.shape and mine.dtype == expected.dtype
        rest = 1e-12 if dtype == "float64" else 2e-5
        np.testing.assert_allclose(mine.detach().numpy(), expected, atol=rest * max(1, np.abs(expected).max(initial=0)))


# ----------------------------------------------------------------------------------------------------- against PyTorch


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@given(case=correlations(), layout=st.sampled_from(sorted(LAYOUTS)))
def test_correlation_and_its_derivatives_agree_with_pytorch(case, layout):
    compare(f"conv{len(case[1]) - 2}d", case, layout)


@given(case=transposes(), layout=st.sampled_from(sorted(LAYOUTS)))
def test_the_transpose_and_its_derivatives_agree_with_pytorch(case, layout):
    compare(f"conv_transpose{len(case[1]) - 2}d", case, layout)


def batched(case):
    """With enough images, and channels, for a compiled kernel to be taken where there is one."""
    shape, weight, bias, settings = case
    image = shape[1 - len(weight) :]
    return (19, *image), weight, bias, settings


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@given(case=correlations().map(batched), layout=st.sampled_from(sorted(LAYOUTS)))
def test_correlation_of_many_images_in_float32_agrees_with_pytorch(case, layout):
    compare(f"conv{len(case[1]) - 2}d", case, layout, "float32", twice=False)


@given(case=transposes().map(batched), layout=st.sampled_from(sorted(LAYOUTS)))
def test_the_transpose_of_many_images_in_float32_agrees_with_pytorch(case, layout):
    compare(f"conv_transpose{len(case[1]) - 2}d", case, layout, "float32", twice=False)


@given(
    shape=st.tuples(*[st.integers(1, 7)] * 4),
    kernel=sizes(2, 1, 3),
    dilation=sizes(2, 1, 2),
    padding=sizes(2, 0, 2),
    stride=sizes(2, 1, 3),
    layout=st.sampled_from(sorted(LAYOUTS)),
)
def test_unfold_and_fold_agree_with_pytorch(shape, kernel, dilation, padding, stride, layout):
    reach = [d * (k - 1) for d, k in zip(full(dilation, 2), full(kernel, 2), strict=True)]
    assume(all(n + 2 * p > r for n, p, r in zip(shape[2:], full(padding, 2), reach, strict=True)))
    settings = {"kernel_size": kernel, "dilation": dilation, "padding": padding, "stride": stride}
    x = LAYOUTS[layout](np.random.default_rng(0).standard_normal(shape))
    columns = torch.nn.functional.unfold(torch.tensor(x.copy()), **settings)
    np.testing.assert_array_equal(F.unfold(x, **settings), columns.numpy())
    folded = torch.nn.functional.fold(columns, shape[2:], **settings)
    np.testing.assert_allclose(F.fold(LAYOUTS[layout](columns.numpy()), shape[2:], **settings), folded, atol=1e-12)


def test_third_derivatives():
    """Of y³, whose second derivative still depends on the input and on the weight."""
    case = ((2, 2, 5, 4), (3, 2, 2, 3), 0, {"stride": 2, "padding": 1})
    found = []
    for make, grad, conv in ((tg.tensor, tg.grad, F.conv2d), (torch.tensor, torch.autograd.grad, torch.conv2d)):
        x, w = (make(array, requires_grad=True) for array in operands(case))
        value = (conv(x, w, **case[3]) ** 3).sum()
        for _ in range(2):
            value = sum(((g * g).sum() for g in grad(value, [x, w], create_graph=True)), start=0 * value)
        found.append([g.detach().numpy() for g in grad(value, [x, w])])
    for mine, expected in zip(*found, strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-10)


# ------------------------------------------------------------------------------------------------- what it is, in words


def test_convolution_turns_the_kernel_and_commutes():
    signal = pytest.importorskip("scipy.signal")
    draw = np.random.default_rng(0)
    a, b = draw.standard_normal((6, 5)), draw.standard_normal((3, 4))
    whole = F.convolve2d(a[None, None], b[None, None], padding=(2, 3))[0, 0]
    np.testing.assert_allclose(whole, signal.convolve2d(a, b), atol=1e-12)
    np.testing.assert_allclose(F.convolve2d(b[None, None], a[None, None], padding=(5, 4))[0, 0], whole, atol=1e-12)
    np.testing.assert_allclose(
        F.conv2d(a[None, None], b[None, None])[0, 0], signal.correlate2d(a, b, "valid"), atol=1e-12
    )
    row = F.convolve1d(a[:1, None], b[:1, None], padding=3)[0, 0]
    np.testing.assert_allclose(row, np.convolve(a[0], b[0]), atol=1e-12)


def test_columns_times_kernels_are_the_correlation_and_folding_counts_overlaps():
    draw = np.random.default_rng(0)
    x, w = draw.standard_normal((2, 3, 5, 6)), draw.standard_normal((4, 3, 3, 2))
    settings = {"stride": (2, 1), "padding": 1}
    columns = F.unfold(x, (3, 2), **settings)
    np.testing.assert_allclose((w.reshape(4, -1) @ columns).reshape(2, 4, 3, 7), F.conv2d(x, w, **settings), atol=1e-12)
    count = F.fold(F.unfold(np.ones_like(x), (3, 2), **settings), (5, 6), (3, 2), **settings)
    np.testing.assert_allclose(F.fold(columns, (5, 6), (3, 2), **settings), x * count, atol=1e-12)
    assert count.min() == 2 and count.max() == 4


@pytest.mark.parametrize("name", ["conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d"])
def test_an_empty_batch_has_an_empty_value_and_gradients_of_zero(name):
    axes = int(name[-2])
    case = ((0, 4, *(5,) * axes), (4, 2, *(3,) * axes), 4, {"padding": 1, "groups": 2})
    compare(name, case, twice=False)
    x, *parameters = (tg.tensor(array, requires_grad=True) for array in operands(case))
    getattr(F, name)(x, *parameters, **case[3]).sum().backward()
    assert x.grad.shape == x.shape
    for parameter in parameters:
        assert parameter.grad.shape == parameter.shape and not parameter.grad.numpy().any()


# ---------------------------------------------------------------------------------------------------- the generic path


@pytest.mark.parametrize("block", [1, 100, 5000])
@pytest.mark.parametrize("images", [1, 3, 32])
def test_blocks_do_not_change_the_result(block, images, monkeypatch):
    draw = np.random.default_rng(0)
    x, w = draw.standard_normal((5, 4, 7, 6)), draw.standard_normal((6, 2, 3, 2))
    place = (2, 1), ((1, 2), (0, 1)), (1, 2), 2
    y = kernels.generic_correlate(x, w, None, *place)
    g = draw.standard_normal(y.shape)

    def all_three():
        return (
            kernels.generic_correlate(x, w, None, *place),
            kernels.generic_correlate_by_input(g, w, (7, 6), *place),
            kernels.generic_correlate_by_weight(g, x, (3, 2), *place),
        )

    expected = all_three()
    monkeypatch.setattr(kernels, "_BLOCK", (block, block))
    monkeypatch.setattr(kernels, "_IMAGES", images)
    for mine, whole in zip(all_three(), expected, strict=True):
        np.testing.assert_allclose(mine, whole, atol=1e-12)


def test_the_two_gradients_are_transposes_of_the_map():
    """<w ⋆ x, g> = <x, x̄> = <w, w̄>, for a padding that takes rows away, too."""
    draw = np.random.default_rng(0)
    x, w = draw.standard_normal((3, 4, 7, 8)), draw.standard_normal((6, 2, 2, 3))
    for padding in (((0, 0), (0, 0)), ((2, 1), (0, 3)), ((1, -2), (0, -1))):
        place = (2, 1), padding, (3, 2), 2
        y = kernels.generic_correlate(x, w, None, *place)
        g = draw.standard_normal(y.shape)
        inner = (y * g).sum()
        assert (x * kernels.generic_correlate_by_input(g, w, (7, 8), *place)).sum() == pytest.approx(inner)
        assert (w * kernels.generic_correlate_by_weight(g, x, (2, 3), *place)).sum() == pytest.approx(inner)


def test_results_have_the_batch_innermost_and_take_little_memory():
    draw = np.random.default_rng(0)
    x, w = draw.standard_normal((48, 8, 32, 32)), draw.standard_normal((8, 8, 5, 5))
    place = (1, 1), ((2, 2), (2, 2)), (1, 1), 1
    tracemalloc.start()
    try:
        y = kernels.generic_correlate(x, w, None, *place)
        by_input = kernels.generic_correlate_by_input(y, w, (32, 32), *place)
        kernels.generic_correlate_by_weight(y, x, (5, 5), *place)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert y.strides[0] == by_input.strides[0] == 8
    columns = x.nbytes * 25
    assert peak < 4 * x.nbytes + kernels._BLOCK[0] * 8 * 1.2 < 0.7 * columns


# ------------------------------------------------------------------------------------------------------------- layers

LAYERS = [
    ("Conv1d", (4, 6, 3), {"stride": 2, "padding": 1}, (2, 4, 9)),
    ("Conv1d", (4, 6, 3), {"padding": "same", "dilation": 2, "groups": 2}, (4, 9)),
    ("Conv2d", (4, 6, (3, 2)), {}, (2, 4, 5, 6)),
    ("Conv2d", (4, 6, 3), {"stride": (2, 1), "padding": (0, 2), "dilation": (1, 2), "bias": False}, (2, 4, 5, 6)),
    ("Conv2d", (4, 6, 2), {"padding": "valid", "groups": 2}, (0, 4, 5, 6)),
    ("ConvTranspose1d", (4, 6, 3), {"stride": 2, "padding": 1, "output_padding": 1}, (2, 4, 5)),
    ("ConvTranspose2d", (4, 6, (3, 2)), {"stride": (2, 3), "groups": 2}, (2, 4, 3, 5)),
    ("ConvTranspose2d", (4, 6, 3), {"dilation": 2, "bias": False, "output_padding": (1, 0)}, (4, 3, 5)),
]


@pytest.mark.parametrize(("name", "sizes", "settings", "shape"), LAYERS)
def test_layers_as_pytorch(name, sizes, settings, shape):
    """Value, gradients and text; weights travel both ways, with and without a file."""
    ours, theirs = getattr(nn, name)(*sizes, **settings), getattr(torch.nn, name)(*sizes, **settings)
    assert repr(ours) == repr(theirs)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}
    agree(ours, theirs, np.random.default_rng(0).standard_normal(shape))
    fresh = getattr(torch.nn, name)(*sizes, **settings)
    ours.to(np.float32).load_state_dict({key: value.numpy() for key, value in fresh.state_dict().items()})
    for key, value in ours.state_dict().items():
        np.testing.assert_array_equal(value, fresh.state_dict()[key].numpy())


@pytest.mark.parametrize(("name", "shape"), [("Unfold", (2, 3, 5, 6)), ("Fold", (2, 12, 20))])
def test_unfold_and_fold_layers_as_pytorch(name, shape):
    sizes = ((3, 4), 2) if name == "Fold" else (2,)
    settings = {"padding": 1, "stride": 1}
    ours, theirs = getattr(nn, name)(*sizes, **settings), getattr(torch.nn, name)(*sizes, **settings)
    assert repr(ours) == repr(theirs) and not ours.state_dict()
    agree(ours, theirs, np.random.default_rng(0).standard_normal(shape))


@pytest.mark.parametrize(
    ("make", "bound"),
    [
        (lambda stream: nn.Conv2d(8, 64, (5, 5), groups=2, stream=stream), 0.1),
        (lambda stream: nn.Conv1d(25, 200, 4, stream=stream), 0.1),
        (lambda stream: nn.ConvTranspose2d(64, 100, (2, 2), groups=4, stream=stream), 0.1),
    ],
)
def test_starting_values_are_distributed_as_in_pytorch(make, bound):
    layer, again, other = (make(Stream(seed, "init")) for seed in (0, 0, 1))
    spread(layer.weight.detach().numpy(), bound)
    bias = layer.bias.detach().numpy()
    assert np.abs(bias).max() <= bound and bias.std() == pytest.approx(bound / np.sqrt(3), rel=0.2)
    np.testing.assert_array_equal(layer.state_dict()["weight"], again.state_dict()["weight"])
    assert not np.array_equal(layer.state_dict()["weight"], other.state_dict()["weight"])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: nn.Conv2d(0, 3, 1), ValueError, "Conv2d: in_channels must be one integer of at least 1"),
        (lambda: nn.Conv2d(3, 2.5, 1), TypeError, "Conv2d: out_channels must be an integer"),
        (lambda: nn.Conv1d(3, 4, 0), ValueError, "Conv1d: kernel_size must be one integer of at least 1"),
        (lambda: nn.Conv2d(3, 4, (1, 2, 3)), ValueError, "Conv2d: kernel_size must be one integer .* or 2 of them"),
        (lambda: nn.Conv2d(4, 6, 1, groups=4), ValueError, "groups=4 does not divide out_channels=6"),
        (lambda: nn.Conv2d(4, 6, 1, groups=3), ValueError, "groups=3 does not divide in_channels=4"),
        (lambda: nn.Conv2d(4, 6, 1, padding="full"), ValueError, "integers, 'same' or 'valid', got 'full'"),
        (lambda: nn.Conv2d(4, 6, 1, 2, padding="same"), ValueError, "padding 'same' needs a stride of 1, got 2"),
        (lambda: nn.ConvTranspose2d(4, 6, 1, padding="same"), TypeError, "ConvTranspose2d: padding must be an integer"),
        (lambda: nn.ConvTranspose1d(4, 6, 1, output_padding=-1), ValueError, "output_padding must be one integer"),
        (lambda: nn.Unfold(0), ValueError, "Unfold: kernel_size must be one integer of at least 1"),
        (lambda: nn.Unfold(2, stride=1.5), TypeError, "Unfold: stride must be an integer"),
        (lambda: nn.Unfold(2, stride=None), TypeError, "Unfold: stride must be an integer or 2 of them, got None"),
        (lambda: nn.Unfold(2, dilation=(1, 2, 3)), ValueError, "Unfold: dilation must be one integer .* or 2 of them"),
        (lambda: nn.Fold(0, 2), ValueError, "Fold: output_size must be one integer of at least 1"),
        (lambda: nn.Fold((4, 5), 2, padding=-1), ValueError, "Fold: padding must be one integer of at least 0"),
        (lambda: nn.Conv2d(4, 6, 3)(np.ones((2, 3, 5, 5))), ValueError, r"takes 4 channels, got an input \(2, 3, 5, 5"),
    ],
)
def test_bad_arguments_of_layers(call, error, words):
    with pytest.raises(error, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)
