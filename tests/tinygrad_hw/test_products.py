"""The compiled matrix product against float64, in every layout; its bits do not depend on the number of threads."""

from __future__ import annotations

import itertools
import os
import pickle
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import tinygrad_hw as tg
from tinygrad_hw import functional as F
from tinygrad_hw import kernels

needs_kernel = pytest.mark.skipif(kernels.cpu_module("products") is None, reason="no Numba, or no AVX-512")
DRAW = np.random.default_rng(0)
LENGTHS = (16, 17, 63, 64, 65, 131)
SHAPES = [
    *itertools.product(LENGTHS, repeat=3),
    *((128, 784, 100), (100, 128, 784), (7, 400, 1100), (1100, 400, 8), (4, 4, 2000), (2, 700, 4)),
    *((300, 300, 131), (20, 300, 640)),  # the right operand is packed
]


def operands(m, k, n, layout):
    """Two matrices, each lying by rows ("c") or by columns ("f") in memory."""
    made = []
    for rows, columns, order in ((m, k, layout[0]), (k, n, layout[1])):
        array = DRAW.standard_normal((rows, columns)).astype(np.float32)
        made.append(np.asarray(array, order=order.upper()))
    return made


def check(a, b, result, bias=0.0):
    """Within what rounding can do to a sum of k products in any order (Higham 2002, section 3.1), entry by entry."""
    exact = a.astype(np.float64) @ b.astype(np.float64) + bias
    size = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64) + np.abs(bias)
    assert result.dtype == np.float32 and result.shape == exact.shape
    assert (np.abs(result - exact) <= (a.shape[1] + 1) * np.finfo(np.float32).eps / 2 * size).all()


@needs_kernel
@pytest.mark.parametrize("with_bias", [False, True], ids=["plain", "bias"])
@pytest.mark.parametrize("layout", ["cc", "fc", "cf"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_products_of_every_shape_and_layout(shape, layout, with_bias):
    a, b = operands(*shape, layout)
    bias = DRAW.standard_normal(shape[2]).astype(np.float32) if with_bias else None
    room = np.full((shape[0] + 2, shape[2] + 40), np.float32(7))
    out = room[1:-1, 20:-20]  # rows in one piece, not beside each other
    kernels.cpu_module("products").product(a, b, bias, out)
    check(a, b, out, 0.0 if bias is None else bias)
    out[...] = 7
    assert (room == 7).all(), "wrote beside its place"


@needs_kernel
@pytest.mark.parametrize("kind", ["views", "read-only", "unaligned", "spread"])
@pytest.mark.parametrize("layout", ["cc", "fc", "cf"])
def test_operands_that_are_parts_of_others(kind, layout):
    a, b = operands(90, 70, 80, layout)
    if kind == "views":
        a, b = a[10:74, 3:], b[3:, 11:]
    elif kind == "read-only":
        a.flags.writeable = b.flags.writeable = False
    elif kind == "unaligned":
        raw = np.empty(a.nbytes + 1, np.uint8)[1:]
        copy = raw.view(np.float32).reshape(a.shape[::-1] if layout[0] == "f" else a.shape)
        copy = copy.T if layout[0] == "f" else copy
        copy[...] = a
        a = copy
        assert not a.flags.aligned
    else:
        a = np.broadcast_to(a[:1], a.shape)
    assert kernels._takes(a, b, None)
    check(a, b, kernels.product(a, b))


@needs_kernel
def test_special_numbers_pass_through():
    a, b = operands(64, 64, 64, "cc")
    a[3, 5], b[7, 9] = np.nan, np.inf
    for left, right in ((a, b), (a, np.asarray(b, order="F")), (np.asarray(a, order="F"), b)):
        result = kernels.product(left, right)
        expected = left @ right
        np.testing.assert_array_equal(np.isnan(result), np.isnan(expected))
        np.testing.assert_array_equal(np.isinf(result), np.isinf(expected))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.ones((64, 64), "f8"), np.ones((64, 64), "f8")),
        (np.ones((64, 64), "f4"), np.ones((64, 64), "f8")),
        (np.ones((640, 3), "f4"), np.ones((3, 640), "f4")),
        (np.ones((640, 8), "f4"), np.ones((640, 8), "f4").T),
        (np.ones((1, 640), "f4"), np.ones((640, 640), "f4").T),
        (np.ones((16, 32), "f4"), np.ones((32, 32), "f4")),
        (np.ones((640, 640), "f4"), np.ones((640, 20), "f4")),
        (np.ones((2048, 1024), "f4"), np.ones((1024, 2048), "f4")),
        (np.ones((64, 128), "f4")[:, ::2], np.ones((64, 128), "f4").T[::2]),
        (np.ones((64, 64), "f4").T, np.ones((64, 128), "f4")[:, ::2].T.copy().T),
        (np.ones((64, 64), ">f4"), np.ones((64, 64), "f4")),
    ],
    ids=[
        *("float64", "mixed", "shallow", "shallow by columns", "one row", "small", "narrow", "large", "gaps"),
        *("both by columns", "other byte order"),
    ],
)
def test_the_rest_is_left_to_numpy(a, b, monkeypatch):
    monkeypatch.setattr(kernels, "cpu_module", lambda name: pytest.fail("asked for a kernel"))
    np.testing.assert_array_equal(kernels.product(a, b), a @ b)


