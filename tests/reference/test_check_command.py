"""``python -m reference check``: right gradients pass, wrong ones fail with what is wrong, nothing passes silently."""

from __future__ import annotations

import itertools
import textwrap

import numpy as np
import pytest

from reference.check import main
from reference.hints import value_hint
from reference.verdict import Refusal, examine

NUMBERS = itertools.count()
MSE = """
    import numpy as np
    def mse(x, w, b, y):
        return np.mean((x @ w + b - y) ** 2)
"""
MSE_SHAPES = ["--shape", "5,3", "--shape", "3,4", "--shape", "4", "--shape", "5,4"]
RIGHT = "r = 2 * (x @ w + b - y) / y.size"


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    """Writes a module, runs the command on one of its functions; returns the exit status and what was printed."""
    monkeypatch.syspath_prepend(tmp_path)

    def run(source, function, *options):
        name = f"handwritten{next(NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        status = main([f"{name}:{function}", *options])
        printed = capsys.readouterr()
        if status == 2:
            assert printed.err.count("\n") == 1 and not printed.out, printed
            assert printed.err.startswith("check: ")
        else:
            assert not printed.err
        return status, printed.out + printed.err

    return run


def mse_with(body):
    return textwrap.dedent(MSE) + "def mse_grad(x, w, b, y):\n" + textwrap.indent(textwrap.dedent(body), "    ")


def test_right_gradient_passes_to_many_digits(check) -> None:
    status, out = check(mse_with(f"{RIGHT}\nreturn r @ w.T, x.T @ r, r.sum(0), -r"), "mse", *MSE_SHAPES)
    assert status == 0
    assert out.count("PASS") == 4 and "FAIL" not in out
    assert "PASS  w (3, 4): finite differences 1" in out and "complex step 15." in out
    assert "4 of 4 gradients passed" in out


