"""Users' own operations, and the errors that guard them."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_hw as tg
from tinygrad_hw import functional as F


class LegendrePolynomial3(tg.Function):
    """The example of PyTorch's tutorial."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return 0.5 * (5 * x**3 - 3 * x)

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return grad_output * 1.5 * (5 * x**2 - 1)


def test_the_tutorial_example_works_at_both_orders():
    x = tg.tensor(np.linspace(-1, 1, 5), requires_grad=True)
    LegendrePolynomial3.apply(x).backward(np.ones(5))
    np.testing.assert_allclose(x.grad.numpy(), 1.5 * (5 * np.linspace(-1, 1, 5) ** 2 - 1), rtol=1e-14)
    assert tg.gradcheck(LegendrePolynomial3.apply, x, order=2)


def test_context_attributes_and_names_that_the_engine_might_want_itself():
    class Scale(tg.Function):
        @staticmethod
        def forward(ctx, x, factor):
            ctx.shape, ctx.dtype, ctx.index, ctx.op, ctx.factor = (99,), "mine", 5, "op", factor
            return x * factor

        @staticmethod
        def backward(ctx, grad):
            assert (ctx.shape, ctx.dtype, ctx.index, ctx.op) == ((99,), "mine", 5, "op")
            return grad * ctx.factor, None

    x = tg.tensor(np.ones(3), requires_grad=True)
    Scale.apply(x, 4.0).backward(np.ones(3))
    assert x.grad.tolist() == [4.0] * 3


def test_several_outputs():
    class SumAndDifference(tg.Function):
        @staticmethod
        def forward(ctx, a, b):
            return a + b, a - b

        @staticmethod
        def backward(ctx, grad_sum, grad_difference):
            return grad_sum + grad_difference, grad_sum - grad_difference

    a, b = tg.tensor(2.0, requires_grad=True), tg.tensor(5.0, requires_grad=True)
    total, difference = SumAndDifference.apply(a, b)
    (total * difference).backward()  # a² - b²
    assert (a.grad.item(), b.grad.item()) == (4.0, -10.0)


def test_needs_input_grad_tells_what_is_wanted():
    seen = []

    class Product(tg.Function):
        @staticmethod
        def forward(ctx, a, b):
            ctx.save_for_backward(a, b)
            return a * b

        @staticmethod
        def backward(ctx, grad):
            seen.append(list(ctx.needs_input_grad))
            a, b = ctx.saved_tensors
            return grad * b, grad * a

    x = tg.tensor(np.ones(2), requires_grad=True)
    Product.apply(x, tg.tensor(np.ones(2))).backward(np.ones(2))
    assert seen == [[True, False]]


def test_a_gradient_of_the_wrong_shape_is_refused_by_name():
    class Wrong(tg.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2.0

        @staticmethod
        def backward(ctx, grad):
            return grad[:1]

    x = tg.tensor(np.ones(3), requires_grad=True)
    with pytest.raises(
        RuntimeError, match=r"Wrong: backward returned a gradient of shape \(1,\) for an input of shape \(3,\)"
    ):
        Wrong.apply(x).backward(np.ones(3))


def test_too_many_gradients_are_refused_by_name():
    class Many(tg.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2.0

        @staticmethod
        def backward(ctx, grad):
            return grad, grad

    x = tg.tensor(1.0, requires_grad=True)
    with pytest.raises(RuntimeError, match="Many: backward returned 2 gradients for 1 arguments"):
        Many.apply(x).backward()


def test_a_saved_intermediate_cannot_be_differentiated_twice_and_says_so():
    class Cube(tg.Function):
        @staticmethod
        def forward(ctx, x):
            square = x * x
            ctx.save_for_backward(square)
            return square * x

        @staticmethod
        def backward(ctx, grad):
            (square,) = ctx.saved_tensors
            return grad * square * 3.0

    x = tg.tensor(np.array([2.0]), requires_grad=True)
    Cube.apply(x).backward()
    assert x.grad.item() == 12.0
    with pytest.raises(tg.NotTwiceDifferentiableError, match="Cube: create_graph=True needs saved arrays"):
        tg.grad(Cube.apply(x), x, create_graph=True)


def test_an_operand_kept_as_an_attribute_is_refused_at_second_order():
    class Square(tg.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.x = x
            return x * x

        @staticmethod
        def backward(ctx, grad):
            return grad * ctx.x * 2.0

    x = tg.tensor(np.array([3.0]), requires_grad=True)
    assert tg.grad(Square.apply(x), x).item() == 6.0
    with pytest.raises(tg.NotTwiceDifferentiableError, match=r"Square: ctx\.x is an input or output of forward"):
        tg.grad(Square.apply(x), x, create_graph=True)


def test_lists_serve_as_tuples_and_a_missing_gradient_is_refused():
    class Both(tg.Function):
        broadcasts = True

        @staticmethod
        def forward(ctx, a, b):
            return [a + b, a - b]

        @staticmethod
        def backward(ctx, g, h):
            return [g + h, g - h]

    a, b = tg.tensor(2.0, requires_grad=True), tg.tensor(5.0, requires_grad=True)
    total, _ = Both.apply(a, b)
    total.backward()
    assert (a.grad.item(), b.grad.item()) == (1.0, 1.0)

    class Few(Both):
        @staticmethod
        def forward(ctx, a, b):
            return a + b

        @staticmethod
        def backward(ctx, g):
            return g

    with pytest.raises(RuntimeError, match="Few: backward returned 1 gradients for 2 arguments"):
        Few.apply(a, b).backward()


def test_a_users_own_exception_arrives_as_it_is():
    class Own(ValueError):
        def __init__(self, first, second):
            super().__init__(first, second)

    class Raises(tg.Function):
        @staticmethod
        def forward(ctx, x):
            raise Own(1, 2)

    with pytest.raises(Own) as caught:
        Raises.apply(tg.tensor([1.0]))
    assert "Raises" in caught.value.__notes__[0]


def test_one_array_as_variable_and_as_constant_is_refused_at_second_order():
    x = tg.tensor(np.array([2.0]), requires_grad=True)
    assert tg.grad(x * x.data, x).item() == 2.0
    assert tg.grad(x * x.detach(), x, create_graph=True).item() == 2.0
    with pytest.raises(RuntimeError, match="Mul: two operands are one array"):
        tg.grad(x * x.data, x, create_graph=True)


def test_a_missing_rule_says_what_is_missing():
    class Empty(tg.Function):
        pass

    with pytest.raises(NotImplementedError, match=r"static method forward\(ctx"):
        Empty.apply(tg.tensor(1.0))


def test_without_a_tensor_plain_arrays_come_back():
    assert type(F.add(np.ones(2), np.ones(2))) is np.ndarray


def test_an_error_of_forward_names_operation_and_operands():
    with pytest.raises(ValueError, match=r"Add: .*broadcast.*\[operands: float64 \(3,\), float64 \(4,\)\]"):
        tg.tensor(np.ones(3)) + tg.tensor(np.ones(4))


def test_a_list_is_no_operand():
    with pytest.raises(TypeError, match="Add: expected a Tensor, an array or a number, got a list"):
        F.add(tg.tensor([1.0, 2.0]), [1.0, 2.0])
