"""The backend that stands in for CuPy: it refuses what CuPy refuses, and offers nothing that CuPy does not have."""

from __future__ import annotations

import copy
import operator

import numpy as np
import pytest

import tinygrad_hw as tg
from tests import cupy_surface, strict_backend
from tests.strict_backend import NAMES, StrictArray, strict
from tinygrad_hw.backend import array_module, device_of, to_device, to_numpy


@pytest.fixture(autouse=True)
def installed():
    strict_backend.install()


@pytest.fixture
def a():
    return strict.array(np.arange(6.0).reshape(2, 3))


def test_the_committed_list_is_what_the_installed_cupy_offers():
    cupy = pytest.importorskip("cupy")
    if cupy.__version__ != cupy_surface.version():
        pytest.skip(
            f"tests/cupy_names.txt is of CuPy {cupy_surface.version()}: run python -m tests.cupy_surface to renew it"
        )
    listed = [line for line in cupy_surface.FILE.read_text().splitlines() if not line.startswith("#")]
    assert listed == cupy_surface.surface(cupy)


def test_the_list_knows_what_matters():
    assert str(NAMES["sum"].signature) == "(a, axis=None, dtype=None, out=None, keepdims=None)"
    assert NAMES["add"].kind == "ufunc" and NAMES["linalg.svd"].kind == "function" and NAMES["ndarray.get"].signature
    assert "ndarray.__index__" not in NAMES and "linalg.eigh" in NAMES and "not_a_name" not in NAMES


@pytest.mark.parametrize(
    "name", sorted({n for n in dir(StrictArray) if n not in dir(object) and not n.startswith("_")})
)
def test_every_public_attribute_of_an_array_is_one_of_cupys(name):
    assert f"ndarray.{name}" in NAMES


def test_every_operator_of_an_array_is_one_of_cupys():
    own = {n for n in dir(StrictArray) if n.startswith("__") and n not in dir(object)} - {
        "__getattr__",  # how the class is built; no operators
        "__module__",
        "__slots__",
        "__weakref__",
    }
    assert {n for n in own if f"ndarray.{n}" not in NAMES} == set()


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        (lambda a: a + np.ones(3), "Unsupported type <class 'numpy.ndarray'>"),
        (lambda a: a * np.array(2.0), "Unsupported type <class 'numpy.ndarray'>"),
        (lambda a: np.ones(3) + a, "was given a StrictArray"),
        (lambda a: a @ np.ones(3), "Unsupported type"),
        (lambda a: operator.iadd(a, np.ones(3)), "Unsupported type"),
        (lambda a: operator.add(a, [1, 2, 3]), "Unsupported type <class 'list'>"),
        (lambda a: operator.setitem(a, 0, np.ones(3)), "Unsupported type"),
        (lambda a: strict.exp(np.ones(3)), "Unsupported type <class 'numpy.ndarray'>"),
        (lambda a: strict.concatenate([a, np.ones((2, 3))]), "Unsupported type"),
        (lambda a: strict.sum([1, 2]), "expected a cupy.ndarray"),
        (lambda a: strict.where(True, a, 0.0), "expected a cupy.ndarray"),
        (np.asarray, "Implicit conversion to a NumPy array is not allowed"),
        (lambda a: np.array([a, a]), "Implicit conversion"),
        (np.exp, "was given a StrictArray"),
        (lambda a: np.concatenate([a, a]), "was given a StrictArray"),
        (lambda a: np.zeros(3) @ a.T, "was given a StrictArray"),
        (lambda a: a[np.array([0, 1])], "an index array on the CPU"),
        (lambda a: a[:, np.array([0, 1])], "an index array on the CPU"),
        (lambda a: range(strict.array(3)), "cannot be interpreted as an integer"),
        (hash, "unhashable"),
        (lambda a: a.sum(where=a > 1), "unexpected keyword argument 'where'"),
        (lambda a: a.max(initial=0.0), "unexpected keyword argument 'initial'"),
        (lambda a: strict.max(a, initial=0.0), "unexpected keyword argument 'initial'"),
        (lambda a: strict.add(a, 1, where=a > 1), "unexpected keyword argument 'where'"),
        (lambda a: strict.clip(a, min=0.0), "missing a required argument: 'a_min'"),
        (lambda a: strict.add.at(strict.zeros(3, dtype=np.int64), strict.array([0]), 1), "only supports int32"),
    ],
)
def test_what_cupy_refuses_is_refused(expression, words, a):
    with pytest.raises(TypeError, match=words.replace("(", r"\(")):
        expression(a)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        (lambda a: strict.i0e, "module 'cupy' has no attribute"),
        (lambda a: strict.linalg.multi_dot, "module 'cupy.linalg' has no attribute"),
        (lambda a: a.itemset, "has no attribute 'itemset'"),
        (lambda a: a.__index__, "has no attribute '__index__'"),
    ],
)
def test_names_that_cupy_lacks_are_missing(expression, words, a):
    with pytest.raises(AttributeError, match=words):
        expression(a)