def test_without_a_kernel_numpy_serves(monkeypatch):
    monkeypatch.setattr(kernels, "cpu_module", lambda name: None)
    a, b = operands(128, 100, 64, "cf")
    bias, out = np.ones(64, "f4"), np.empty((128, 64), "f4")
    assert kernels.product(a, b, out, bias) is out
    np.testing.assert_array_equal(out, a @ b + bias)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="mismatch"):
        kernels.product(np.ones((64, 100), "f4"), np.ones((99, 64), "f4"))


@needs_kernel
@pytest.mark.parametrize("operation", ["linear", "matmul", "rows of many"])
def test_operations_give_the_gradients_of_numpy(operation, monkeypatch):
    def gradients():
        draw = np.random.default_rng(1)
        shape = (4, 33, 70) if operation == "rows of many" else (132, 70)
        x = tg.tensor(draw.standard_normal(shape).astype("f4"), requires_grad=True)
        w = tg.tensor(draw.standard_normal((90, 70)).astype("f4"), requires_grad=True)
        b = tg.tensor(draw.standard_normal(90).astype("f4"), requires_grad=True)
        y = F.linear(x, w, b) if operation != "matmul" else F.matmul(x, w.T) + b
        (y * tg.tensor(draw.standard_normal(y.shape).astype("f4"))).sum().backward()
        return [y.detach().numpy(), *(leaf.grad.numpy() for leaf in (x, w, b))]

    used, module = [], kernels.cpu_module("products")
    original = module.product
    monkeypatch.setattr(module, "product", lambda *args: (used.append(1), original(*args)))
    fused = gradients()
    assert len(used) == 3
    monkeypatch.setattr(kernels, "cpu_module", lambda name: None)
    for mine, theirs in zip(fused, gradients(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


@needs_kernel
@pytest.mark.parametrize("shape", [(1, 1), (1000, 1), (4097, 1), (4097, 2), (128, 100), (1000, 17), (3, 5000)])
def test_column_sums_have_the_bits_of_numpy(shape, monkeypatch):
    g = (DRAW.standard_normal(shape) * 10.0 ** DRAW.integers(-9, 9, shape)).astype(np.float32)
    out = np.empty(shape[1], np.float32)
    assert kernels.loaded_passes() is not None and kernels.column_sums(g, out) is out
    np.testing.assert_array_equal(out, g.sum(axis=0))
    np.testing.assert_array_equal(kernels.column_sums(g), out)
    np.testing.assert_array_equal(kernels.column_sums(g.T), g.T.sum(axis=0))  # not in one piece
    monkeypatch.setattr(kernels, "loaded_passes", lambda: None)
    np.testing.assert_array_equal(kernels.column_sums(g), out)
    assert kernels.column_sums(np.zeros((0, 3), np.float32)).shape == (3,)


@needs_kernel
@pytest.mark.parametrize("shape", [(1, 1), (1, 10), (5, 1), (2, 3), (128, 10), (1000, 64)])
def test_row_sums_have_the_bits_of_numpy(shape, monkeypatch):
    x = (DRAW.standard_normal(shape) * 10.0 ** DRAW.integers(-9, 9, shape)).astype(np.float32)
    fused = kernels.row_sums(x)
    np.testing.assert_allclose(fused, x.astype(np.float64).sum(axis=1), rtol=1e-5, atol=1e-5 * np.abs(x).max())
    monkeypatch.setattr(kernels, "loaded_passes", lambda: None)
    np.testing.assert_array_equal(fused, kernels.row_sums(x))


needs_passes = pytest.mark.skipif(kernels.cpu_module("cpu") is None, reason="no Numba")


@needs_passes
def test_the_sigmoid_of_many_numbers_is_exact_to_three_units_in_the_last_place():
    x = np.linspace(-87, 87, 2**20).astype(np.float32)  # below, the result has fewer bits
    exact = 1 / (1 + np.exp(-x.astype(np.float64)))
    assert (np.abs(kernels.sigmoid(x) - exact) <= 3 * np.spacing(exact.astype(np.float32))).all()
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(kernels.sigmoid(x), 1 / (1 + np.exp(-x)), rtol=3e-7)


@needs_passes
def test_the_sigmoid_far_out_is_that_of_few_numbers():
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e30, -1e30, 100, -100, -89, -88.5], np.float32)
    many = F.sigmoid(np.resize(special, 2**12))
    assert kernels.sigmoid(special) is None  # too few for the kernel
    np.testing.assert_array_equal(many[: len(special)], F.sigmoid(special))
    lowest = np.linspace(-89, -87, 2**12).astype(np.float32)  # results without all their bits
    exact = 1 / (1 + np.exp(-lowest.astype(np.float64)))
    np.testing.assert_allclose(kernels.sigmoid(lowest), exact, rtol=1e-5, atol=2 * 2.0**-149 + 3e-39)


