"""Every operation of the table against every oracle, and the rules of the house that hold for all of them."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_hw as tg
from reference import agreement, mutation
from reference.agreement import digits
from reference.cases import (
    Case,
    arrays_in,
    is_floating,
    map_arrays,
    map_call,
    outputs_of,
    public_operations,
    raw,
    run,
    second_gradients,
    with_leaves,
)
from reference.table import Call
from tests import strict_backend
from tests.tinygrad_hw.operation_table import (
    BROADCASTING,
    NAMES,
    TABLE,
    WITH_GRADIENT,
    as_float32,
    backwards,
    cases,
    drawn_from,
    fortran,
    named,
    pool,
    read_only,
    spread_out,
)
from tinygrad_hw import functional as F
from tinygrad_hw.backend import device_of, to_device

SINGLE = 4.0  # digits asked of float32, of the largest entry


def invoke(case: Case, call: Call):
    return outputs_of(case.function(*call.args, **call.kwargs))


# --------------------------------------------------------------------------------------------------------- completeness


def test_every_public_operation_has_a_record_and_every_record_an_operation():
    assert public_operations() == NAMES


def test_every_function_class_is_run_by_some_record_and_so_is_its_backward():
    assert mutation.unexercised([mutation.operations_used(cases(name)) for name in NAMES]) == []


def test_records_are_short():
    for path in sorted((Path(__file__).parents[2] / "reference" / "table").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Record":
                assert node.end_lineno - node.lineno + 1 < 15, f"{path.name}:{node.lineno}: {ast.unparse(node)[:40]}"


@pytest.mark.parametrize("name", NAMES)
def test_samples_hold_float64_in_several_shapes_and_the_same_ones_each_time(name):
    again = [list(arrays_in([*c.call.args, dict(c.call.kwargs)])) for c in agreement_samples(name)]
    for case, arrays in zip(cases(name), again, strict=True):
        mine = list(arrays_in([*case.call.args, dict(case.call.kwargs)]))
        assert all(a.dtype != np.float32 for a in mine)
        assert len(mine) == len(arrays) and all(map(np.array_equal, mine, arrays))
    shapes = {tuple(leaf.shape for leaf in case.leaves) for case in cases(name)}
    assert len(shapes) > 1 or not any(shapes)


def agreement_samples(name):
    from reference.cases import cases as fresh

    return fresh(TABLE[name])


# -------------------------------------------------------------------------------------------------------------- oracles


def comparisons() -> list[tuple[str, str]]:
    """Each operation with each oracle that applies to it."""
    return [
        (name, column)
        for name in NAMES
        for column, measure in agreement.measures(TABLE[name]).items()
        if not isinstance(measure, str) or measure == agreement.torch_missing()
    ]


@pytest.mark.parametrize(("name", "column"), comparisons(), ids=str)
def test_agreement(name, column):
    measure = agreement.measures(TABLE[name])[column]
    if isinstance(measure, str):
        pytest.skip(f"{column}: {measure}")
    cell = agreement.cell(cases(name), *measure)
    assert cell.ok, f"{name} against {column}: {cell} of {cell.needed} digits"


@pytest.mark.parametrize("name", NAMES)
def test_tensors_give_tensors_and_arrays_give_the_same_arrays(name):
    for case in cases(name):
        on_arrays = invoke(case, case.call)
        tensors = map_call(case.call, tg.Tensor)
        on_tensors = invoke(case, tensors)
        assert not any(isinstance(o, tg.Tensor) for o in on_arrays)
        assert all(isinstance(o, tg.Tensor) and not o.requires_grad for o in on_tensors)
        for array, tensor in zip(on_arrays, on_tensors, strict=True):
            assert raw(array).dtype == tensor.dtype
            np.testing.assert_array_equal(raw(array), raw(tensor))


@pytest.mark.parametrize("name", named(lambda record: isinstance(record.gradient, str)))
def test_what_has_no_gradient_gives_constants(name):
    for case in cases(name):
        leaves = [tg.Tensor(leaf, requires_grad=True) for leaf in case.leaves]
        outputs = invoke(case, with_leaves(case.call, leaves))
        assert not any(isinstance(o, tg.Tensor) and o.requires_grad for o in outputs)


@pytest.mark.parametrize("name", NAMES)
def test_float32_stays_float32(name):
    for case in cases(name):
        single = as_float32(case.call)
        result = run(case.function, single, case.cotangents)
        for output, expected in zip(result.outputs, case.outputs, strict=True):
            assert output.dtype == (np.float32 if is_floating(expected) else expected.dtype)
        assert digits(result.outputs, case.outputs, 1e8) >= SINGLE
        if TABLE[name].gradient is True:
            assert all(g.dtype == np.float32 for g in result.gradients)
            assert digits(result.gradients, case.result.gradients, 1e8) >= SINGLE - 1
        if TABLE[name].gradient is True and TABLE[name].second is True:
            first, second = second_gradients(
                case.function, single, case.cotangents, [w.astype(np.float32) for w in case.weights]
            )
            assert all(g.dtype == np.float32 for g in [*first.gradients, *second[: len(case.leaves)]])


SCALARS = {
    "int": lambda value: 2,
    "bool": lambda value: True,
    "float": lambda value: value,
    "np.float64": np.float64,
    "np.int64": lambda value: np.int64(2),
    "0-d float64": lambda value: np.array(value),
    "0-d int64": lambda value: np.array(2),
    "0-d Tensor": lambda value: tg.Tensor(np.array(value)),
}


@pytest.mark.parametrize("kind", SCALARS)
@pytest.mark.parametrize("name", BROADCASTING)
def test_a_scalar_leaves_float32_alone(name, kind):
    """Python, NumPy and 0-d scalars of every kind, on either side of a float32 array."""
    function, values = getattr(F, name), [pool(name, 0), pool(name, 1)]
    rest, kwargs = cases(name)[0].call.args[2:], cases(name)[0].call.kwargs
    for side in (0, 1):
        x = tg.Tensor(np.resize(values[side], (3, 2)).astype(np.float32), requires_grad=True)
        scalar = SCALARS[kind](float(abs(values[1 - side][0])))
        operands = (x, scalar) if side == 0 else (scalar, x)
        (value,) = outputs_of(function(*operands, *rest, **kwargs))
        plain = float(raw(scalar))
        both = (x.detach().double()._data, plain) if side == 0 else (plain, x.detach().double()._data)
        assert value.dtype == (np.float32 if TABLE[name].gradient is True else np.bool_)
        assert digits(raw(value), TABLE[name].numpy(*both, *rest, **kwargs)) >= SINGLE
        if TABLE[name].gradient is True:
            value.backward(np.ones(value.shape))
            assert x.grad.dtype == np.float32 and x.grad.shape == (3, 2)


OPERAND = st.tuples(st.sampled_from(["float32", "float64", "int32", "int64", "bool"]), st.sampled_from([(), (3,)]))


@pytest.mark.parametrize("name", [n for n in BROADCASTING if n in WITH_GRADIENT])
@given(operands=st.tuples(OPERAND, OPERAND).filter(lambda pair: any(dtype[0] == "f" for dtype, _ in pair)))
def test_dtypes_are_promoted_as_in_pytorch_and_each_gradient_has_its_operands(name, operands):
    torch = pytest.importorskip("torch")
    arrays = [np.resize(np.abs(pool(name, i)), shape).astype(dtype) for i, (dtype, shape) in enumerate(operands)]
    tensors = [tg.Tensor(array, requires_grad=array.dtype.kind == "f") for array in arrays]
    expected = torch.result_type(*(torch.from_numpy(array) for array in arrays))
    with np.errstate(all="ignore"):
        value = getattr(F, name)(*tensors)
        assert f"torch.{value.dtype}" == str(expected)
        value.backward(np.ones(value.shape))
    for tensor in tensors:
        assert tensor.grad is None or tensor.grad.dtype == tensor.dtype


# ------------------------------------------------------------------------------------------- shapes, layouts and memory


@pytest.mark.parametrize("name", BROADCASTING)
@given(
    shapes=hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, min_side=0, max_side=4), seed=st.integers(0, 99)
)
def test_broadcasting(name, shapes, seed):
    operands = [drawn_from(pool(name, i), shape, seed + i) for i, shape in enumerate(shapes.input_shapes)]
    first = cases(name)[0].call
    case = Case(TABLE[name], Call((*operands, *first.args[2:]), first.kwargs), seed)
    for column, measure in agreement.measures(TABLE[name]).items():
        if column in ("forward", "finite differences", "hand") and not isinstance(measure, str):
            found = measure[0](case)
            assert found is None or found >= measure[1], f"{column}: {found} digits"
    if TABLE[name].gradient is True:
        assert [g.shape for g in case.result.gradients] == [leaf.shape for leaf in case.leaves]


def along_an_axis(name: str) -> bool:
    parameters = inspect.signature(getattr(F, name)).parameters if hasattr(F, name) else {}
    required = [p for p in list(parameters.values())[1:] if p.default is p.empty and p.name != "axis"]
    return (
        "axis" in parameters
        and not required
        and any(leaf is cases(name)[0].call.args[0] for leaf in cases(name)[0].leaves)
    )


@pytest.mark.parametrize("name", named(lambda record: along_an_axis(record.name)))
@given(
    shape=hnp.array_shapes(min_dims=1, max_dims=4, min_side=2, max_side=4),
    axis=st.integers(-5, 4),
    seed=st.integers(0, 9),
)
def test_axes(name, shape, axis, seed):
    """Every axis, negative ones and ones out of range included, means what it means to NumPy."""
    record = TABLE[name]
    case = Case(record, Call((drawn_from(pool(name, 0), shape, seed),), {"axis": axis}), seed)
    try:
        record.numpy(*case.call.args, axis=axis)
    except (ValueError, IndexError) as error:
        with pytest.raises((ValueError, IndexError)):
            case.function(tg.Tensor(case.call.args[0]), axis=axis)
        assume(bool(error))
        return
    assert agreement.forward_digits(case) >= agreement.VALUE - 1
    if record.gradient is True and record.finite_differences is True:
        assert agreement.difference_digits(case) >= record.tolerance - 1


@pytest.mark.parametrize("layout", [fortran, backwards, spread_out], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_memory_layout_does_not_matter(name, layout):
    for case in cases(name):
        result = run(case.function, map_call(case.call, layout), map_arrays(case.cotangents, layout))
        assert digits(result.outputs, case.outputs) >= agreement.VALUE - 1
        assert digits(result.gradients, case.result.gradients, 1.0) >= agreement.EXACT


@pytest.mark.parametrize("name", NAMES)
def test_inputs_and_cotangents_are_not_written_to(name):
    for case in cases(name):
        call, cotangents = map_call(case.call, read_only), map_arrays(case.cotangents, read_only)
        result = run(case.function, call, cotangents)
        assert digits(result.gradients, case.result.gradients, 1.0) >= agreement.EXACT
        if TABLE[name].gradient is True and TABLE[name].second is True:
            second_gradients(case.function, call, cotangents, case.weights)


@pytest.mark.parametrize("name", WITH_GRADIENT)
def test_each_leaf_owns_its_gradient(name):
    """What ``backward`` leaves in ``.grad`` shares memory with no input, output, cotangent or other gradient."""
    for case in cases(name):
        leaves = [tg.Tensor(leaf.copy(), requires_grad=True) for leaf in case.leaves]
        pairs = [
            (output, tg.Tensor(cotangent.copy()))
            for output, cotangent in zip(invoke(case, with_leaves(case.call, leaves)), case.cotangents, strict=True)
            if output.requires_grad
        ]
        if not pairs:
            continue
        tg.backward([output for output, _ in pairs], [cotangent for _, cotangent in pairs])
        arrays = [raw(t) for pair in pairs for t in pair] + [raw(leaf) for leaf in leaves]
        arrays += [leaf.grad._data for leaf in leaves if leaf.grad is not None]
        gradients = [leaf.grad._data for leaf in leaves if leaf.grad is not None and leaf.size]
        for gradient in gradients:
            assert gradient.flags.writeable
            assert sum(np.shares_memory(gradient, other) for other in arrays) == 1


@pytest.mark.parametrize("name", WITH_GRADIENT)
def test_operations_marked_fresh_return_new_arrays(name):
    def check(event):
        if event.phase == "forward" or not event.node._op.fresh:
            return
        results = [raw(r) for r in event.outputs if r is not None]
        others = [
            raw(a) for a in [*event.inputs, *event.node._saved, *vars(event.node).values()] if hasattr(a, "dtype")
        ]
        for i, result in enumerate(results):
            assert result.flags.writeable, event.name
            assert not any(np.may_share_memory(result, o) for o in [*others, *results[:i]] if result.size), event.name

    with tg.operation_hook(check):
        for case in cases(name):
            run(case.function, case.call, case.cotangents)


@pytest.mark.parametrize("name", WITH_GRADIENT)
def test_a_gradient_of_some_inputs_is_the_same_as_of_all(name):
    for case in cases(name):
        for i in range(len(case.leaves) if len(case.leaves) > 1 else 0):
            others = [k for k in range(len(case.leaves)) if k != i]
            for wanted in ([i], others):
                gradients = run(case.function, case.call, case.cotangents, wanted=wanted).gradients
                expected = [case.result.gradients[k] for k in wanted]
                assert digits(gradients, expected, 1.0) >= agreement.VALUE, (case.number, wanted)


@pytest.mark.parametrize("name", [n for n in BROADCASTING if n in WITH_GRADIENT])
def test_one_tensor_as_both_operands_adds_its_gradients(name):
    first = cases(name)[0].call
    common = np.intersect1d(np.sign(pool(name, 0)), np.sign(pool(name, 1)))
    x = np.abs(np.resize(pool(name, 0), (2, 3))) * (common[-1] if common.size else 1.0)
    g = np.random.default_rng(0).standard_normal((2, 3))
    apart = run(getattr(F, name), Call((x, x.copy(), *first.args[2:]), first.kwargs), (g,)).gradients
    tensor = tg.Tensor(x, requires_grad=True)
    together = tg.grad(getattr(F, name)(tensor, tensor, *first.args[2:], **first.kwargs), tensor, g)
    assert digits(raw(together), apart[0] + apart[1], 1.0) >= agreement.EXACT


# --------------------------------------------------------------------------------------------- extreme values, failures


@pytest.mark.parametrize("name", named(lambda record: record.stable))
@given(data=st.data())
def test_stable_operations_are_finite_at_ten_thousand(name, data):
    case = data.draw(st.sampled_from(cases(name)))
    size = st.floats(np.float32(1e-15).item(), 1e4, width=32)  # the square of less underflows in float32, as in NumPy
    entries = size | size.map(lambda x: -x) | st.sampled_from([-1e4, -100.0, 0.0, 100.0, 1e4])
    leaves = [data.draw(hnp.arrays(np.float32, leaf.shape, elements=entries)) for leaf in case.leaves]
    call = as_float32(with_leaves(case.call, leaves))
    with np.errstate(all="ignore"):
        result = run(case.function, call, [None if c is None else np.ones_like(c) for c in case.cotangents])
        expected = outputs_of(
            TABLE[name].numpy(*with_leaves(case.call, [x.astype(float) for x in leaves]).args, **call.kwargs)
        )
    assert all(np.isfinite(a).all() for a in [*result.outputs, *result.gradients])
    scale = max(float(np.abs(a).max(initial=0.0)) for a in [*leaves, *map(np.asarray, expected)])
    for output, value in zip(result.outputs, map(np.asarray, expected), strict=True):
        assert not np.isfinite(value).all() or np.abs(output - value).max(initial=0.0) <= 1e-4 * scale


def operation_words() -> set[str]:
    """Every name that an error message may begin with: functions and Function classes, without case and underscores."""
    names = {operation.name() for operation in mutation.all_operations()} | set(F.__all__)
    return {name.lower().replace("_", "") for name in names}


@pytest.mark.parametrize("kind", ["tensors", "arrays"])
@pytest.mark.parametrize(
    ("name", "number"), [(name, i) for name in NAMES for i in range(len(TABLE[name].failures))], ids=str
)
def test_bad_arguments_raise_one_clear_line(name, number, kind):
    failure = TABLE[name].failures[number]
    call = failure.call
    if kind == "tensors":
        call = map_call(call, lambda a: tg.Tensor(a, requires_grad=is_floating(a)))
    with pytest.raises(failure.exception) as caught:
        getattr(F, name)(*call.args, **call.kwargs)
    message = str(caught.value)
    assert failure.words in message
    assert "\n" not in message
    if failure.exception is not tg.DeviceError:  # a misspelt device is the device's error, not the operation's
        head = re.match(r"(\w+): ", message)
        assert head and head[1].lower().replace("_", "") in operation_words(), f"begins with no operation: {message}"


# -------------------------------------------------------------------------------------------------------------- devices


def devices() -> list[str]:
    """The stand-in for CuPy everywhere, and CuPy itself where there is a GPU."""
    strict_backend.install()
    gpu = os.path.exists("/dev/nvidia0") and importlib.util.find_spec("cupy")
    return ["strict:0", "cuda:0"] if gpu else ["strict:0"]


@pytest.mark.parametrize("device", devices())
@pytest.mark.parametrize("name", named(lambda record: record.devices is True))
def test_on_a_device_that_is_not_numpy(name, device):
    for case in cases(name):
        call = map_call(case.call, lambda array: to_device(array, device))
        result = run(case.function, call, case.cotangents)
        plain = [raw(output) for output in invoke(case, call)]
        assert all(device_of(a) == device for a in [*result.outputs, *result.gradients, *plain])
        for outputs in (result.outputs, plain):
            assert digits(outputs, case.outputs) >= agreement.VALUE
            assert [o.dtype for o in outputs] == [o.dtype for o in case.outputs]
        assert digits(result.gradients, case.result.gradients, 1.0) >= agreement.EXACT
        if TABLE[name].gradient is True and TABLE[name].second is True and case.differentiable:
            weights = [to_device(w, device) for w in case.weights]
            there = second_gradients(case.function, call, case.cotangents, weights)
            here = second_gradients(case.function, case.call, case.cotangents, case.weights)
            assert digits(there[0].gradients, here[0].gradients, 1.0) >= agreement.EXACT
            assert digits(there[1], here[1], 1.0) >= agreement.EXACT


def with_settings(name: str) -> list[Case]:
    """The samples with floating arrays and with others beside them: indices, masks, labels."""
    return [
        c for c in cases(name) if c.leaves and len(list(arrays_in([*c.call.args, dict(c.call.kwargs)]))) > len(c.leaves)
    ]


@pytest.mark.parametrize("device", devices())
@pytest.mark.parametrize("name", named(lambda record: record.devices is True and with_settings(record.name)))
def test_indices_and_masks_from_elsewhere_are_moved_to_the_data_or_refused(name, device):
    for case in with_settings(name):
        for there in (True, False):
            place = device if there else "cpu"
            call = map_call(case.call, lambda a, there=there: to_device(a, device) if is_floating(a) == there else a)
            try:
                result = run(case.function, call, case.cotangents)
            except tg.DeviceError as error:
                assert device in str(error) and "cpu" in str(error)
                continue
            assert {device_of(a) for a in [*result.outputs, *result.gradients]} == {place}
            assert digits(result.outputs, case.outputs) >= agreement.VALUE
            assert digits(result.gradients, case.result.gradients, 1.0) >= agreement.EXACT


def with_two_arrays(name: str) -> Case | None:
    """A sample with two floating arrays or more, none of them empty."""
    return next((c for c in cases(name) if len(c.leaves) > 1 and all(leaf.size for leaf in c.leaves)), None)


@pytest.mark.parametrize("device", devices())
@pytest.mark.parametrize("name", named(lambda record: record.devices is True and with_two_arrays(record.name)))
def test_operands_on_different_devices_are_one_clear_error(name, device):
    case = with_two_arrays(name)
    for moved in range(2):
        leaves = [tg.Tensor(to_device(x, device) if i == moved else x) for i, x in enumerate(case.leaves)]
        with pytest.raises(tg.DeviceError, match=r"^\w+: ") as caught:
            invoke(case, with_leaves(case.call, leaves))
        assert device in str(caught.value) and "cpu" in str(caught.value) and "\n" not in str(caught.value)
