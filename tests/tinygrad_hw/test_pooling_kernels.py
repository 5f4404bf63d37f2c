"""The CPU kernels of pooling and interpolation give the bits of the generic path, for all sizes and threads."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_hw as tg
from tests.tinygrad_hw.test_pooling import windows
from tinygrad_hw import functional as F
from tinygrad_hw.functional import pooling as operations
from tinygrad_hw.kernels import images, pooling, resampling

MODULE = pooling.cpu_pooling(np.zeros((64, 2, 16, 16), np.float32), (16, 16))
pytestmark = pytest.mark.skipif(MODULE is None, reason="no Numba")


def normal(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def innermost(x):
    """The same array with the batch innermost in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 0, -1)), -1, 0)


@given(case=windows(True), batch=st.sampled_from([1, 7, 17, 128]), special=st.booleans())
def test_max_pooling_has_the_bits_of_the_generic_path(case, batch, special):
    axes, shape, sizes = case
    x = normal((batch, shape[-axes - 1], *(1,) * (2 - axes), *shape[-axes:]))
    if special:
        x = np.random.default_rng(1).choice(np.array([np.nan, -np.inf, np.inf, 0, 1], "f4"), x.shape)
    lengths = x.reshape(x.shape if axes == 2 else (*x.shape[:2], x.shape[3]))
    laid = operations._windows("max_pool", lengths, axes, *map(sizes.get, NAMES))
    y, chosen = pooling.generic_max_pool(x, laid)
    mine = MODULE.max_pool(images.batch_innermost(x), *pooling._axes(laid, x.shape[2:]))
    np.testing.assert_array_equal(images.images_first(mine[0]), y)
    np.testing.assert_array_equal(images.images_first(mine[1]), chosen)
    grad = normal(y.shape, 2)
    made = MODULE.scatter(images.batch_innermost(grad), mine[1], *pooling._axes(laid, x.shape[2:]))
    np.testing.assert_array_equal(images.images_first(made), pooling.generic_scatter(grad, chosen, laid, x.shape[2:]))


@pytest.mark.parametrize("shape", [(1, 3, 5, 7), (7, 5, 40, 50), (33, 2, 8, 3), (64, 4, 12, 20)])
@pytest.mark.parametrize("dtype", ["float32", "float64", ">f4"])
def test_the_batch_comes_innermost_in_one_piece_and_without_a_copy_where_it_lies_so(shape, dtype):
    x = normal(shape).astype(dtype)
    lying = np.ascontiguousarray(x.transpose(1, 2, 3, 0))
    for array in (x, images.images_first(lying), x[::-1, :, ::-1], np.broadcast_to(x[:1], shape), x[:, :, ::2]):
        made = images.batch_innermost(array)
        assert made.flags.c_contiguous and made.dtype == x.dtype
        np.testing.assert_array_equal(made, array.transpose(1, 2, 3, 0))
    assert np.shares_memory(images.batch_innermost(images.images_first(lying)), lying)


NAMES = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")


def taps(data, sources):
    """A matrix with rows of none to four entries in any order."""
    rows = st.lists(st.tuples(st.integers(0, sources - 1), st.floats(-2, 2, width=32)), max_size=4)
    return resampling.Taps(data.draw(st.lists(rows, min_size=1, max_size=6)), sources)


@given(data=st.data(), batch=st.sampled_from([1, 7, 17, 128]), size=st.tuples(st.integers(1, 6), st.integers(1, 6)))
def test_resampling_has_the_bits_of_the_generic_path(data, batch, size):
    x = normal((batch, 3, *size))
    rows, columns = (taps(data, n) for n in size)
    for a, b, source in ((rows, columns, x), (rows.transposed, columns.transposed, None)):
        source = normal((batch, 3, rows.outputs, columns.outputs), 1) if source is None else source
        made = MODULE.resample(images.batch_innermost(source), a, b)
        np.testing.assert_array_equal(images.images_first(made), resampling.generic_resample(source, a, b))