@needs_passes
def test_the_sigmoid_keeps_the_order_of_the_axes_in_memory():
    x = DRAW.standard_normal((16, 32, 16)).astype(np.float32)
    expected = F.sigmoid(x)
    for axes in ((2, 0, 1), (1, 0, 2), (2, 1, 0)):
        made = kernels.sigmoid(x.transpose(axes))
        assert made.strides == x.transpose(axes).strides
        np.testing.assert_array_equal(made, expected.transpose(axes))
    for view in (x[:, ::-1], x[:, :, 1:], np.broadcast_to(x[:, :1], x.shape)):
        assert kernels.sigmoid(view) is None  # not in one piece
        np.testing.assert_allclose(F.sigmoid(view), F.sigmoid(np.ascontiguousarray(view)), rtol=3e-7)
    assert kernels.sigmoid(x.astype(np.float64)) is None


@needs_kernel
@pytest.mark.parametrize("shape", [(3,), (128, 50), (0, 4), (2, 3, 4)])
@pytest.mark.parametrize("operation", [F.relu, F.sigmoid], ids=["relu", "sigmoid"])
def test_slopes_have_the_bits_of_numpy(operation, shape, monkeypatch):
    values = (DRAW.standard_normal(shape) * 10.0 ** DRAW.integers(-3, 3, shape)).astype(np.float32)
    weights = DRAW.standard_normal(shape).astype(np.float32)
    if values.size:
        values.flat[0], weights.flat[-1] = np.nan, np.inf

    def computed():
        x = tg.tensor(values, requires_grad=True)
        with np.errstate(invalid="ignore"):
            operation(x).backward(weights)
        return x.grad.numpy()

    used, original = [], kernels.slopes
    monkeypatch.setattr(kernels, "slopes", lambda *args: (used.append(original(*args)), used[-1])[1])
    fused = computed()
    assert used[0] is not None
    monkeypatch.setattr(kernels, "loaded_passes", lambda: None)
    np.testing.assert_array_equal(fused, computed())
    assert used[1] is None


@needs_kernel
def test_a_bias_added_has_the_bits_of_numpy(monkeypatch):
    a, b = operands(64, 50, 10, "cf")  # too small for a product kernel
    bias = DRAW.standard_normal(10).astype(np.float32)
    fused = kernels.product(a, b, bias=bias)
    monkeypatch.setattr(kernels, "loaded_passes", lambda: None)
    np.testing.assert_array_equal(fused, kernels.product(a, b, bias=bias))


