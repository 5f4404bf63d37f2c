"""grad, vjp, hvp, jacobian and higher derivatives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_hw as tg
from tinygrad_hw import functional as F


def double(array: np.ndarray) -> tg.Tensor:
    return tg.tensor(np.asarray(array, float), requires_grad=True)


def test_grad_leaves_the_leaves_alone():
    x, y = double([2.0]), double([3.0])
    gx, gy = tg.grad(x * y, [x, y])
    assert (gx.item(), gy.item()) == (3.0, 2.0) and x.grad is None and y.grad is None


def test_grad_of_a_computed_tensor():
    x = double([2.0])
    middle = x * x
    out = middle * middle
    assert tg.grad(out, middle, retain_graph=True).item() == 8.0
    assert [g.item() for g in tg.grad(out, [middle, x])] == [8.0, 32.0]


def test_grad_walks_only_what_leads_to_its_inputs():
    x, y = double([2.0]), double([3.0])
    seen = []
    side = y * y
    out = x * x + side
    with tg.operation_hook(lambda event: seen.append(event.name) if event.phase == "backward" else None):
        tg.grad(out, x)
    assert seen == ["Add", "Mul"]
    assert tg.grad(side, y).item() == 6.0  # not walked, so not freed


def test_the_results_are_the_callers_own():
    a, b = double([1.0]), double([1.0])
    ga, gb = tg.grad(a + b, [a, b])
    ga.zero_()
    assert gb.item() == 1.0


def test_an_unused_input_raises_or_gives_none():
    x, y = double([1.0]), double([1.0])
    with pytest.raises(RuntimeError, match=r"do not depend on input 1 \(shape \(1,\)\)"):
        tg.grad(x * 2.0, [x, y], retain_graph=True)
    gx, gy = tg.grad(x * 2.0, [x, y], allow_unused=True)
    assert gx.item() == 2.0 and gy is None
    with pytest.raises(RuntimeError, match="input 0 is not a tensor that requires a gradient"):
        tg.grad(x * 2.0, tg.tensor(1.0))


@given(st.integers(1, 6), st.floats(0.5, 1.5))
def test_repeated_derivatives_of_a_power(power, value):
    """dᵏ/dxᵏ xⁿ = n! / (n-k)! xⁿ⁻ᵏ, down to zero."""
    x = double(value)
    y = x
    for _ in range(power - 1):
        y = y * x
    factor = 1.0
    for k in range(1, power + 1):
        y = tg.grad(y, x, create_graph=True) if y.requires_grad else y * 0.0
        factor *= power - k + 1
        assert y.item() == pytest.approx(factor * value ** (power - k), rel=1e-10)


def test_backward_with_create_graph_puts_recorded_gradients_into_the_leaves():
    x = double([3.0])
    (x * x * x).backward(create_graph=True)
    first, x.grad = x.grad, None
    first.backward()
    assert first.item() == 27.0 and x.grad.item() == 18.0


def test_vjp_and_jacobian_agree_with_the_matrix():
    matrix = np.arange(12.0).reshape(4, 3)
    x, v = double([1.0, 2.0, 3.0]), np.array([1.0, -1.0, 2.0, 0.5])
    out, pulled = tg.vjp(lambda t: F.matmul(tg.tensor(matrix), t), x, v)
    np.testing.assert_allclose(out.numpy(), matrix @ [1.0, 2.0, 3.0])
    np.testing.assert_allclose(pulled.numpy(), v @ matrix)
    np.testing.assert_array_equal(tg.jacobian(lambda t: F.matmul(tg.tensor(matrix), t), x).numpy(), matrix)


def test_one_tensor_in_two_places_has_two_gradients():
    x = double([2.0, 3.0])
    _, (first, second) = tg.vjp(lambda a, b: a * b * b, (x, x), np.ones(2))
    assert first.tolist() == [4.0, 9.0] and second.tolist() == [8.0, 18.0]


def test_hvp_gives_zeros_for_an_input_that_is_not_used():
    _, (used, unused) = tg.hvp(lambda a, b: F.sum(a * a), (double([1.0]), double([1.0])), (np.ones(1), np.ones(1)))
    assert used.item() == 2.0 and unused.item() == 0.0


def test_jacobian_of_several_inputs_and_unused_ones():
    a, b = double([1.0, 2.0]), double([[3.0]])
    ja, jb = tg.jacobian(lambda a, b: a * a, (a, b))
    np.testing.assert_array_equal(ja.numpy(), np.diag([2.0, 4.0]))
    assert jb.shape == (2, 1, 1) and not jb.numpy().any()


def test_hvp_is_hessian_times_vector():
    hessian = np.array([[2.0, 1.0], [1.0, 4.0]])
    h = tg.tensor(hessian)
    value, product = tg.hvp(lambda x: F.sum(x * F.matmul(h, x)) * 0.5, double([1.0, -1.0]), np.array([3.0, 5.0]))
    assert value.item() == 2.0
    np.testing.assert_allclose(product.numpy(), hessian @ [3.0, 5.0])


def test_hvp_of_a_linear_function_is_zero():
    _, product = tg.hvp(lambda x: F.sum(x * 2.0), double([1.0, 2.0]), np.ones(2))
    assert product.tolist() == [0.0, 0.0]


def test_hvp_names_a_vector_of_the_wrong_shape():
    with pytest.raises(ValueError, match=r"vector 0 has shape \(3,\), expected \(2,\)"):
        tg.hvp(lambda x: F.sum(x * x), double([1.0, 2.0]), np.ones(3))


def test_second_derivatives_through_several_outputs():
    x = double([1.0, 2.0, 3.0, 4.0])

    def f(t: tg.Tensor) -> tg.Tensor:
        a, b = F.split(t, 2)
        return F.sum(a * a * b)

    hessian = tg.jacobian(lambda t: tg.grad(f(t), t, create_graph=True), x).numpy()
    expected = np.diag([6.0, 8.0, 0.0, 0.0]) + np.diag([2.0, 4.0], 2) + np.diag([2.0, 4.0], -2)
    np.testing.assert_allclose(hessian, expected)


class TestGradcheck:
    def test_catches_a_rule_that_is_wrong_by_a_thousandth(self):
        class Wrong(tg.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x * x

            @staticmethod
            def backward(ctx, grad):
                (x,) = ctx.saved_tensors
                return grad * x * 2.002

        with pytest.raises(
            tg.GradcheckError,
            match=r"input 0 \(shape \(2, 2\)\) is wrong in 4 of 4 entries\n  entry \(0, 0\): .*ratio 1.001",
        ):
            tg.gradcheck(Wrong.apply, double([[1.0, 2.0], [3.0, 4.0]]))

    def test_catches_one_wrong_entry_among_a_thousand(self):
        class Wrong(tg.Function):
            @staticmethod
            def forward(ctx, x):
                return x * 2.0

            @staticmethod
            def backward(ctx, grad):
                factor = np.full(1000, 2.0)
                factor[617] = 2.01
                return grad * factor

        with pytest.raises(tg.GradcheckError, match=r"wrong in 1 of 1000 entries\n  entry \(617,\)"):
            tg.gradcheck(Wrong.apply, double(np.linspace(0, 1, 1000)))

    def test_catches_a_second_derivative_that_first_order_cannot_see(self):
        class ConstantAtSecondOrder(tg.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.twice = x * 2.0  # a constant to create_graph=True
                return x * x

            @staticmethod
            def backward(ctx, grad):
                return grad * ctx.twice

        x = double([1.0, 2.0])
        assert tg.gradcheck(ConstantAtSecondOrder.apply, x)
        with pytest.raises(tg.GradcheckError, match="second-order gradient of input 0"):
            tg.gradcheck(lambda t: ConstantAtSecondOrder.apply(t) * t, x, order=2)
        with pytest.raises(tg.GradcheckError, match="second-order gradient of input 0"):
            tg.gradcheck(ConstantAtSecondOrder.apply, x, order=2)  # whose gradient is not on the tape at all

    def test_small_derivatives_are_held_to_the_same_digits(self):
        class Wrong(tg.Function):
            @staticmethod
            def forward(ctx, x):
                return x * 1e-9

            @staticmethod
            def backward(ctx, grad):
                return grad * 3e-9

        with pytest.raises(tg.GradcheckError, match="ratio 3"):
            tg.gradcheck(Wrong.apply, double([1.0, 2.0]))

    def test_an_output_that_was_cut_off_counts(self):
        with pytest.raises(tg.GradcheckError, match="input 0"):
            tg.gradcheck(lambda x: (x * 2.0, x.detach() * 3.0), double([1.0, 2.0]))

    def test_never_passes_silently(self):
        with pytest.raises(tg.GradcheckError, match="no input requires a gradient"):
            tg.gradcheck(lambda x: x * 2.0, tg.tensor(np.ones(2)))
        with pytest.raises(tg.GradcheckError, match="no output depends"):
            tg.gradcheck(lambda x: x.detach() * 2.0, double([1.0]))
        with pytest.raises(tg.GradcheckError, match="every derivative is zero"):
            tg.gradcheck(lambda x: x * 0.0, double([1.0]))
        with pytest.raises(TypeError, match="input 0 is float32; only float64"):
            tg.gradcheck(lambda x: x * 2.0, tg.tensor([1.0], requires_grad=True))

    def test_several_inputs_and_outputs(self):
        assert tg.gradcheck(lambda a, b: (a * b, a / b), [double([1.0, 2.0]), double([[3.0], [4.0]])], order=2)


class TestAnomaly:
    def test_names_operation_shapes_index_and_line(self):
        x = double([[1.0, 1.0], [1.0, 0.0]])
        with tg.detect_anomaly(), pytest.raises(tg.AnomalyError) as caught, np.errstate(all="ignore"):
            zero = x * 0.0
            _ = zero / zero
        message = str(caught.value)
        assert "Div forward: result (float64 (2, 2)) is nan at index (0, 0)" in message
        assert "float64 (2, 2), float64 (2, 2)" in message
        assert "test_derivatives.py" in message and "_ = zero / zero" in message

    def test_names_the_forward_line_of_a_bad_gradient(self):
        x = double([1.0, 0.0])
        with tg.detect_anomaly(inf=True), np.errstate(all="ignore"):
            y = F.sqrt(x)
            with pytest.raises(
                tg.AnomalyError,
                match=r"Sqrt backward: the gradient of operand 0 .* is inf at index \(1,\).*y = F.sqrt\(x\)",
            ):
                F.sum(y).backward()

    def test_says_when_the_operand_was_bad_already(self):
        with tg.detect_anomaly(), pytest.raises(tg.AnomalyError, match="operand 0 was not finite before"):
            double([np.nan]) * 2.0

    def test_infinities_are_only_looked_for_on_request(self):
        with tg.detect_anomaly():
            assert (double([np.inf]) + 1.0).item() == np.inf
