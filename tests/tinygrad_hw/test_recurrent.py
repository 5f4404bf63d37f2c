"""Recurrent operations and layers: against PyTorch, the cell step by step, and the derivation by hand."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_hw as tg
from reference import recurrent as by_hand
from tinygrad_hw import functional as F
from tinygrad_hw import nn
from tinygrad_hw.random import Stream

KINDS = {"RNN": 1, "LSTM": 4, "GRU": 3}


def close(actual, expected, atol=1e-11):
    actual = actual.detach() if isinstance(actual, tg.Tensor) else actual
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), rtol=1e-9, atol=atol)


def as_list(state):
    return list(state) if isinstance(state, tuple) else [state]


def as_state(kind, states):
    return tuple(states) if kind == "LSTM" else states[0]


@st.composite
def batches(draw, least=0):
    """T, B, I, H, lengths or None."""
    steps, batch = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    features, size = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    lengths = draw(st.none() | st.lists(st.integers(least, steps), min_size=batch, max_size=batch))
    return steps, batch, features, size, lengths


def poisoned(x, lengths, value=np.nan):
    """A copy of (T, B, ...) with ``value`` beyond the lengths."""
    x = x.copy()
    for b, length in enumerate(lengths or ()):
        x[length:, b] = value
    return x


# ------------------------------------------------------------------------------------------------------------- oracles


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(
    batch=batches(least=1), layers=st.integers(1, 3), both=st.booleans(), bias=st.booleans(), first=st.booleans(),
    started=st.booleans(), relu=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_layers_agree_with_pytorch(kind, batch, layers, both, bias, first, started, relu, seed):
    torch = pytest.importorskip("torch")
    steps, count, features, size, lengths = batch
    rng, further = np.random.default_rng(seed), {"nonlinearity": "relu"} if relu and kind == "RNN" else {}
    arguments = {"num_layers": layers, "bias": bias, "batch_first": first, "bidirectional": both, **further}
    theirs = getattr(torch.nn, kind)(features, size, **arguments).double()
    ours = getattr(nn, kind)(features, size, **arguments, dtype=np.float64)
    ours.load_state_dict(theirs.state_dict())
    x = rng.normal(size=(steps, count, features))
    states = [rng.normal(size=(layers * (1 + both), count, size)) for _ in range(2 if kind == "LSTM" else 1)]

    tx = torch.tensor(x, requires_grad=True)
    given_states = [torch.tensor(s, requires_grad=True) for s in states]
    fed = tx.transpose(0, 1) if first else tx
    if lengths is not None:
        fed = torch.nn.utils.rnn.pack_padded_sequence(fed, torch.tensor(lengths), first, enforce_sorted=False)
    expected, ends = theirs(fed, as_state(kind, given_states) if started else None)
    if lengths is not None:
        expected, _ = torch.nn.utils.rnn.pad_packed_sequence(expected, first, total_length=steps)
    outputs = [expected, *as_list(ends)]
    weights = [rng.normal(size=tuple(o.shape)) for o in outputs]
    torch.autograd.backward(outputs, [torch.tensor(w) for w in weights])

    mx = tg.Tensor(poisoned(x, lengths), requires_grad=True)
    mine_states = [tg.Tensor(s, requires_grad=True) for s in states]
    output, mine = ours(
        F.transpose(mx, 0, 1) if first else mx, as_state(kind, mine_states) if started else None, lengths
    )
    found = [output, *as_list(mine)]
    beyond = np.array([[lengths is not None and t >= lengths[b] for b in range(count)] for t in range(steps)])
    weights[0][beyond.T if first else beyond] = np.nan  # nor may a gradient beyond the length count
    tg.backward(found, [tg.Tensor(w) for w in weights])
    for a, e in zip(found, outputs, strict=True):
        close(a, e.detach())
    close(mx.grad, tx.grad)
    for a, e in zip(mine_states, given_states, strict=True):
        assert (a.grad is None) == (not started)
        if started:
            close(a.grad, e.grad)
    for name, parameter in ours.named_parameters():
        close(parameter.grad, dict(theirs.named_parameters())[name].grad)


def draw_operation(kind, batch, rng):
    steps, count, features, size, _ = batch
    rows = KINDS[kind] * size
    x = rng.normal(size=(steps, count, features))
    states = [rng.normal(size=(count, size)) for _ in range(2 if kind == "LSTM" else 1)]
    return x, states, [rng.normal(size=shape) for shape in ((rows, features), (rows, size), (rows,), (rows,))]


@pytest.mark.parametrize("kind", KINDS)
@given(batch=batches(), reverse=st.booleans(), seed=st.integers(0, 99))
def test_a_layer_is_its_cell_step_by_step_and_the_derivation_by_hand(kind, batch, reverse, seed):
    rng, lengths = np.random.default_rng(seed), batch[-1]
    x, states, weights = draw_operation(kind, batch, rng)
    operation, cell = getattr(F, kind.lower()), getattr(F, f"{kind.lower()}_cell")

    def composed(x, states, weights):
        rows, ends = [], []
        for b in range(batch[1]):
            length = batch[0] if lengths is None else lengths[b]
            now, made = [s[b] for s in states], {}
            for t in sorted(range(length), reverse=reverse):
                now = as_list(cell(x[t, b], as_state(kind, now), *weights))
                made[t] = now[0]
            rows.append(F.stack([made.get(t, np.zeros(batch[3])) for t in range(batch[0])]))
            ends.append(now)
        return [F.stack(rows, 1), *(F.stack(each) for each in zip(*ends, strict=True))]

    def fused(x, states, weights):
        return list(operation(x, as_state(kind, states), *weights, lengths=lengths, reverse=reverse))

    results, cotangents = [], None
    for function, data in ((composed, x), (fused, poisoned(x, lengths))):
        leaves = [tg.Tensor(a, requires_grad=True) for a in (data, *states, *weights)]
        outputs = function(leaves[0], leaves[1 : 1 + len(states)], leaves[1 + len(states) :])
        if cotangents is None:
            cotangents = [rng.normal(size=o.shape) for o in outputs]
        pairs = [(o, tg.Tensor(c)) for o, c in zip(outputs, cotangents, strict=True) if isinstance(o, tg.Tensor)]
        pairs = [(o, c) for o, c in pairs if o.requires_grad]
        tg.backward([o for o, _ in pairs], [c for _, c in pairs])
        gradients = [np.zeros(leaf.shape) if leaf.grad is None else leaf.grad.numpy() for leaf in leaves]
        results.append(([o.detach() if isinstance(o, tg.Tensor) else o for o in outputs], gradients))
    hand = getattr(by_hand, f"hand_{kind.lower()}")
    gradients = hand(tuple(cotangents), x, as_state(kind, states), *weights, lengths=lengths, reverse=reverse)
    for a, e in zip(results[1][0], results[0][0], strict=True):
        close(a, e)
    for a, e, by in zip(results[1][1], results[0][1], gradients, strict=True):
        close(a, e)
        close(a, by)


@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives_are_right_where_the_state_depends_on_the_input(kind):
    rng = np.random.default_rng(3)
    x, states, weights = draw_operation(kind, (3, 2, 2, 2, None), rng)
    operation, cell = getattr(F, kind.lower()), getattr(F, f"{kind.lower()}_cell")
    found = []
    for fused in (True, False):
        leaf = tg.Tensor(x, requires_grad=True)
        now = [leaf[0] * s for s in states]
        if fused:
            output = operation(leaf, as_state(kind, now), *weights)[0]
        else:
            made = []
            for t in range(3):
                now = as_list(cell(leaf[t], as_state(kind, now), *weights))
                made.append(now[0])
            output = F.stack(made)
        first = tg.grad((output * output).sum(), leaf, create_graph=True)
        found.append((first.detach(), tg.grad((first * first).sum(), leaf)))
    for a, e in zip(*found, strict=True):
        close(a, e)


# ---------------------------------------------------------------------------------------------------------- whole nets


def test_padding_may_hold_anything():
    rng, lengths = np.random.default_rng(0), [3, 5, 1, 0]
    layer = nn.LSTM(4, 3, 2, bidirectional=True, stream=Stream(0, "init"))
    x = rng.normal(size=(5, 4, 4)).astype(np.float32)
    results = []
    for value in (0.0, np.nan, np.inf, -1e30):
        leaf = tg.Tensor(poisoned(x, lengths, value), requires_grad=True)
        layer.zero_grad()
        output, (h, c) = layer(leaf, lengths=np.array(lengths))
        (output.sum() + (h * c).sum()).backward()
        results.append([output.detach().numpy(), leaf.grad.numpy()])
        results[-1] += [p.grad.numpy() for p in layer.parameters()]
        for b, length in enumerate(lengths):
            assert not output.detach().numpy()[length:, b].any() and not leaf.grad.numpy()[length:, b].any()
    for other in results[1:]:
        for a, e in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(a, e)


@pytest.mark.parametrize("kind", KINDS)
def test_state_dict_has_pytorchs_keys_and_order(kind):
    torch = pytest.importorskip("torch")
    for settings_ in ({}, {"num_layers": 2, "bidirectional": True}, {"bias": False}):
        theirs = getattr(torch.nn, kind)(3, 2, **settings_).state_dict()
        ours = getattr(nn, kind)(3, 2, **settings_).state_dict()
        assert [(k, tuple(v.shape)) for k, v in theirs.items()] == [(k, v.shape) for k, v in ours.items()]
    theirs = getattr(torch.nn, f"{kind}Cell")(3, 2).state_dict()
    assert list(theirs) == list(getattr(nn, f"{kind}Cell")(3, 2).state_dict())


@pytest.mark.parametrize("kind", KINDS)
def test_cells_are_one_step_of_the_layer(kind):
    layer, cell = getattr(nn, kind)(3, 2, stream=Stream(1, "init")), getattr(nn, f"{kind}Cell")(3, 2)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.state_dict().items()})
    x = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    state = None
    for t in range(2):
        state = cell(tg.Tensor(x[t]), state)
    output, ends = layer(tg.Tensor(x))
    assert output.dtype == np.float32
    for end, each in zip(as_list(ends), as_list(state), strict=True):
        close(end.detach()[0], each.detach(), 1e-6)
    one = cell(tg.Tensor(x[0, 1]))
    close(as_list(one)[0].detach(), as_list(cell(tg.Tensor(x[0])))[0].detach()[1], 1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_starting_values_come_from_the_stream_within_their_bound(kind):
    layers = [getattr(nn, kind)(50, 16, 2, stream=Stream(5, "init")) for _ in range(2)]
    for a, b in zip(*(layer.parameters() for layer in layers), strict=True):
        np.testing.assert_array_equal(a.data, b.data)
        assert np.abs(a.data).max() <= 0.25 and np.abs(a.data).max() > 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_one_sequence_needs_no_axis_of_the_batch(kind):
    layer = getattr(nn, kind)(3, 2, 2, bidirectional=True)
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    output, ends = layer(tg.Tensor(x))
    whole, states = layer(tg.Tensor(x[:, None]))
    np.testing.assert_array_equal(output.detach(), whole.detach()[:, 0])
    for end, state in zip(as_list(ends), as_list(states), strict=True):
        np.testing.assert_array_equal(end.detach(), state.detach()[:, 0])
    again, _ = layer(tg.Tensor(x), ends)
    assert again.shape == (5, 4)


def test_a_learned_initial_state_receives_its_gradient():
    layer, start = nn.GRU(3, 2, stream=Stream(0, "init")), nn.Parameter(np.zeros((1, 1, 2)))
    x = tg.Tensor(np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32))
    each = tg.Tensor(np.zeros((1, 5, 2), np.float32), requires_grad=True)
    layer(x, F.expand(start, (1, 5, 2)))[0].sum().backward()
    layer(x, each)[0].sum().backward()
    close(start.grad.numpy(), each.grad.numpy().sum(1, keepdims=True), 1e-5)


def test_dropout_stands_between_layers_in_training_alone():
    x = tg.Tensor(np.random.default_rng(0).normal(size=(4, 2, 3)).astype(np.float32))
    plain = nn.LSTM(3, 5, 2, stream=Stream(0, "init"))
    layers = [nn.LSTM(3, 5, 2, dropout=p, dropout_stream=Stream(1, "masks")) for p in (0.5, 0.5, 1.0)]
    for layer in layers:
        layer.load_state_dict(plain.state_dict())
    first, same, none = (layer(x)[0].detach().numpy() for layer in layers)
    np.testing.assert_array_equal(first, same)
    assert np.abs(first - plain(x)[0].detach().numpy()).max() > 1e-3
    with pytest.raises(AssertionError):  # the next draw of the stream
        np.testing.assert_array_equal(layers[0](x)[0].detach(), first)
    top = nn.LSTM(5, 5)
    top.load_state_dict({k.replace("_l1", "_l0"): v for k, v in plain.state_dict().items() if k.endswith("_l1")})
    close(none, top(tg.Tensor(np.zeros((4, 2, 5), np.float32)))[0].detach(), 1e-6)
    np.testing.assert_array_equal(layers[0].eval()(x)[0].detach(), plain(x)[0].detach())


def test_an_output_changed_in_place_before_backward_is_refused():
    layer = nn.GRU(3, 2)
    output, _ = layer(tg.Tensor(np.ones((4, 2, 3), np.float32), requires_grad=True))
    with tg.no_grad():
        output += 1
    with pytest.raises(RuntimeError, match="changed in place"):
        output.sum().backward()


@pytest.mark.parametrize("shape", [(0, 3, 2), (4, 0, 2), (0, 0, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_no_steps_and_no_sequences(kind, shape):
    layer = getattr(nn, kind)(2, 3, 2, bidirectional=True)
    x = tg.Tensor(np.ones(shape, np.float32), requires_grad=True)
    output, ends = layer(x)
    assert output.shape == (*shape[:2], 6) and all(end.shape == (4, shape[1], 3) for end in as_list(ends))
    assert not any(end.detach().numpy().any() for end in as_list(ends))
    output.sum().backward()
    assert x.grad.shape == shape and not any(p.grad.numpy().any() for p in layer.parameters())


# ------------------------------------------------------------------------------------------------- pieces, memory, time


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_pieces_with_their_state_are_one_long_run(kind, first):
    rng, lengths = np.random.default_rng(0), [7, 3, 0]
    layer = getattr(nn, kind)(3, 4, 2, batch_first=first, dtype=np.float64)
    x = rng.normal(size=(3, 7, 3) if first else (7, 3, 3))
    for given_lengths in (None, lengths):
        whole, ends = layer(tg.Tensor(x), lengths=given_lengths)
        made, total = [], 0
        for piece in nn.truncated(layer, tg.Tensor(x), 3, lengths=given_lengths):
            made.append(piece.output.detach().numpy())
            assert piece.steps == slice(total, min(total + 3, 7))
            total = piece.steps.stop
        assert total == 7
        close(np.concatenate(made, 1 if first else 0), whole.detach())
        for a, e in zip(as_list(piece.state), as_list(ends), strict=True):
            close(a.detach(), e.detach())


def test_no_gradient_goes_from_a_piece_to_the_one_before():
    layer, x = nn.LSTM(2, 3, dtype=np.float64), np.random.default_rng(0).normal(size=(6, 2, 2))
    for stateful in (True, False):
        leaf = tg.Tensor(x, requires_grad=True)
        layer.zero_grad()
        for piece in nn.truncated(layer, leaf, 2, stateful=stateful):
            piece.output.sum().backward()
        found, by_x = layer.weight_hh_l0.grad.numpy().copy(), leaf.grad.numpy()
        layer.zero_grad()
        state, expected = None, np.zeros_like(x)
        for start in range(0, 6, 2):
            part = tg.Tensor(x[start : start + 2], requires_grad=True)
            output, after = layer(part, state)
            output.sum().backward()
            expected[start : start + 2] = part.grad.numpy()
            state = tuple(tg.Tensor(s.detach().numpy()) for s in after) if stateful else None
        close(found, layer.weight_hh_l0.grad.numpy())
        close(by_x, expected)


def test_weights_may_be_updated_between_pieces():
    layer = nn.GRU(2, 3)
    optimizer = tg.optim.SGD(layer.parameters(), 0.1)
    before = layer.weight_hh_l0.data.copy()
    for piece in nn.truncated(layer, tg.Tensor(np.ones((5, 2, 2), np.float32)), 2):
        optimizer.zero_grad()
        piece.output.sum().backward()
        optimizer.step()
    assert np.abs(layer.weight_hh_l0.data - before).max() > 1e-3


def peak(work):
    tracemalloc.start()
    work()
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_memory_grows_with_the_steps_and_in_pieces_does_not(kind):
    layer = getattr(nn, kind)(8, 64)

    def whole(steps):
        output, _ = layer(tg.Tensor(np.ones((steps, 4, 8), np.float32)))
        output.sum().backward()

    def in_pieces(steps):
        x = np.ones((steps, 4, 8), np.float32)
        for piece in nn.truncated(layer, x, 64):
            piece.output.sum().backward()

    for _ in range(2):  # whatever is loaded or made once
        whole(1024)
        in_pieces(1024)
    sizes = [peak(lambda n=n: whole(n)) for n in (256, 512, 1024)]
    assert (sizes[2] - sizes[1]) == pytest.approx(2 * (sizes[1] - sizes[0]), rel=0.1)
    inputs = 4 * 8 * 4
    pieces = [peak(lambda n=n: in_pieces(n)) - n * inputs for n in (256, 1024)]
    assert pieces[1] == pytest.approx(pieces[0], rel=0.1)
    assert pieces[1] < sizes[2] / 4


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.LSTM(0, 3), "LSTM: input_size must be"),
        (lambda: nn.GRU(2, 3, 0), "GRU: num_layers must be"),
        (lambda: nn.RNN(2, 3, nonlinearity="sin"), "RNN: expected nonlinearity 'tanh' or 'relu', got 'sin'"),
        (lambda: nn.RNNCell(2, 3, nonlinearity="sin"), "RNNCell: expected nonlinearity"),
        (lambda: nn.GRU(2, 3, dropout=1.5), "GRU: dropout must be from 0 to 1, got 1.5"),
        (lambda: nn.LSTM(2, 3)(np.ones((4, 5, 6))), r"LSTM\(2, 3\): expected an input \(time, batch, 2\)"),
        (lambda: nn.LSTM(2, 3, batch_first=True)(np.ones(6)), r"expected an input \(batch, time, 2\) or \(time, 2\)"),
        (lambda: nn.LSTMCell(2, 3)(np.ones((4, 5))), r"LSTMCell\(2, 3\): expected an input \(batch, 2\)"),
        (
            lambda: nn.GRU(2, 3, 2)(np.ones((4, 5, 2)), np.ones((1, 5, 3))),
            r"GRU: expected a state of shape \(2, 5, 3\), got \(1, 5, 3\)",
        ),
        (lambda: nn.LSTM(2, 3)(np.ones((4, 5, 2)), np.ones((1, 5, 3))), r"LSTM: expected a pair of states \(h, c\)"),
        (lambda: nn.GRU(2, 3)(np.ones((4, 2, 2)), lengths=[1, 5]), r"gru: .*from 0 to 4, but lengths\[1\] is 5"),
        (lambda: nn.GRU(2, 3)(np.ones((4, 2, 2)), lengths=[1.0, 2.0]), "gru: lengths must be integers, got float64"),
        (lambda: nn.GRU(2, 3)(np.ones((4, 2, 2)), lengths=[1]), r"gru: expected lengths \(2,\)"),
        (lambda: nn.truncated(nn.GRU(2, 3, bidirectional=True), np.ones((4, 2, 2)), 2), "truncated: a bidirectional"),
        (lambda: nn.truncated(nn.GRU(2, 3), np.ones((4, 2, 2)), 0), "truncated: length must be"),
        (
            lambda: nn.truncated(nn.GRU(2, 3), np.ones((4, 2, 2)), 2, lengths=[1, 5]),
            "truncated: lengths must be from 0 to 4, got 1 to 5",
        ),
    ],
)
def test_bad_arguments_raise_one_clear_line(make, words):
    with pytest.raises((ValueError, TypeError), match=words) as caught:
        make()
    assert "\n" not in str(caught.value)