@needs_kernel
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("special", [None, np.nan, np.inf, -np.inf])
def test_cross_entropy_has_the_bits_of_numpy(special, reduction, monkeypatch):
    logits = (DRAW.standard_normal((40, 10)) * 30).astype(np.float32)
    labels = DRAW.integers(0, 10, 40)
    if special is not None:
        logits[3, 4] = logits[7, 0] = logits[9, 9] = special

    def computed():
        x = tg.tensor(logits, requires_grad=True)
        with np.errstate(invalid="ignore"):
            loss = F.cross_entropy(x, labels, reduction=reduction)
            loss.backward(np.linspace(0.5, 2, 40, dtype=np.float32) if reduction == "none" else np.float32(0.7))
        return loss.detach().numpy(), x.grad.numpy()

    used, module = [], kernels.cpu_module("passes")
    original = module.shift
    monkeypatch.setattr(module, "shift", lambda *args: (used.append(1), original(*args))[1])
    fused = computed()
    assert used
    monkeypatch.setattr(kernels, "loaded_passes", lambda: None)
    for mine, theirs in zip(fused, computed(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@needs_kernel
@pytest.mark.parametrize("label", [-1, 10, np.iinfo(np.int64).min])
def test_a_wrong_label_is_named_by_the_fused_loss_too(label):
    labels = np.array([1, 2, label])
    with pytest.raises(ValueError, match=f"label {label} at row 2 is out of range"):
        F.cross_entropy(np.zeros((3, 10), np.float32), labels)
    labels[2] = -100  # ignored
    assert F.cross_entropy(np.zeros((3, 10), np.float32), labels) == pytest.approx(np.log(10))


PROGRAM = """
import hashlib, os, threading
import numpy as np
from tinygrad_hw import kernels
from tinygrad_hw.kernels.pool import pool

draw, digest = np.random.default_rng(0), hashlib.sha256()
for m, k, n in ((128, 784, 100), (100, 128, 784), (300, 200, 1000), (1024, 128, 1024)):
    a, b = draw.standard_normal((m, k)).astype("f4"), draw.standard_normal((k, n)).astype("f4")
    for left, right in ((a, b), (np.asfortranarray(a), b), (a, np.asfortranarray(b))):
        digest.update(kernels.product(left, right).tobytes())
p, g, m, v = draw.standard_normal((4, 300_000)).astype("f4")
v = abs(v)
kernels.cpu_module("cpu").adam(p, g, m, v, 1.0, 0.0, 0.1, 0.999, 0.001, 1e-8, 0.1)
for array in (p, m, v):
    digest.update(array.tobytes())
print(pool.count, len([t for t in threading.enumerate() if t.name.startswith("kernels-")]), digest.hexdigest())
"""


def run(threads, program=PROGRAM, cwd=None):
    environment = os.environ | {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS", "NUMBA")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return done.stdout.split()


@needs_kernel
def test_the_bits_do_not_depend_on_the_number_of_threads():
    alone, shared = run(1), run(3)
    assert alone[:2] == ["1", "0"] and shared[:2] == ["3", "2"]
    assert alone[2] == shared[2]


FORKING = """
import os, threading
import numpy as np
from tinygrad_hw import kernels

a, b = (np.random.default_rng(i).standard_normal((256, 256)).astype("f4") for i in range(2))
expected = kernels.product(a, b)

def wrong(result):
    return (result != expected).any()

mistakes = []
def work():
    for _ in range(50):
        mistakes.append(wrong(kernels.product(a, b)))

callers = [threading.Thread(target=work) for _ in range(3)]
for caller in callers: caller.start()
for caller in callers: caller.join()
child = os.fork()
if child == 0:
    os._exit(int(wrong(kernels.product(a, b))))
print(sum(mistakes), len(mistakes), os.waitpid(child, 0)[1], int(wrong(kernels.product(a, b))))
"""


@needs_kernel
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_several_callers_and_a_forked_process():
    assert run(2, FORKING) == ["0", "150", "0", "0"]


@needs_kernel
def test_callers_take_turns():
    a, b = operands(256, 128, 256, "cc")
    expected, wrong = kernels.product(a, b), []

    def work():
        wrong.extend((kernels.product(a, b) != expected).any() for _ in range(20))

    callers = [threading.Thread(target=work) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(wrong) == 60 and not any(wrong)


@needs_kernel
@pytest.mark.slow
def test_machine_code_kept_on_disk_is_made_anew_when_another_file_changes(tmp_path):
    root = Path(tg.__file__).parents[1]
    shutil.copytree(root / "tinygrad_hw", tmp_path / "tinygrad_hw", ignore=shutil.ignore_patterns("__pycache__"))
    pool = tmp_path / "tinygrad_hw" / "kernels" / "pool.py"
    before = run(2, cwd=tmp_path)  # the current folder comes first on Python's path
    assert list(pool.parent.glob("__pycache__/products*.nbc"))
    text = pool.read_text()
    assert text.count("_TAKEN, _BACK, _PARTS") == 1
    pool.write_text(text.replace("_TAKEN, _BACK, _PARTS", "_PARTS, _TAKEN, _BACK"))  # other places for the counters
    assert run(2, cwd=tmp_path) == before


@needs_kernel
def test_a_bias_of_another_length_is_not_read_beyond_its_end():
    a, b = operands(40, 64, 100, "cf")
    with pytest.raises(ValueError, match="broadcast"):
        kernels.product(a, b, bias=np.ones(3, np.float32))


@needs_kernel
def test_an_unpickled_array_takes_the_same_way():
    a, b = operands(64, 64, 64, "cc")
    copies = [pickle.loads(pickle.dumps(array)) for array in (a, b)]
    assert copies[0].dtype is not a.dtype, "or this tests nothing"
    assert kernels._takes(*copies, None)
    np.testing.assert_array_equal(kernels.product(*copies), kernels.product(a, b))
