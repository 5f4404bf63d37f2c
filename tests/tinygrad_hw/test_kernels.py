"""The fused kernels give the bits of the generic path, and nobody notices where there are none."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import tinygrad_hw as tg
from tinygrad_hw import kernels, optim

needs_numba = pytest.mark.skipif(kernels.cpu_module("cpu") is None, reason="Numba is not installed")
SHAPES = [(300, 250), (7,), (129,)]  # one run of more than 2^16 entries, with gaps between the parameters


def trained(make, dtype, skip=None, steps=4):
    """Parameters and optimiser state after a few steps on gradients of every size, some of them 0."""
    draw = np.random.default_rng(0)
    parameters = [tg.tensor(draw.standard_normal(shape).astype(dtype), requires_grad=True) for shape in SHAPES]
    optimizer = make(parameters)
    for _ in range(steps):
        optimizer.zero_grad()
        for number, parameter in enumerate(parameters):
            g = draw.standard_normal(parameter.shape) * 10.0 ** draw.integers(-20, 3, parameter.shape)
            g *= draw.random(parameter.shape) < 0.9
            if number != skip:
                parameter.grad = tg.tensor(g.astype(dtype))
        optimizer.step()
    return [p.detach().numpy() for p in parameters], optimizer.state_dict()["arrays"]


RULES = {
    "adam": lambda p: optim.Adam(p, lr=0.01),
    "adam, decay": lambda p: optim.Adam(p, lr=0.01, weight_decay=0.1, betas=(0.8, 0.99), eps=1e-5),
    "adamw": lambda p: optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "adamw, no decay": lambda p: optim.AdamW(p, lr=0.01, weight_decay=0.0),
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "sgd, decay": lambda p: optim.SGD(p, lr=0.1, weight_decay=0.01),
}


@needs_numba
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", RULES)
def test_a_fused_update_gives_the_bits_of_the_generic_one(rule, dtype, monkeypatch):
    used = []
    for name in ("adam", "sgd"):
        kernel = getattr(kernels.cpu_module("cpu"), name)
        monkeypatch.setattr(
            kernels.cpu_module("cpu"), name, lambda *args, kernel=kernel, name=name: (used.append(name), kernel(*args))
        )
    fused = trained(RULES[rule], dtype)
    assert set(used) == {"sgd" if "sgd" in rule else "adam"} and len(used) == 4
    monkeypatch.setattr(kernels, "fused", lambda array: False)
    generic = trained(RULES[rule], dtype)
    assert len(used) == 4
    for mine, theirs in zip(fused[0], generic[0], strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert fused[1].keys() == generic[1].keys()
    for name, array in fused[1].items():
        np.testing.assert_array_equal(array, generic[1][name], err_msg=name)


@needs_numba
def test_a_parameter_without_gradient_stays_as_it_is(monkeypatch):
    fused = trained(RULES["adam"], "float32", skip=1)
    monkeypatch.setattr(kernels, "fused", lambda array: False)
    generic = trained(RULES["adam"], "float32", skip=1)
    for mine, theirs in zip(fused[0], generic[0], strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert not fused[1]["1.exp_avg"].any()


@pytest.mark.parametrize(
    "array",
    [np.zeros(2**16 - 1, "f4"), np.zeros(2**16, "f2"), np.zeros(2**16, "g"), np.zeros(2**16, "c8")],
    ids=["short", "half", "long double", "complex"],
)
def test_there_are_kernels_for_long_real_arrays_alone(array):
    assert not kernels.fused(array)


def test_momentum_and_other_rules_take_the_generic_path(monkeypatch):
    monkeypatch.setattr(kernels, "fused", lambda array: pytest.fail("asked for a kernel"))
    for rule in (lambda p: optim.SGD(p, lr=0.1, momentum=0.9), optim.RMSprop, optim.Adagrad):
        trained(rule, "float32", steps=1)


def test_without_numba_the_generic_path_serves(monkeypatch):
    kernels.cpu_module.cache_clear()
    monkeypatch.setitem(sys.modules, "numba", None)  # importing it raises ImportError
    monkeypatch.delitem(sys.modules, "tinygrad_hw.kernels.cpu", raising=False)
    monkeypatch.delattr(kernels, "cpu", raising=False)
    try:
        assert kernels.cpu_module("cpu") is None and not kernels.fused(np.zeros(2**16, "f4"))
        values, _ = trained(RULES["adam"], "float32", steps=1)
        assert np.isfinite(values[0]).all()
    finally:
        kernels.cpu_module.cache_clear()