def test_what_is_not_modelled_says_so(a):
    for expression in (
        lambda: strict.RawKernel,
        lambda: strict.cuda,
        lambda: a.data,
        lambda: a.flat,
        lambda: a.reduced_view,
    ):
        with pytest.raises(NotImplementedError, match="strict backend"):
            expression()


def test_solve_wants_equal_batches_as_cupy_does():
    with pytest.raises(ValueError, match="for multidimensional b"):
        strict.linalg.solve(strict.ones((2, 3, 3)), strict.ones((3, 1)))


def test_reductions_and_elements_are_arrays_without_axes(a):
    for value in (a.sum(), strict.max(a), a[0, 0], strict.add.reduce(a, axis=None), a.argmax(), strict.linalg.norm(a)):
        assert type(value) is StrictArray and value.shape == ()
    assert float(a.sum()) == 15.0 and int(a.argmax()) == 5 and bool(a.any()) and a.sum().item() == 15.0
    assert complex(a.sum()) == 15.0 and a.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]


def test_values_are_numpys(a):
    host, weights = np.arange(6.0).reshape(2, 3), np.linspace(1, 2, 12).reshape(3, 4)
    cases = [
        (a @ strict.asarray(weights), host @ weights),
        (2 - a / 4 + a**2 % 5 // 2, 2 - host / 4 + host**2 % 5 // 2),
        (np.float64(3) * a, 3 * host),
        (divmod(a, 2)[1], host % 2),
        (abs(-a), host),
        (~(a > 2) ^ (a == 5), ~(host > 2) ^ (host == 5)),
        ((a > 2) | ((a < 1) & (a != 0)), (host > 2) | ((host < 1) & (host != 0))),
        (strict.where(a > 2, a, -1.0), np.where(host > 2, host, -1.0)),
        (strict.einsum("ij,kj->ik", a, a), host @ host.T),
        (strict.concatenate([a, a], axis=1), np.concatenate([host, host], axis=1)),
        (a[strict.array([1, 0]), 1:], host[[1, 0], 1:]),
        (strict.linalg.svd(a, full_matrices=False)[1], np.linalg.svd(host)[1]),
        (strict.fft.rfft(a), np.fft.rfft(host)),
        (strict.full((2,), strict.array(3.0)), np.full(2, 3.0)),
        (copy.deepcopy(a), host),
    ]
    for actual, expected in cases:
        assert type(actual) is StrictArray
        np.testing.assert_array_equal(actual.get(), expected)
    assert strict.float32 is np.float32 and strict.pi == np.pi and strict.newaxis is None


def test_writing_goes_through_views_and_base_names_the_owner(a):
    a.T[0] = 7
    a += 1
    assert a.tolist() == [[8.0, 2.0, 3.0], [8.0, 5.0, 6.0]]
    assert a.base is None and a[0].base is a and a[0][:2].base is a and (a + 1).base is None
    assert strict.asarray(a) is a and strict.array(a) is not a and a.astype(np.float64, copy=False) is a
    total = strict.zeros(2)
    strict.add.at(total, strict.array([0, 0, 1]), 1.0)
    assert total.tolist() == [2.0, 1.0]
    host = np.ones(2)
    there = strict.asarray(host)
    there += 1
    assert host.tolist() == [1.0, 1.0], "a device has memory of its own"
    there.set(np.array([5.0, 6.0]))
    assert there.tolist() == [5.0, 6.0]
    with pytest.raises(ValueError, match="expected float64"):
        there.set(np.array([5, 6]))


def test_the_engine_knows_the_device(a):
    assert array_module(a) is strict and device_of(a) == "strict:0"
    assert type(to_numpy(a)) is np.ndarray and to_device(to_device(a, "cpu"), "strict:0").shape == (2, 3)
    x = tg.tensor(np.ones(3), device="strict:0", requires_grad=True)
    y = (x * a + 2.0) / 3
    y.backward(strict.ones((2, 3)))
    assert x.device == x.grad.device == y.device == "strict:0" and x.grad.shape == (3,)
    np.testing.assert_allclose(x.grad.numpy(), [1.0, 5 / 3, 7 / 3])
    with pytest.raises(
        tg.DeviceError, match=r"Add: operands on different devices .*strict:0 .*cpu .*move one with \.to"
    ):
        x + tg.tensor(np.ones(3))
    with pytest.raises(TypeError, match="does not turn into a NumPy array by itself"):
        np.asarray(x.detach())


@pytest.mark.parametrize("operation", [tg.functional.add, tg.functional.div])
@pytest.mark.parametrize(
    "other", [np.array(2.0), np.array(2), np.arange(1, 4), np.arange(1.0, 4.0), np.float64(2), 2.0]
)
def test_dtypes_are_promoted_on_the_device_as_on_the_cpu(operation, other):
    def there(value):
        return strict.array(value) if isinstance(value, np.ndarray) else value

    for operand in (np.ones(3, np.float32), np.arange(1, 4)):
        expected = operation(operand, other).dtype
        assert operation(tg.Tensor(there(operand)), there(other)).dtype == expected
        assert operation(there(operand), there(other)).dtype == expected
