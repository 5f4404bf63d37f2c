"""Convolution by hand: loops against Toeplitz matrices, and both against all oracles."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from reference import convolution

rng = np.random.default_rng(0)
functional = torch.nn.functional


def normal(*shape: int) -> np.ndarray:
    return np.asarray(rng.standard_normal(shape))


CORRELATIONS = [
    ((2, 3, 4, 5), (2, 3, 3, 2), {}),
    ((2, 4, 5, 4), (6, 2, 2, 3), {"stride": (2, 1), "padding": (1, 2), "groups": 2}),
    ((1, 2, 6, 5), (3, 2, 2, 3), {"dilation": (3, 2), "padding": 1, "stride": 2}),
    ((3, 4, 5), (4, 3, 3, 2), {"padding": "same"}),
    ((2, 3, 6), (4, 3, 2), {"stride": 2, "padding": "valid"}),
    ((2, 4, 7), (6, 2, 3), {"padding": (2,), "dilation": 2, "groups": 2}),
    ((3, 6), (2, 3, 3), {"padding": "same", "dilation": 2}),
]


@pytest.mark.parametrize(("image", "kernels", "settings"), CORRELATIONS)
@pytest.mark.parametrize("name", ["conv", "convolve"])
def test_correlation_and_convolution(agree, name, image, kernels, settings) -> None:
    axes = len(kernels) - 2
    value, hand = (getattr(convolution, f"{prefix}{name}{axes}d") for prefix in ("", "hand_"))
    turned = (2, 3)[:axes] if name == "convolve" else ()

    def in_torch(x, w, *b):
        return getattr(functional, f"conv{axes}d")(x, torch.flip(w, turned), *b, **settings)

    arrays = normal(*image), normal(*kernels), normal(kernels[0])
    for given_arrays in (arrays, arrays[:2]):
        agree(partial(hand, **settings), given_arrays, partial(value, **settings), partial(value, **settings), in_torch)


@pytest.mark.parametrize(
    ("image", "kernels", "settings"),
    [
        ((2, 3, 3, 4), (3, 4, 3, 2), {}),
        ((2, 4, 2, 3), (4, 3, 3, 2), {"stride": (2, 3), "padding": (1, 0), "output_padding": (1, 2), "groups": 2}),
        ((2, 3, 2), (2, 3, 2, 3), {"dilation": (3, 2), "output_padding": (2, 0), "padding": 1}),
        ((2, 4, 5), (4, 3, 2), {"stride": 3, "padding": 1, "output_padding": (2,), "groups": 2}),
        ((2, 3), (2, 3, 4), {"dilation": 2}),
    ],
)
def test_transposed_convolution(agree, image, kernels, settings) -> None:
    name = f"conv_transpose{len(kernels) - 2}d"
    value, hand = getattr(convolution, name), getattr(convolution, f"hand_{name}")
    arrays = normal(*image), normal(*kernels), normal(kernels[1] * settings.get("groups", 1))
    in_torch = partial(getattr(functional, name), **settings)
    for given_arrays in (arrays, arrays[:2]):
        agree(partial(hand, **settings), given_arrays, partial(value, **settings), partial(value, **settings), in_torch)


@pytest.mark.parametrize("settings", [{}, {"padding": 1, "stride": 2}, {"dilation": (2, 1), "padding": (0, 2)}])
def test_unfold_and_fold(agree, settings) -> None:
    def both(function, *sizes):
        return lambda x: function(x, *sizes, **settings)

    for x in (normal(2, 3, 5, 6), normal(3, 5, 6)):
        value = both(convolution.unfold, (3, 2))
        agree(
            lambda g, x: convolution.hand_unfold(g, x, (3, 2), **settings),
            (x,),
            value,
            value,
            both(functional.unfold, (3, 2)),
        )
        columns = normal(*value(x).shape)
        folded = both(convolution.fold, (5, 6), (3, 2))
        agree(
            lambda g, x: convolution.hand_fold(g, x, (5, 6), (3, 2), **settings),
            (columns,),
            folded,
            folded,
            both(functional.fold, (5, 6), (3, 2)),
        )


pair = st.tuples(st.integers(1, 3), st.integers(1, 3))


@given(
    groups=st.integers(1, 3),
    images=st.integers(0, 2),
    channels=pair,
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    kernel=pair,
    stride=pair,
    dilation=pair,
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
)
def test_loops_and_toeplitz_matrices_agree(groups, images, channels, size, kernel, stride, dilation, padding) -> None:
    frame = convolution.frame_of(padding, kernel, dilation)
    assume(min(convolution.places_of(size, kernel, stride, frame, dilation)) > 0)
    x = normal(images, groups * channels[0], *size)
    w, b = normal(groups * channels[1], channels[0], *kernel), normal(groups * channels[1])
    settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    y = convolution.conv2d(x, w, b, **settings)
    np.testing.assert_allclose(convolution.conv2d_by_toeplitz(x, w, b, **settings), y, atol=1e-13)
    g = normal(*y.shape)
    by_loops = convolution.hand_conv2d(g, x, w, b, **settings)
    by_matrix = convolution.hand_conv2d_by_toeplitz(g, x, w, b, **settings)
    for mine, other in zip(by_loops, by_matrix, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-12)


def test_the_matrix_of_one_axis_is_equal_along_its_diagonals() -> None:
    w = normal(1, 1, 1, 3)
    t = convolution.toeplitz(w, (1, 5), (1, 1), ((0, 0), (2, 2)), (1, 1))
    assert t.shape == (7, 5)
    for k in range(-6, 5):
        diagonal = np.diagonal(t, k)
        expected = w[0, 0, 0, 2 + k] if -2 <= k <= 0 else 0.0
        np.testing.assert_array_equal(diagonal, np.full(diagonal.shape, expected))


def test_the_matrix_of_two_axes_has_equal_blocks_along_its_diagonals() -> None:
    w = normal(1, 1, 2, 3)
    t = convolution.toeplitz(w, (4, 5), (1, 1), ((0, 0), (0, 0)), (1, 1)).reshape(3, 3, 4, 5)
    for r in range(3):
        for h in range(4):
            i = h - r
            row = w[:, :, i : i + 1] if i in (0, 1) else np.zeros((1, 1, 1, 3))
            np.testing.assert_array_equal(
                t[r, :, h, :], convolution.toeplitz(row, (1, 5), (1, 1), ((0, 0), (0, 0)), (1, 1))
            )


def test_float32_stays_float32() -> None:
    x, w = normal(2, 4, 5, 4).astype(np.float32), normal(6, 4, 2, 3).astype(np.float32)
    y = convolution.conv2d(x, w)
    z = convolution.conv_transpose2d(y, w)
    grads = convolution.hand_conv2d(y, x, w), convolution.hand_conv2d_by_toeplitz(y, x, w)
    grads += (convolution.hand_conv_transpose2d(z, y, w),)
    assert {a.dtype for a in (y, z, *(g for each in grads for g in each))} == {np.dtype(np.float32)}