@given(data=st.data(), size=st.tuples(st.integers(1, 6), st.integers(1, 6)))
def test_taps_are_a_matrix_and_their_transpose_is_its_transpose(data, size):
    rows, columns = (taps(data, n) for n in size)
    matrices = []
    for one in (rows, columns):
        matrix = np.zeros((one.outputs, one.sources))
        np.add.at(matrix, (np.repeat(np.arange(one.outputs), np.diff(one.starts)), one.index), one.weight)
        matrices.append(matrix)
        assert one.transposed.transposed is one
    x, g = normal((2, 3, *size)).astype(float), normal((2, 3, rows.outputs, columns.outputs), 1).astype(float)
    y = resampling.generic_resample(x, rows, columns)
    np.testing.assert_allclose(y, matrices[0] @ x @ matrices[1].T, rtol=1e-12, atol=1e-12)
    back = resampling.generic_resample(g, rows.transposed, columns.transposed)
    np.testing.assert_allclose(back, matrices[0].T @ g @ matrices[1], rtol=1e-12, atol=1e-12)


OPERATIONS = {
    "max": lambda x: F.max_pool2d(x, 3, 2, 1),
    "average": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "global": lambda x: F.adaptive_avg_pool2d(x, 1),
    "larger": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "sequences": lambda x: F.max_pool1d(x.reshape(64, -1, 20), 2),
}


def gradients(operation, x):
    leaf = tg.tensor(x, requires_grad=True)
    leaf.data = x  # as it lies in memory
    y = operation(leaf)
    y.backward(normal(y.shape, 1))
    return y.detach().numpy(), leaf.grad.numpy()


@pytest.mark.parametrize("layout", [innermost, np.ascontiguousarray, lambda x: np.flip(np.flip(x).copy())])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_take_the_kernels_and_leave_the_batch_innermost(name, layout, monkeypatch):
    x = layout(normal((64, 8, 12, 20)))
    used = []
    for kernel in ("max_pool", "scatter", "resample"):
        original = getattr(MODULE, kernel)
        monkeypatch.setattr(MODULE, kernel, lambda *args, f=original, k=kernel: (used.append(k), f(*args))[1])
    fused = gradients(OPERATIONS[name], x)
    assert used == (["max_pool", "scatter"] if name in ("max", "sequences") else ["resample", "resample"])
    assert fused[0].strides[0] == 4
    monkeypatch.setattr(pooling, "cpu_module", lambda name: None)
    for mine, theirs in zip(fused, gradients(OPERATIONS[name], x), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert len(used) == 2


@pytest.mark.parametrize(
    "x",
    [np.zeros((64, 8, 12, 20)), np.zeros((15, 8, 50, 50), "f4"), np.zeros((16, 1, 8, 8), "f4")],
    ids=["float64", "few images", "small"],
)
def test_the_rest_is_left_to_numpy(x, monkeypatch):
    monkeypatch.setattr(pooling, "cpu_module", lambda name: pytest.fail("asked for a kernel"))
    F.max_pool2d(x, 2)
    F.avg_pool2d(x, 2)


def test_windows_of_more_entries_than_a_byte_counts():
    x = normal((32, 2, 17, 40))
    mine, theirs = gradients(lambda t: F.max_pool2d(t, 17), x), gradients(lambda t: F.max_pool2d(t, 17), x[:8])
    np.testing.assert_array_equal(mine[0][:8], theirs[0])
    assert (mine[1] != 0).sum() == mine[0].size


THREADS = """
import zlib
import numpy as np
import tests.tinygrad_hw.test_pooling_kernels as tests
from tests.tinygrad_hw import test_normalization as others
for operation in [*tests.OPERATIONS.values(), others.trained]:
    print([zlib.crc32(np.ascontiguousarray(a)) for a in tests.gradients(operation, tests.normal((64, 9, 32, 20)))])
"""


def test_results_do_not_depend_on_the_number_of_threads():
    def computed(threads):
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": "1" if threads == "1" else "2"}
        done = subprocess.run([sys.executable, "-c", THREADS], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert computed("1") == computed("2")
