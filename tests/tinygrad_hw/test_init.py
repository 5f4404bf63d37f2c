"""Starting values: their distributions, their fans, and that the tape sees them written."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_hw as tg
from tests import strict_backend
from tinygrad_hw import nn
from tinygrad_hw.nn import init
from tinygrad_hw.random import Stream, manual_seed


def weight(*shape: int, dtype=np.float32) -> nn.Parameter:
    return nn.Parameter(np.full(shape, 7, dtype))


FILLS = {
    "uniform_": lambda w, **k: init.uniform_(w, -1, 3, **k),
    "normal_": lambda w, **k: init.normal_(w, 2, 0.5, **k),
    "xavier_uniform_": init.xavier_uniform_,
    "xavier_normal_": init.xavier_normal_,
    "kaiming_uniform_": init.kaiming_uniform_,
    "kaiming_normal_": init.kaiming_normal_,
    "orthogonal_": init.orthogonal_,
}


@pytest.mark.parametrize("name", FILLS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_it_fills_in_place_from_the_stream(name, dtype):
    w = weight(6, 4, dtype=dtype)
    array = w._data
    assert FILLS[name](w, stream=Stream(3, "init")) is w
    assert w._data is array and w.dtype == dtype and w.requires_grad and w.is_leaf
    assert len(np.unique(array)) > 20
    again, other = weight(6, 4, dtype=dtype), weight(6, 4, dtype=dtype)
    FILLS[name](again, stream=Stream(3, "init"))
    FILLS[name](other, stream=Stream(4, "init"))
    np.testing.assert_array_equal(again._data, array)
    assert not np.array_equal(other._data, array)


def test_the_default_stream_follows_the_seed():
    draws = []
    for seed in (1, 1, 2):
        manual_seed(seed)
        draws.append(init.normal_(weight(5)).detach().numpy().copy())
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


@pytest.mark.parametrize("name", [*FILLS, "eye_"])
def test_a_device_gets_the_same_values(name):
    strict_backend.install()
    here = weight(4, 3)
    there = nn.Parameter(np.zeros((4, 3), np.float32))
    there.data = tg.backend.to_device(there._data, "strict")
    fill = FILLS.get(name, init.eye_)
    for w in (here, there):
        fill(w, **({} if name == "eye_" else {"stream": Stream(0, "init")}))
    np.testing.assert_array_equal(tg.backend.to_numpy(there._data), here._data)


@pytest.mark.parametrize(
    ("fill", "low", "high"),
    [
        (lambda w, s: init.uniform_(w, -1, 3, stream=s), -1, 3),
        (lambda w, s: init.xavier_uniform_(w, 2.0, stream=s), -2 * math.sqrt(6 / 500), 2 * math.sqrt(6 / 500)),
        (lambda w, s: init.kaiming_uniform_(w, math.sqrt(5), stream=s), -0.05, 0.05),
        (lambda w, s: init.kaiming_uniform_(w, 0.0, "fan_out", "relu", stream=s), -math.sqrt(0.06), math.sqrt(0.06)),
    ],
)
def test_uniform_limits_and_spread(fill, low, high):
    values = fill(weight(100, 400, dtype=np.float64), Stream(0, "init")).detach().numpy()
    edge, std = 0.001 * (high - low), (high - low) / math.sqrt(12)
    assert low <= values.min() < low + edge and high - edge < values.max() <= high
    assert values.std() == pytest.approx(std, rel=0.01)
    assert values.mean() == pytest.approx((low + high) / 2, abs=4 * std / 200)


@pytest.mark.parametrize(
    ("fill", "mean", "std"),
    [
        (lambda w, s: init.normal_(w, 2, 0.5, stream=s), 2, 0.5),
        (lambda w, s: init.xavier_normal_(w, 3.0, stream=s), 0, 3 * math.sqrt(2 / 500)),
        (lambda w, s: init.kaiming_normal_(w, nonlinearity="relu", stream=s), 0, math.sqrt(2 / 400)),
        (lambda w, s: init.kaiming_normal_(w, 0.3, "fan_out", stream=s), 0, math.sqrt(2 / 1.09 / 100)),
        (lambda w, s: init.kaiming_normal_(w, nonlinearity="tanh", stream=s), 0, 5 / 3 / 20),
    ],
)
def test_normal_moments(fill, mean, std):
    values = fill(weight(100, 400, dtype=np.float64), Stream(0, "init")).detach().numpy()
    assert values.mean() == pytest.approx(mean, abs=4 * std / 200) and values.std() == pytest.approx(std, rel=0.015)
    kurtosis = (((values - values.mean()) / values.std()) ** 4).mean()
    assert kurtosis == pytest.approx(3, abs=0.15)


def test_fans_count_the_kernel():
    values = (
        init.kaiming_normal_(weight(32, 16, 5, 5), nonlinearity="linear", stream=Stream(0, "init")).detach().numpy()
    )
    assert values.std() == pytest.approx(1 / math.sqrt(16 * 25), rel=0.02)
    values = init.xavier_normal_(weight(32, 16, 5, 5), stream=Stream(0, "init")).detach().numpy()
    assert values.std() == pytest.approx(math.sqrt(2 / (48 * 25)), rel=0.02)


@pytest.mark.parametrize(
    ("name", "param"),
    [("linear", None), ("conv2d", None), ("conv_transpose3d", None), ("sigmoid", None), ("tanh", None), ("relu", None),
     ("leaky_relu", None), ("leaky_relu", 0.2), ("selu", None)],
)  # fmt: skip
def test_gains_are_pytorchs(name, param):
    torch = pytest.importorskip("torch")
    assert init.calculate_gain(name, param) == torch.nn.init.calculate_gain(name, param)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 2), st.floats(0.1, 3.0), st.integers(0, 100))
def test_orthogonal(rows, columns, kernel, gain, seed):
    w = init.orthogonal_(weight(rows, columns, kernel, dtype=np.float64), gain, stream=Stream(seed, "init"))
    matrix = w.detach().numpy().reshape(rows, -1)
    product = matrix @ matrix.T if rows <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(product, gain**2 * np.eye(len(product)), atol=1e-12)


def test_orthogonal_is_uniformly_distributed():
    """QR alone fixes the signs of R's diagonal, which biases Q's: the entries of a uniform one have mean 0."""
    stream = Stream(0, "init")
    draws = np.array(
        [init.orthogonal_(weight(2, 2, dtype=np.float64), stream=stream).detach().numpy() for _ in range(2000)]
    )
    assert (abs(draws.mean(axis=0)) < 4 * math.sqrt(0.5 / 2000)).all()
    assert abs((np.linalg.det(draws) > 0).mean() - 0.5) < 0.05


def test_constants():
    assert (init.constant_(weight(2, 3), 0.25).detach().numpy() == 0.25).all()
    assert not init.zeros_(weight(2, 3)).detach().numpy().any()
    assert init.ones_(weight()).item() == 1.0
    np.testing.assert_array_equal(init.eye_(weight(2, 3)).detach().numpy(), np.eye(2, 3, dtype=np.float32))
    assert init.kaiming_uniform_(weight(3, 0)).shape == (3, 0)
    assert init.xavier_normal_(weight(0, 0)).shape == (0, 0)


def test_writing_between_forward_and_backward_is_found():
    w, x = weight(3), tg.tensor(np.ones(3, np.float32), requires_grad=True)
    product = w * x
    init.ones_(w)
    with pytest.raises(RuntimeError, match="was changed in place"):
        product.backward(np.ones(3, np.float32))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: init.xavier_uniform_(weight(3)), r"xavier_uniform_: expected a weight of at least two axes .* \(3,\)"),
        (lambda: init.kaiming_normal_(weight()), "kaiming_normal_: expected a weight of at least two axes"),
        (lambda: init.orthogonal_(weight(3)), "orthogonal_: expected a weight of at least two axes"),
        (lambda: init.kaiming_uniform_(weight(3, 2), mode="fan"), "mode must be 'fan_in' or 'fan_out', got 'fan'"),
        (
            lambda: init.kaiming_uniform_(weight(3, 2), nonlinearity="gelu"),
            "calculate_gain: expected one of .* got 'gelu'",
        ),
        (lambda: init.eye_(weight(3)), r"eye_: expected a matrix, got shape \(3,\)"),
    ],
)
def test_bad_arguments(call, words):
    with pytest.raises(ValueError, match=words):
        call()