@pytest.mark.parametrize(
    "body, words",
    [
        (f"{RIGHT} * y.size\nreturn r @ w.T, x.T @ r, r.sum(0), -r", "20 is the number of entries of y: summed where"),
        (f"{RIGHT} / 5\nreturn r @ w.T, x.T @ r, r.sum(0), -r", "1/5, and 5 is the size of axis 0 of x: mean where"),
        (f"{RIGHT}\nreturn r @ w.T, x.T @ r, r.sum(0), r", "every entry is -1 times the right one: sign flipped?"),
        (
            f"{RIGHT} * -5\nreturn r @ w.T, x.T @ r, r.sum(0), -r",
            "sign flipped, and more: 5 is the size of axis 0 of x",
        ),
        (f"{RIGHT} / 2\nreturn r @ w.T, x.T @ r, r.sum(0), -r", "the 2 of a square, or a half"),
        (f"{RIGHT} * 1.001\nreturn r @ w.T, x.T @ r, r.sum(0), -r", "every entry is 1.001 times the right one"),
        (f"{RIGHT}\nreturn r @ w.T, (x.T @ r).T, r.sum(0), -r", r"has shape (4, 3); hint: transposed?"),
        (f"{RIGHT}\nreturn r @ w.T, x.T @ r, r, -r", "has shape (5, 4); hint: the argument was broadcast: sum"),
        (f"{RIGHT}\nreturn r @ w.T, (x.T @ r).ravel(), r.sum(0), -r", "same number of entries: reshaped?"),
        (f"{RIGHT}\nreturn r @ w.T, 0 * w, r.sum(0), -r", "yours is zero everywhere: never assigned?"),
        (f"{RIGHT}\nreturn r @ w.T, abs(x.T @ r), r.sum(0), -r", "entries have the wrong sign, their size is right"),
        (f"{RIGHT}\nreturn r @ w.T, x.T @ r, None, -r", "the gradient is None, expected an array"),
        (f"{RIGHT}\nreturn r @ w.T, x.T @ r, r.sum(0), -r.astype(np.float32)", "float64 argument is float32"),
        (f"{RIGHT}\nreturn r @ w.T, x.T @ r, r.sum(0) / 0, -r", "the gradient is not finite, first at [0]"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_wrong_gradients_fail_with_a_hint(check, body, words) -> None:
    status, out = check(mse_with(body), "mse", *MSE_SHAPES)
    assert status == 1
    assert words in out
    assert "FAIL" in out


def test_one_wrong_entry_is_named(check) -> None:
    body = f"{RIGHT}\nw_bar = x.T @ r\nw_bar[1, 2] *= 1.001\nreturn r @ w.T, w_bar, r.sum(0), -r"
    status, out = check(mse_with(body), "mse", *MSE_SHAPES)
    assert status == 1
    assert "FAIL  w" in out and out.count("PASS") == 3
    assert "1 of 12 entries differ" in out and "[1, 2]: yours" in out and "ratio 1.001" in out
    assert "hint" not in out


VJP = """
    import numpy as np
    def product(a, b):
        return a @ b
    def product_vjp(g, a, b):
        return {0}
"""


@pytest.mark.parametrize(
    "returned, status, words",
    [
        ("g @ b.T, a.T @ g", 0, "2 of 2 gradients passed"),
        ("a.T @ g, g @ b.T", 1, "this is the gradient of b: order exchanged?"),
        ("g @ b.T, (a.T @ g).T", 1, "hint: transposed?"),
        ("np.ones((3, 3)) @ b.T, a.T @ g", 1, "yours is the same for every cotangent g: not multiplied by g?"),
    ],
)
def test_vjp_form(check, returned, status, words) -> None:
    found, out = check(VJP.format(returned), "product", "--shape", "3,3", "--shape", "3,3")
    assert found == status and words in out


def test_integer_arguments_and_inputs_of_the_module(check) -> None:
    source = """
        import numpy as np
        def entropy(z, labels):
            shifted = z - np.max(z.real, axis=1, keepdims=True)
            return np.mean(np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(z)), labels])
        def slopes(z, labels):
            p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
            p[np.arange(len(z)), labels] -= 1
            return {0}
        {1} = {2}
    """
    data = "(np.random.default_rng(0).standard_normal((4, 3)), np.array([0, 2, 1, 1]))"
    for returned in ("p / len(z)", "(p / len(z), None)"):
        for name in ("entropy_inputs", "check_inputs", "inputs"):
            for given in (data, f"lambda: {data}"):
                status, out = check(source.format(returned, name, given), "entropy", "--grad", "slopes")
                assert status == 0 and "slopes: PASS  z (4, 3)" in out and "complex step 15" in out
    status, out = check(source.format("p", "inputs", data), "entropy", "--grad", "slopes")
    assert status == 1 and "4 is the size of axis 0 of z: summed where" in out


def test_both_forms_are_checked_where_both_exist(check) -> None:
    source = """
        def square(x):
            return (x * x).sum()
        def square_grad(x):
            return 2 * x
        def square_vjp(g, x):
            return x * g
    """
    status, out = check(source, "square", "--shape", "3")
    assert status == 1
    assert "square_grad: PASS" in out and "square_vjp: FAIL" in out and "1 of 2 gradients passed" in out


def test_a_number_and_a_function_that_refuses_complex_numbers(check) -> None:
    source = """
        import math
        def sine(x):
            return math.sin(x)
        def sine_grad(x):
            return math.cos(x)
    """
    status, out = check(source, "sine", "--shape", "()", "--seed", "3")
    assert status == 0 and "PASS  x ()" in out and "complex step not applicable" in out


def test_a_function_that_is_not_analytic_falls_back_to_differences(check) -> None:
    source = """
        import numpy as np
        def distance(x):
            return x * np.abs(x)
        def distance_vjp(g, x):
            return g * 2 * np.abs(x)
    """
    status, out = check(source, "distance", "--shape", "9")
    assert status == 0 and "complex step not applicable" in out


def test_nothing_passes_silently(check) -> None:
    relu = """
        import numpy as np
        def relu(x):
            return np.maximum(x, 0.0)
        def relu_vjp(g, x):
            return g * (x > 0)
        def inputs():
            return (np.array({0}),)
    """
    assert check(relu.format([1.0, -2.0]), "relu")[0] == 0
    status, out = check(relu.format([-1.0, -2.0]), "relu")
    assert status == 1 and "zero everywhere, which tests nothing" in out
    status, out = check(relu.format([1.0, 1e-5]), "relu")
    assert status == 1 and "uncertain at 1 of 2 entries, first [1]: a kink" in out


LARGE = """
    import numpy as np
    def bowl(x, a):
        return 0.5 * np.sum(a * x * x)
    def bowl_grad(x, a):
        gradient = a * x
        {0}
        return gradient, 0.5 * x * x
"""


@pytest.mark.parametrize(
    "change, status, words",
    [
        ("pass", 0, "2 of 2 gradients passed"),
        ("gradient[::7] *= 1.001", 1, "entries differ"),
        ("gradient[1234] *= 1.1", 1, "an entry that was not drawn is wrong"),
        ("gradient *= 1.001", 1, "every entry is 1.001 times the right one"),
    ],
)
def test_large_arguments_by_sample_and_direction(check, change, status, words) -> None:
    found, out = check(LARGE.format(change), "bowl", "--shape", "3000", "--shape", "3000", "--entries", "20")
    assert found == status and words in out


FINE = "def f(x):\n    return (x * x).sum()\ndef f_grad(x):\n    return 2 * x\n"
INPUTS = "import numpy as np\ndef inputs():\n    return "


@pytest.mark.parametrize(
    "source, options, words",
    [
        (FINE, ["--shape", "a"], "expected positive sizes such as 3,4"),
        (FINE, ["--shape", "0"], "expected positive sizes"),
        (FINE, ["--sahpe", "3"], "unrecognized arguments: --sahpe"),
        (FINE, ["--shape", "3", "--rtol", "0.1"], "--rtol above 0 and below 1e-3"),
        (FINE, ["--shape", "3", "--seed", "-1"], "--seed at least 0"),
        (FINE, [], "no inputs: give a --shape"),
        (FINE, ["--shape", "3", "--grad", "g"], "has no function 'g'"),
        (FINE, ["--shape", "3", "--vjp", "nowhere_at_all:g"], "cannot import 'nowhere_at_all': ModuleNotFoundError"),
        (FINE, ["--shape", "3", "--grad", "f_grad", "--vjp", "f_grad"], "not allowed with"),
        (FINE, ["--shape", "3", "--shape", "3"], "the function raised TypeError"),
        ("def f(x): return x.sum()\n", ["--shape", "3"], "neither f_grad nor f_vjp"),
        (
            "def f(x): return x\ndef f_grad(x): return x\n",
            ["--shape", "3"],
            "has shape (3,): a gradient needs one number",
        ),
        ("def f(x): return x.sum()\ndef f_grad(x): return x, x\n", ["--shape", "3"], "2 values for 1 arrays"),
        (
            "def f(x): return x.sum()\ndef f_grad(x): return x.y\n",
            ["--shape", "3"],
            "the gradient raised AttributeError",
        ),
        (
            "def f(x):\n    x *= 2\n    return x.sum()\ndef f_grad(x): return x\n",
            ["--shape", "3"],
            "function changes its",
        ),
        (
            "def f(x): return x.sum()\ndef f_grad(x):\n    x[:] = 1\n    return x\n",
            ["--shape", "3"],
            "gradient changes",
        ),
        ("def f(x): return x.sum().astype('f4')\ndef f_grad(x): return x\n", ["--shape", "3"], "got float32"),
        ("def f(x): return 'one'\ndef f_grad(x): return x\n", ["--shape", "3"], "must return float64"),
        ("def f(x): return x.sum() / 0\ndef f_grad(x): return x\n", ["--shape", "3"], "value is not finite"),
        (FINE + INPUTS + "(np.ones(3, np.float32),)\n", [], "argument 0 must be float64, got float32"),
        (FINE + INPUTS + "(np.arange(3),)\n", [], "none of the arguments is an array of float64"),
        (FINE + INPUTS + "(np.array([1.0, np.nan]),)\n", [], "empty or has an entry that is not finite"),
        (FINE + INPUTS + "(np.zeros((0, 2)),)\n", [], "empty or has an entry that is not finite"),
        (FINE + INPUTS + "1 / 0\n", [], "inputs() raised ZeroDivisionError"),
        ("def f(x: int\n", ["--shape", "3"], "SyntaxError"),
        (
            "import numpy as np\ndef f(x): return (x * np.random.random()).sum()\ndef f_grad(x): return x\n",
            ["--shape", "3"],
            "two calls of the function differ",
        ),
    ],
)
def test_what_cannot_be_checked_is_refused_in_one_line(check, source, options, words) -> None:
    status, out = check(source, "f", *options)
    assert status == 2
    assert words in out


@pytest.mark.parametrize("target, words", [("f", "expected module:function"), ("json:nothing", "has no function")])
def test_bad_targets(capsys, target, words) -> None:
    assert main([target, "--shape", "3"]) == 2
    assert words in capsys.readouterr().err


def test_help_tells_the_protocol(capsys) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    assert "function_vjp(g, *args)" in capsys.readouterr().out


@pytest.mark.parametrize("factor", [1.001, 0.999, -1.0, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_the_checker_catches_a_thousandth_whatever_the_seed(factor, seed) -> None:
    draw = np.random.default_rng(seed)
    args = draw.standard_normal((2, 3)), draw.standard_normal((3, 4))
    verdicts = examine(
        lambda a, b: np.tanh(a @ b),
        lambda g, a, b: ((g * (1 - np.tanh(a @ b) ** 2)) @ b.T, factor * a.T @ (g * (1 - np.tanh(a @ b) ** 2))),
        args,
        True,
        ["a", "b"],
        seed,
    )
    assert [verdict.passed for verdict in verdicts] == [True, factor == 1.0]


def test_a_function_that_fails_nearby_is_refused() -> None:
    def only_here(x):
        if x[0] != 1.0:
            raise RuntimeError("not here")
        return x.sum()

    with pytest.raises(Refusal, match="raised near the inputs: RuntimeError: not here"):
        examine(only_here, lambda x: x, (np.ones(1),), False, ["x"])


def test_no_hint_for_noise() -> None:
    draw = np.random.default_rng(0)
    assert value_hint(draw.standard_normal((3, 4)), draw.standard_normal((3, 4)), {"x": (3, 4)}) is None
