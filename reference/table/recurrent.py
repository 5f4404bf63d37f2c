"""Records of recurrent layers on whole sequences, and of their cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reference import recurrent as by_hand
from reference.table.record import Call, Failure, Record, call

# T, B, I, H; whether there are biases, whether an initial state; settings
SEQUENCES: tuple[tuple[tuple[int, int, int, int], bool, bool, dict[str, Any]], ...] = (
    ((3, 2, 4, 5), True, True, {}),
    ((4, 3, 2, 3), True, True, {"lengths": np.array([2, 4, 1])}),
    ((3, 4, 2, 3), True, False, {"lengths": np.array([1, 3, 2, 3]), "reverse": True}),
    ((4, 2, 3, 2), False, True, {"reverse": True}),
    ((3, 2, 1, 4), False, True, {"lengths": np.array([0, 2])}),
    ((2, 0, 3, 4), True, True, {}),
)
STEPS: tuple[tuple[tuple[int, ...], int, bool], ...] = (((2, 4), 3, True), ((3, 2), 5, False), ((4,), 2, True))


def _weights(rng: np.random.Generator, gates: int, features: int, size: int, biased: bool) -> list[Any]:
    rows = gates * size
    biases = [0.5 * rng.normal(size=rows) if biased else None for _ in range(2)]
    return [rng.normal(size=(rows, features)), rng.normal(size=(rows, size)) / np.sqrt(size), *biases]


def _states(rng: np.random.Generator, shape: tuple[int, ...], pair: bool) -> Any:
    return (rng.normal(size=shape), rng.normal(size=shape)) if pair else rng.normal(size=shape)


def _sequences(gates: int, **further: Any) -> Callable[[np.random.Generator], list[Call]]:
    """Calls of a layer; the second has ``further`` settings, too."""

    def draw(rng: np.random.Generator) -> list[Call]:
        calls = []
        for number, ((steps, batch, features, size), biased, started, settings) in enumerate(SEQUENCES):
            x, weights = rng.normal(size=(steps, batch, features)), _weights(rng, gates, features, size, biased)
            state = _states(rng, (batch, size), gates == 4) if started else None
            calls.append(call(x, state, *weights, **settings, **(further if number == 1 else {})))
        return calls

    return draw


def _steps(gates: int, **further: Any) -> Callable[[np.random.Generator], list[Call]]:
    """Calls of a cell; the second has ``further`` settings, too."""

    def draw(rng: np.random.Generator) -> list[Call]:
        calls = []
        for number, (shape, size, biased) in enumerate(STEPS):
            weights = _weights(rng, gates, shape[-1], size, biased)
            state = _states(rng, (*shape[:-1], size), gates == 4)
            calls.append(call(rng.normal(size=shape), state, *weights, **(further if number == 1 else {})))
        return calls

    return draw


def _torch(kind: str) -> Callable[..., Any]:
    """PyTorch's layer, one sequence after another, as it has no reversed direction alone and no empty sequences."""

    def of_all(
        torch: Any, x: Any, state: Any, *weights: Any, lengths: Any = None, reverse: bool = False,
        nonlinearity: str = "tanh",
    ) -> Any:  # fmt: skip
        each = [len(x)] * x.shape[1] if lengths is None else list(map(int, lengths))
        if not all(each) or not each:
            return NotImplemented
        layer = getattr(torch._VF, f"rnn_{nonlinearity}" if kind == "rnn" else kind)
        given = [weight for weight in weights if weight is not None]
        if state is None:
            zeros = x.new_zeros((x.shape[1], weights[1].shape[1]))
            state = (zeros, zeros) if kind == "lstm" else zeros
        states = state if kind == "lstm" else (state,)
        outputs = []
        for b, length in enumerate(each):
            rows = x[:length, b : b + 1]
            start = tuple(each_state[None, b : b + 1].contiguous() for each_state in states)
            y, *finals = layer(
                rows.flip(0) if reverse else rows, start if kind == "lstm" else start[0], given, len(given) == 4, 1,
                0.0, False, False, False,
            )  # fmt: skip
            y = torch.nn.functional.pad(y.flip(0) if reverse else y, (0, 0, 0, 0, 0, len(x) - length))
            outputs.append((y, *(final[0] for final in finals)))
        y, *finals = zip(*outputs, strict=True)
        return torch.cat(y, 1), *map(torch.cat, finals)

    return of_all


def _torch_cell(kind: str) -> Callable[..., Any]:
    def of_all(torch: Any, x: Any, state: Any, *weights: Any, nonlinearity: str = "tanh") -> Any:
        cell = getattr(torch, f"rnn_{nonlinearity}_cell" if kind == "rnn" else f"{kind}_cell")
        if x.ndim == 2:
            return cell(x, state, *weights)
        one = tuple(s[None] for s in state) if kind == "lstm" else state[None]
        found = cell(x[None], one, *weights)
        return tuple(s[0] for s in found) if kind == "lstm" else found[0]

    return of_all


