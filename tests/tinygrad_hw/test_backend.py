"""Devices: names, errors, and CuPy left alone until a GPU is asked for."""

from __future__ import annotations

import importlib
import subprocess
import sys

import numpy as np
import pytest

import tinygrad_hw as tg
from tinygrad_hw import backend


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_the_engine_imports_numpy_alone():
    code = (
        "import sys, tinygrad_hw as tg; tg.tensor([1.0], requires_grad=True).exp().sum().backward();"
        "optional = {'cupy', 'numba', 'torch', 'scipy', 'safetensors', 'matplotlib'};"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & optional))"
    )
    assert run(code) == "[]"


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:-1", "cpu:0", ""])
def test_a_misspelt_device_is_one_clear_error(name):
    with pytest.raises(tg.DeviceError, match="unknown device"):
        tg.tensor([1.0], device=name)


def test_a_missing_cupy_says_how_to_get_it(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(backend, "_backends", {"cpu": backend._CPU})
    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(tg.DeviceError, match=r"not installed: pip install 'tinygrad_hw\[cuda12\]'"):
        tg.tensor([1.0]).to("cuda")


def test_a_missing_gpu_says_so():
    cupy = pytest.importorskip("cupy")
    if cupy.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(tg.DeviceError, match="finds no GPU"):
        tg.tensor([1.0]).to("cuda:0")


def test_show_config_names_the_blas():
    assert "numpy" in tg.show_config() and "BLAS" in tg.show_config()


def test_to_dtype_is_differentiable_and_casts_the_gradient_back():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    (x.to(np.float64) * 3.0).backward(np.ones(2))
    assert x.grad.dtype == np.float32 and x.grad.tolist() == [3.0, 3.0]
    assert x.to("cpu") is x and x.to(np.float32) is x


class TestTensor:
    def test_python_floats_take_the_default_dtype_and_arrays_keep_theirs(self):
        assert tg.tensor([1.0]).dtype == np.float32
        assert tg.tensor([1]).dtype == np.int64
        assert tg.tensor(np.ones(2)).dtype == np.float64
        assert tg.tensor([1.0], dtype="float64").dtype == np.float64
        tg.set_default_dtype(np.float64)
        try:
            assert tg.tensor([1.0]).dtype == np.float64
        finally:
            tg.set_default_dtype(np.float32)

    def test_tensor_copies(self):
        array = np.ones(2)
        t = tg.tensor(array)
        array[0] = 5.0
        assert t.tolist() == [1.0, 1.0]

    def test_numpy_views_are_read_only_and_need_detaching(self):
        with pytest.raises(ValueError, match="read-only"):
            tg.tensor([1.0]).numpy()[0] = 2.0
        with pytest.raises(RuntimeError, match="detach"):
            tg.tensor([1.0], requires_grad=True).numpy()
        assert np.asarray(tg.tensor([1.0])).tolist() == [1.0]

    def test_repr_names_what_matters(self):
        x = tg.tensor([1.0, 2.0], requires_grad=True)
        assert repr(x) == "tensor([1., 2.], requires_grad=True)"
        assert repr(x * 2.0) == "tensor([2., 4.], grad_fn=<MulBackward>)"
        assert repr(tg.tensor(np.ones(1))) == "tensor([1.], dtype=float64)"

    def test_something_that_is_no_number_is_refused(self):
        with pytest.raises(TypeError, match="expected numbers"):
            tg.tensor(["a"])
        with pytest.raises(ValueError, match=r"data: expected shape \(1,\), got \(2,\)"):
            tg.tensor([1.0]).data = np.ones(2)

    def test_numpy_functions_refuse_tensors_instead_of_leaving_the_tape(self):
        with pytest.raises(TypeError):
            np.exp(tg.tensor([1.0], requires_grad=True))

    def test_numpy_names_what_to_use_instead(self):
        with pytest.raises(TypeError, match=r"numpy.sum does not take tensors: use tinygrad_hw.functional.sum"):
            np.sum(tg.tensor([1.0]))

    def test_format(self):
        assert f"{tg.tensor(1.23456):.2f}" == "1.23"

    def test_a_misspelt_device_is_no_dtype(self):
        with pytest.raises(tg.DeviceError, match="unknown device 'gpu'"):
            tg.tensor([1.0]).to("gpu")

    def test_what_a_gradient_may_be(self):
        x = tg.tensor([1.0], requires_grad=True)
        with pytest.raises(TypeError, match="grad: expected a Tensor or None, got ndarray"):
            x.grad = np.ones(1)
        with pytest.raises(TypeError, match="data: expected an array or a Tensor, got list"):
            x.data = [1.0]

    def test_operators_of_booleans(self):
        mask = tg.tensor([True, False])
        assert (mask & True).tolist() == [True, False] and (~mask).tolist() == [False, True]
        with pytest.raises(TypeError, match="&: expected booleans, got int64"):
            tg.tensor([6]) & tg.tensor([3])

    def test_rows_of_unequal_length(self):
        with pytest.raises(TypeError, match="rows of equal length"):
            tg.tensor([[1], [1, 2]])

    def test_an_unknown_attribute_is_an_attribute_error(self):
        with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
            _ = tg.tensor([1.0]).nonsense
