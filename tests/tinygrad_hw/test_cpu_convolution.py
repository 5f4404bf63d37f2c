"""The compiled convolution against the generic path in float64; its bits do not depend on the number of threads."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tinygrad_hw.kernels import convolution, cpu_module, windows
from tinygrad_hw.kernels.windows import gather_plan, weight_plan

needs_kernel = pytest.mark.skipif(cpu_module("cpu_convolution") is None, reason="no Numba, or no AVX-512")
small = st.integers(1, 4)
sides = st.tuples(st.integers(0, 4), st.integers(0, 4))


@st.composite
def settings_of(draw):
    groups = draw(st.integers(1, 3))
    pairs = {name: draw(st.tuples(small, small)) for name in ("kernel", "stride")}
    dilation = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = (draw(sides), draw(sides))
    size = draw(st.tuples(st.integers(1, 13), st.integers(1, 13)))
    assume(min(convolution.output_size(size, pairs["kernel"], pairs["stride"], padding, dilation)) > 0)
    return {
        "images": draw(st.sampled_from([8, 9, 16, 17, 31, 32, 33, 70])),
        "inputs": groups * draw(st.integers(1, 5)),
        "outputs": groups * draw(st.integers(1, 13)),
        "size": size,
        "innermost": draw(st.booleans()),
        "rest": (pairs["stride"], padding, dilation, groups),
        "kernel": pairs["kernel"],
    }


WIDE = {  # several parts of the output, and segments of a row
    "images": 33,
    "inputs": 40,
    "outputs": 70,
    "size": (9, 70),
    "innermost": True,
    "rest": ((1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "kernel": (3, 3),
}


def operands(case):
    draw = np.random.default_rng(0)
    groups = case["rest"][3]
    shape = case["images"], case["inputs"], *case["size"]
    made = convolution.output_size(case["size"], case["kernel"], *case["rest"][:3])
    x = draw.standard_normal(shape).astype(np.float32)
    weight = draw.standard_normal((case["outputs"], case["inputs"] // groups, *case["kernel"])).astype(np.float32)
    grad = draw.standard_normal((case["images"], case["outputs"], *made)).astype(np.float32)
    if case["innermost"]:
        x, grad = (np.ascontiguousarray(a.transpose(1, 2, 3, 0)).transpose(3, 0, 1, 2) for a in (x, grad))
    return x, weight, draw.standard_normal(case["outputs"]).astype(np.float32), grad


def check(result, generic, terms, *arguments):
    """Within what rounding can do to a sum of that many products in any order (Higham 2002, section 3.1)."""
    wide = [a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in arguments]
    exact = generic(*wide)
    size = generic(*(np.abs(a) if isinstance(a, np.ndarray) else a for a in wide))
    assert result.dtype == np.float32 and result.shape == exact.shape
    assert (np.abs(result - exact) <= (terms + 1) * np.finfo(np.float32).eps / 2 * size).all()


@needs_kernel
@given(settings_of())
@example(WIDE)
def test_every_geometry(case):
    module = cpu_module("cpu_convolution")
    x, weight, bias, grad = operands(case)
    rest, terms = case["rest"], weight[0].size
    generic = convolution.generic_correlate
    check(module.correlate(x, weight, bias, *rest), generic, terms + 1, x, weight, bias, *rest)
    check(module.correlate(x, weight, None, *rest), generic, terms, x, weight, None, *rest)
    by_input = (grad, weight, case["size"], *rest)
    check(
        module.correlate_by_input(*by_input),
        convolution.generic_correlate_by_input,
        weight.size // weight.shape[1],
        *by_input,
    )
    by_weight = (grad, x, case["kernel"], *rest)
    check(
        module.correlate_by_weight(*by_weight),
        convolution.generic_correlate_by_weight,
        grad.size // grad.shape[1],
        *by_weight,
    )


@needs_kernel
@pytest.mark.parametrize("change", ["negative strides", "broadcast", "every other row", "read-only"])
def test_images_that_are_parts_of_others(change):
    x, weight, bias, grad = operands(WIDE)
    if change == "negative strides":
        x, grad = x[::-1, :, ::-1], grad[:, :, :, ::-1]
    elif change == "broadcast":
        x, grad = np.broadcast_to(x[:1], x.shape), np.broadcast_to(grad[:, :, :1, :1], grad.shape)
    elif change == "every other row":
        x = np.repeat(x.transpose(1, 2, 3, 0), 2, axis=1)[:, ::2].transpose(3, 0, 1, 2)
    else:
        for array in (x, weight, bias, grad):
            array.flags.writeable = False
    module, rest = cpu_module("cpu_convolution"), WIDE["rest"]
    check(
        module.correlate(x, weight, bias, *rest),
        convolution.generic_correlate,
        weight[0].size + 1,
        x,
        weight,
        bias,
        *rest,
    )
    check(
        module.correlate_by_weight(grad, x, (3, 3), *rest),
        convolution.generic_correlate_by_weight,
        grad.size // grad.shape[1],
        grad,
        x,
        (3, 3),
        *rest,
    )


@needs_kernel
def test_what_is_not_a_number_stays_with_its_image():
    x, weight, bias, _ = operands(WIDE)
    x[5, 3, 4, 20] = np.nan
    result = convolution.correlate(x, weight, bias, *WIDE["rest"])
    touched = np.isnan(result)
    assert touched[5, :, 3:6, 19:22].all() and touched.sum() == weight.shape[0] * 9


@pytest.mark.parametrize("change", ["float64", "few images", "small", "other byte order"])
def test_the_rest_is_left_to_the_generic_path(change, monkeypatch):
    case = dict(WIDE, images=7) if change == "few images" else WIDE
    if change == "small":
        case = dict(WIDE, inputs=1, outputs=1, size=(4, 4))
    x, weight, bias, grad = operands(case)
    if change in ("float64", "other byte order"):
        kind = np.float64 if change == "float64" else np.dtype(">f4")
        x, weight, bias, grad = (a.astype(kind) for a in (x, weight, bias, grad))
    monkeypatch.setattr(convolution, "cpu_module", lambda name: pytest.fail("asked for a kernel"))
    rest = case["rest"]
    for name, arguments in (
        ("correlate", (x, weight, bias)),
        ("correlate_by_input", (grad, weight, case["size"])),
        ("correlate_by_weight", (grad, x, case["kernel"])),
    ):
        expected = getattr(convolution, f"generic_{name}")(*arguments, *rest)
        np.testing.assert_array_equal(getattr(convolution, name)(*arguments, *rest), expected)


@needs_kernel
def test_tables_that_would_be_too_long_are_left_to_the_generic_path():
    case = dict(WIDE, images=8, inputs=1, outputs=1, size=(40, 40), kernel=(33, 33))
    case["rest"] = ((1, 1), ((32, 32), (32, 32)), (1, 1), 1)
    x, weight, bias, _ = operands(case)
    assert cpu_module("cpu_convolution").correlate(x, weight, bias, *case["rest"]) is None
    expected = convolution.generic_correlate(x, weight, bias, *case["rest"])
    np.testing.assert_array_equal(convolution.correlate(x, weight, bias, *case["rest"]), expected)


@needs_kernel
def test_kernels_as_long_as_sequences_are_left_to_the_generic_path(monkeypatch):
    """What meets what along an axis would take longer to find out, and more memory, than the kernel saves."""
    monkeypatch.setattr(windows, "_meetings", lambda axis: pytest.fail("went through all pairs"))
    case = dict(WIDE, images=8, inputs=1, outputs=1, size=(1, 8000), kernel=(1, 400))
    case["rest"] = ((1, 1), ((0, 0), (200, 200)), (1, 1), 1)
    x, weight, bias, grad = operands(case)
    module, rest = cpu_module("cpu_convolution"), case["rest"]
    assert module.correlate(x, weight, bias, *rest) is None
    assert module.correlate_by_input(grad, weight, case["size"], *rest) is None
    assert module.correlate_by_weight(grad, x, case["kernel"], *rest) is None
    assert convolution.correlate_by_weight(grad, x, case["kernel"], *rest).shape == weight.shape


def test_plans_are_kept_and_cannot_be_written():
    axis = (5, 5, 3, 1, 1, 1, False)
    plan = gather_plan(axis, axis, 2, (400, 80, 16), 4)
    assert plan is not None and gather_plan(axis, axis, 2, (400, 80, 16), 4) is plan
    assert not plan.flags.writeable and not weight_plan(axis, axis, 2, (400, 80, 16), 5, 8).flags.writeable


BITS = """
import zlib, numpy as np
from tests.tinygrad_hw.test_cpu_convolution import WIDE, operands
from tinygrad_hw.kernels import cpu_module
x, weight, bias, grad = operands(WIDE)
module, rest = cpu_module("cpu_convolution"), WIDE["rest"]
for made in (module.correlate(x, weight, bias, *rest), module.correlate_by_input(grad, weight, WIDE["size"], *rest),
             module.correlate_by_weight(grad, x, (3, 3), *rest)):
    print(zlib.crc32(np.ascontiguousarray(made)))
"""


@needs_kernel
def test_the_number_of_threads_does_not_change_a_bit():
    def run(threads):
        environment = os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        return subprocess.run(
            [sys.executable, "-c", BITS], env=environment, capture_output=True, text=True, check=True
        ).stdout

    one = run("1")
    assert len(one.split()) == 3 and run("2") == one