def _ones(gates: int, shape: tuple[int, ...] = (3, 2, 4), size: int = 5, state: Any = None, **changed: Any) -> Call:
    """A call with weights of ones; ``changed`` are the shapes of those that differ, or settings."""
    rows = gates * size
    shapes = {"weight_ih": (rows, 4), "weight_hh": (rows, size), "bias_ih": (rows,), "bias_hh": (rows,)}
    weights = [np.ones(changed.pop(what, usual)) for what, usual in shapes.items()]
    return call(np.ones(shape), state, *weights, **changed)


def _failures(gates: int) -> tuple[Failure, ...]:
    """What must fail for every layer."""
    rows = 5 * gates
    pair = gates == 4
    wrong = (np.ones((2, 5)), np.ones((2, 4))) if pair else np.ones((2, 4))
    integral = (np.ones((2, 5), np.int64),) * 2 if pair else np.ones((2, 5), np.int64)
    return (
        Failure(_ones(gates, (3, 4)), ValueError, "expected an input (T, B, features), got (3, 4)"),
        Failure(_ones(gates, (3, 2, 6)), ValueError, "expected 4 features on the last axis"),
        Failure(_ones(gates, weight_hh=(rows, 4)), ValueError, "expected weight_hh ("),
        Failure(_ones(gates, weight_ih=(rows + 1, 4)), ValueError, f"expected weight_ih ({rows}, features)"),
        Failure(_ones(gates, bias_ih=(4,)), ValueError, f"expected bias_ih ({rows},), got (4,)"),
        Failure(_ones(gates, bias_hh=(4,)), ValueError, f"expected bias_hh ({rows},), got (4,)"),
        Failure(_ones(gates, state=wrong), ValueError, "of shape (2, 5), got (2, 4)"),
        Failure(_ones(gates, state=integral), TypeError, "expected a floating Tensor or array, got int64"),
        Failure(_ones(gates, lengths=np.array([1, 4])), ValueError, "from 0 to 3, but lengths[1] is 4"),
        Failure(_ones(gates, lengths=np.array([-1, 3])), ValueError, "from 0 to 3, but lengths[0] is -1"),
        Failure(_ones(gates, lengths=np.array([1, 2, 3])), ValueError, "expected lengths (2,)"),
        Failure(_ones(gates, lengths=[1.0, 2.0]), TypeError, "lengths must be integers, got float64"),
    )


def _cell_failures(gates: int) -> tuple[Failure, ...]:
    """What must fail for every cell."""
    wrong = np.ones((3, 5))
    return (
        Failure(_ones(gates, (2, 6), state=wrong), ValueError, "expected 4 features on the last axis"),
        Failure(_ones(gates, (2, 4), state=(wrong, wrong) if gates == 4 else wrong), ValueError, "(2, 5), got (3, 5)"),
        Failure(_ones(gates, (2, 4), state=wrong, weight_hh=(5 * gates,)), ValueError, "expected weight_hh ("),
    )


NO_PAIR = Failure(_ones(4, state=np.ones((3, 2, 5))), TypeError, "expected a pair of states (h, c), got ")
NOT_KNOWN = "expected nonlinearity 'tanh' or 'relu', got 'sin'"

RECORDS = [
    Record(
        "rnn",
        samples=_sequences(1, nonlinearity="relu"),
        numpy=by_hand.rnn,
        hand=by_hand.hand_rnn,
        torch=_torch("rnn"),
        failures=(*_failures(1), Failure(_ones(1, nonlinearity="sin"), ValueError, NOT_KNOWN)),
    ),
    Record(
        "lstm",
        samples=_sequences(4),
        numpy=by_hand.lstm,
        hand=by_hand.hand_lstm,
        torch=_torch("lstm"),
        failures=(*_failures(4), NO_PAIR),
    ),
    Record(
        "gru",
        samples=_sequences(3),
        numpy=by_hand.gru,
        hand=by_hand.hand_gru,
        torch=_torch("gru"),
        failures=_failures(3),
    ),
    Record(
        "rnn_cell",
        samples=_steps(1, nonlinearity="relu"),
        numpy=by_hand.rnn_cell,
        hand=by_hand.hand_rnn_cell,
        torch=_torch_cell("rnn"),
        failures=_cell_failures(1),
    ),
    Record(
        "lstm_cell",
        samples=_steps(4),
        numpy=by_hand.lstm_cell,
        hand=by_hand.hand_lstm_cell,
        torch=_torch_cell("lstm"),
        failures=(*_cell_failures(4), Failure(_ones(4, (2, 4), state=np.ones((2, 2, 5))), TypeError, "a pair of")),
    ),
    Record(
        "gru_cell",
        samples=_steps(3),
        numpy=by_hand.gru_cell,
        hand=by_hand.hand_gru_cell,
        torch=_torch_cell("gru"),
        failures=_cell_failures(3),
    ),
]
