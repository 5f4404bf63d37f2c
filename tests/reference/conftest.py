"""What the tests of reference/ share: one comparison of a hand derivation with all its oracles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from reference import complex_step, finite_differences
from reference.probing import digits_agreed

torch.set_num_threads(1)


def _torch_gradients(function: Callable[..., Any], args: Any, g: Any) -> tuple[Any, tuple[np.ndarray, ...]]:
    tensors = [torch.tensor(a) if isinstance(a, np.ndarray) else a for a in args]
    floating = [t for t in tensors if isinstance(t, torch.Tensor) and t.is_floating_point()]
    for tensor in floating:
        tensor.requires_grad_()
    value = function(*tensors)
    if isinstance(value, tuple):
        pairs = [(v, torch.tensor(w)) for v, w in zip(value, g, strict=True) if w is not None]
        torch.autograd.backward([v for v, _ in pairs], [w for _, w in pairs])
        plain: Any = tuple(v.detach().numpy() for v in value)
    else:
        value.backward(torch.tensor(g))
        plain = value.detach().numpy()
    return plain, tuple(np.zeros(t.shape) if t.grad is None else t.grad.numpy() for t in floating)


@pytest.fixture(scope="session")
def agree() -> Callable[..., None]:
    """Compares hand(g, *args) with finite differences, the complex step and PyTorch: as many as are given."""

    def compare(
        hand: Callable[..., Any],
        args: tuple[Any, ...],
        value: Callable[..., Any] | None = None,
        analytic: Callable[..., Any] | None = None,
        torch_value: Callable[..., Any] | None = None,
        g: Any = None,
        digits: float = 9.0,
        seed: int = 0,
    ) -> None:
        assert value or analytic, "nothing to compare with"
        rng = np.random.default_rng(seed)
        before = [np.copy(a) if isinstance(a, np.ndarray) else a for a in args]
        out = (value or analytic)(*args)  # type: ignore[misc]
        if g is None:
            g = tuple(rng.standard_normal(o.shape) for o in out) if isinstance(out, tuple) else None
            g = np.asarray(rng.standard_normal(np.shape(out))) if g is None else g
        ours = hand(g, *args)
        assert isinstance(ours, tuple)
        floating = [a for a in args if isinstance(a, np.ndarray) and a.dtype.kind == "f"]
        assert [a.shape for a in ours] == [a.shape for a in floating]
        assert all(a.dtype == np.float64 for a in ours)
        for old, new in zip(before, args, strict=True):
            assert not isinstance(old, np.ndarray) or np.array_equal(old, new), "an argument was changed"
        oracles: dict[str, tuple[Any, float]] = {}
        if value:
            oracles["finite differences"] = finite_differences.gradient(value, args, g), digits
        if analytic:
            oracles["complex step"] = complex_step.gradient(analytic, args, g), 12.0
            for real, other in zip(_tuple(out), _tuple(analytic(*args)), strict=True):
                np.testing.assert_allclose(real, other, rtol=1e-12, atol=1e-300)
        if torch_value:
            plain, gradients = _torch_gradients(torch_value, args, g)
            oracles["PyTorch"] = gradients, 12.0
            for real, other in zip(_tuple(out), _tuple(plain), strict=True):
                np.testing.assert_allclose(real, other, rtol=1e-11, atol=1e-14)
        for name, (expected, least) in oracles.items():
            for position, (a, b) in enumerate(zip(ours, expected, strict=True)):
                if np.abs(b).max(initial=0) > 1e-11 or np.abs(a).max(initial=0) > 1e-11:
                    assert digits_agreed(a, b) >= least, f"gradient {position} against {name}: {a} {b}"

    return compare


def _tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
