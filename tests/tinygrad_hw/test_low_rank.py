"""Linear layers of low rank: two factors, and a subspace that is followed, lost, found and saved."""

from __future__ import annotations

import copy
from functools import partial

import numpy as np
import pytest

import tinygrad_hw as tg
from tests import strict_backend
from tinygrad_hw import functional as F
from tinygrad_hw import nn, optim
from tinygrad_hw.nn.parametrize import register_parametrization
from tinygrad_hw.random import Stream

# ---------------------------------------------------------------------------------------------------------- two factors


def linear(inputs: int, outputs: int, bias: bool = True, seed: int = 0, **kwargs) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias, stream=Stream(seed, "init"), **kwargs)


@pytest.mark.parametrize(("inputs", "outputs"), [(9, 6), (6, 9), (7, 7)])
@pytest.mark.parametrize("bias", [True, False])
def test_from_linear_computes_with_the_nearest_weight_of_that_rank(inputs, outputs, bias):
    full = linear(inputs, outputs, bias, dtype=np.float64)
    x = np.random.default_rng(0).normal(size=(2, 3, inputs))
    shift = full.bias.detach().numpy() if bias else 0.0
    for rank in (1, 3, min(inputs, outputs)):
        thin = nn.LowRankLinear.from_linear(full, rank)
        nearest = F.svd_project(full.weight.detach().numpy(), rank)
        np.testing.assert_allclose(thin(x).detach().numpy(), x @ nearest.T + shift, atol=1e-12)
        assert sum(p.size for p in thin.parameters()) == rank * (inputs + outputs) + outputs * bias
        assert thin.u.shape == (outputs, rank) and thin.vt.shape == (rank, inputs) and thin.u.dtype == np.float64
        np.testing.assert_allclose(thin.u.detach().numpy().T @ thin.u.detach().numpy(), np.eye(rank), atol=1e-12)
    np.testing.assert_allclose(thin(x).detach().numpy(), full(x).detach().numpy(), atol=1e-12)


def test_factors_are_copies_and_are_learned():
    full = linear(5, 4)
    thin = nn.LowRankLinear.from_linear(full, 2)
    before = full.state_dict()
    optimizer = optim.SGD(thin.parameters(), lr=0.1)
    (thin(np.ones((3, 5), np.float32)) ** 2).sum().backward()
    assert all(p.grad is not None and p.grad.numpy().any() for p in thin.parameters())
    optimizer.step()
    for name, array in full.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert list(thin.state_dict()) == ["u", "vt", "bias"]


def test_from_factors():
    rng = np.random.default_rng(0)
    u, vt, bias = (rng.normal(size=shape) for shape in ((4, 2), (2, 5), (4,)))
    for given in ((u, vt, bias), tuple(tg.tensor(a) for a in (u, vt, bias))):
        thin = nn.LowRankLinear.from_factors(*given)
        np.testing.assert_array_equal(thin.u.detach().numpy(), u)
        np.testing.assert_array_equal(thin.bias.detach().numpy(), bias)
    assert nn.LowRankLinear.from_factors(u, vt).bias is None
    with pytest.raises(ValueError, match=r"from_factors: expected \(out, rank\) and \(rank, in\), got \(4, 2\) and"):
        nn.LowRankLinear.from_factors(u, vt.T)
    with pytest.raises(RuntimeError, match=r"misshapen 'bias' \(expected \(4,\), got \(1,\)\)"):
        nn.LowRankLinear.from_factors(u, vt, bias[:1])


def test_a_parametrized_layer_is_taken_as_it_computes():
    full = linear(6, 5)
    register_parametrization(full, "weight", F.binarize)
    thin = nn.LowRankLinear.from_linear(full, 5)
    np.testing.assert_allclose((thin.u @ thin.vt).detach().numpy(), full.weight.detach().numpy(), atol=1e-6)


def test_starting_values_give_outputs_the_variance_of_a_full_layer():
    x = np.random.default_rng(0).normal(size=(400, 300)).astype(np.float32)
    full, thin = linear(300, 200), nn.LowRankLinear(300, 200, 40, stream=Stream(0, "init"))
    assert thin(x).detach().numpy().var() == pytest.approx(full(x).detach().numpy().var(), rel=0.05)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.LowRankLinear(5, 4, 0), r"LowRankLinear: expected a rank from 1 to 4 for \(4, 5\), got 0"),
        (lambda: nn.LowRankLinear(5, 4, 5), "expected a rank from 1 to 4"),
        (lambda: nn.LowRankLinear(5, 4, 2.0), "integer rank"),
        (lambda: nn.LowRankLinear(0, 4, 1), "positive integers"),
        (lambda: nn.LowRankLinear.from_linear(linear(5, 4), 6), "from_linear: expected a rank from 1 to 4"),
        (lambda: nn.LowRankLinear(5, 4, 2)(np.ones((3, 4), np.float32)),
         r"LowRankLinear\(in_features=5, out_features=4, rank=2, bias=True\): expected 5 features"),
    ],
)  # fmt: skip
def test_bad_factors(make, words):
    with pytest.raises(ValueError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------------ the followed subspace


def decaying(m: int, n: int, seed: int = 0, dtype: type = np.float64) -> np.ndarray:
    """An m x n matrix with singular values 1 / (1 + i / 4)."""
    rng = np.random.default_rng(seed)
    count = min(m, n)
    u, v = (np.linalg.qr(rng.normal(size=(side, count)))[0] for side in (m, n))
    return ((u / (1 + np.arange(count) / 4)) @ v.T).astype(dtype)


def projection(shape, rank: int = 4, dtype: type = np.float64, **kwargs) -> nn.SubspaceProjection:
    return nn.SubspaceProjection(shape, rank, stream=Stream(0, "subspace"), dtype=dtype, **kwargs)


def excess(w: np.ndarray, p: tg.Tensor, rank: int = 4) -> float:
    """The error beyond the least possible, relative to the weight."""
    norm = np.linalg.norm
    return float((norm(w - p.detach().numpy()) - norm(w - F.svd_project(w, rank))) / norm(w))


def test_the_first_call_is_near_the_best_already():
    for shape in ((60, 40), (40, 60), (7, 5)):
        w = decaying(*shape)
        assert 0 <= excess(w, projection(shape)(tg.tensor(w))) + 1e-12 < 1e-5


def test_the_basis_has_no_more_columns_than_the_matrix():
    assert projection((60, 40)).basis.shape == (40, 12)
    assert projection((60, 6)).basis.shape == (6, 6)
    assert projection((5, 40)).basis.shape == (40, 5)


def test_it_follows_a_weight_that_moves():
    rng = np.random.default_rng(1)
    w, drift = decaying(60, 40), 0.02 * rng.normal(size=(60, 40))
    follows, stays = projection(w.shape), projection(w.shape)
    stays(tg.tensor(w))
    stays.eval()
    for _ in range(30):
        w = w + drift * rng.uniform(size=w.shape)
        found = excess(w, follows(tg.tensor(w)))
        assert found < 1e-3
    assert excess(w, stays(tg.tensor(w))) > 10 * found, "one that is not moved on does not"
    assert follows.reseeded.item() == 0 and follows.steps.item() == 30


def test_in_eval_nothing_is_remembered():
    w, p = decaying(30, 20), projection((30, 20))
    p.eval()
    first = p(tg.tensor(w))
    assert p.steps.item() == 0 and excess(w, first) < 1e-5
    p.train()(tg.tensor(w))
    state = p.state_dict()
    p.eval()
    np.testing.assert_array_equal(p(tg.tensor(w)).numpy(), p(tg.tensor(w)).numpy())
    for name, array in p.state_dict().items():
        np.testing.assert_array_equal(array, state[name])


def others(w: np.ndarray, columns: int = 12, rank: int = 4) -> tg.Tensor:
    """A basis orthogonal to all the leading directions."""
    return tg.tensor(np.linalg.svd(w)[2][rank : rank + columns].T.copy())


def test_a_lost_subspace_is_found_and_mended_at_the_next_check():
    w = decaying(60, 40)
    p = projection(w.shape, check_every=5)
    for _ in range(7):
        p(tg.tensor(w))
    assert not p.lost(tg.tensor(w))
    p.basis = others(w)
    assert p.lost(tg.tensor(w))
    calls = [excess(w, p(tg.tensor(w))) for _ in range(4)]  # numbers 8 to 11, of which 11 follows the tenth
    assert min(calls[:3]) > 0.05 and calls[3] < 1e-5
    assert p.reseeded.item() == 1
    for _ in range(20):
        p(tg.tensor(w))
    assert p.reseeded.item() == 1


def test_without_the_check_a_lost_direction_stays_lost():
    w = decaying(60, 40)
    p = projection(w.shape, check_every=1000)
    p(tg.tensor(w))
    p.basis = others(w)
    assert excess(w, p(tg.tensor(w))) > 0.05
    for _ in range(8):
        last = p(tg.tensor(w))
    assert excess(w, last) > 0.05 and p.reseeded.item() == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_lost_direction_among_many_is_found(dtype):
    """The strongest that is missing decides, not how many."""
    w = decaying(60, 40, dtype=dtype)
    vt = np.linalg.svd(w)[2]
    for missing in range(4):
        p = projection(w.shape, dtype=dtype)
        p(tg.tensor(w))
        p.basis = tg.tensor(np.delete(vt, missing, axis=0)[:12].T.copy())
        assert p.lost(tg.tensor(w)), missing


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("make", [
    lambda: decaying(30, 20),
    lambda: decaying(30, 20)[:, :3] @ decaying(3, 20),  # of lower rank than is kept
    lambda: np.zeros((30, 20)),
    lambda: np.eye(30, 20),  # all singular values equal
    lambda: np.random.default_rng(0).normal(size=(30, 20)),
])  # fmt: skip
def test_nothing_is_lost_in_a_weight_that_stays(make, dtype):
    w = tg.tensor(make().astype(dtype))
    p = projection(w.shape, dtype=dtype, check_every=2)
    for _ in range(20):
        assert p(w).dtype == dtype
    assert p.reseeded.item() == 0


def test_other_weights_loaded_into_the_layer_are_caught():
    layer = linear(40, 60, dtype=np.float64)
    layer.load_state_dict({"weight": decaying(60, 40), "bias": np.zeros(60)})
    p = projection((60, 40), check_every=3)
    register_parametrization(layer, "weight", p)
    w = layer.parametrizations["weight"].original
    left = np.linalg.svd(decaying(60, 40))[2]
    turned = (decaying(60, 40) @ left.T)[:, ::-1] @ left  # the strongest rows are now the weakest
    w._data[...] = turned
    x = np.ones((1, 40))
    for _ in range(4):
        layer(x)
    assert p.reseeded.item() == 1 and excess(turned, layer.weight) < 1e-5


def test_saved_and_loaded_it_goes_on_to_the_bit():
    """Matrices whose leading directions are pairwise orthogonal: whatever is followed is lost at once."""
    u, s, vt = np.linalg.svd(decaying(60, 40), full_matrices=False)
    w = [tg.tensor((u * np.roll(s, 13 * turn)) @ vt) for turn in (0, 0, 0, 1, 1, 1, 2, 2, 2, 0, 0, 0)]

    def fresh():
        return projection((60, 40), check_every=2)

    whole, first, second, unlike = fresh(), fresh(), fresh(), fresh()
    expected = [whole(matrix).numpy() for matrix in w]
    for matrix in w[:5]:
        first(matrix)
    for other in (second, unlike):
        other.load_state_dict(first.state_dict())
    second.stream.load_state_dict(first.stream.state_dict())
    found = [second(matrix).numpy() for matrix in w[5:]]
    for one, other in zip(found, expected[5:], strict=True):
        np.testing.assert_array_equal(one, other)
    assert 0 < first.reseeded.item() < second.reseeded.item() == whole.reseeded.item() == 3
    assert list(second.state_dict()) == ["basis", "steps", "reseeded"]
    again = [unlike(matrix).numpy() for matrix in w[5:]]
    assert any((one != other).any() for one, other in zip(again, expected[5:], strict=True)), "the stream matters"


def trained(target, derivative, project, steps):
    """The layer fitted to ``target`` (20, 30) through a projection on rank 4, and its losses."""
    x = np.random.default_rng(0).normal(size=(50, 20)).astype(np.float32)
    layer = linear(20, 30)
    register_parametrization(layer, "weight", project)
    optimizer, losses = optim.Adam(layer.parameters(), lr=0.01), []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.mse_loss(layer(x), x @ target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return layer, np.array(losses), x


@pytest.mark.parametrize("derivative", ["identity", "exact", "none"])
def test_training_through_each_derivative(derivative):
    """Towards a target of that rank, which both derivatives reach; without one, only the bias is learned."""
    target = F.svd_project(decaying(20, 30, dtype=np.float32), 4)
    before = linear(20, 30).weight.detach().numpy()
    project = projection((30, 20), dtype=np.float32, derivative=derivative)
    layer, losses, _ = trained(target, derivative, project, 400)
    after = layer.parametrizations["weight"].original.detach().numpy()
    assert np.linalg.matrix_rank(layer.weight.detach().numpy(), tol=1e-4) == 4
    if derivative == "none":
        np.testing.assert_array_equal(after, before)
        assert losses[-1] > 0.5 * losses[0]
    else:
        assert losses[-1] < 0.0002 * losses[0]
        np.testing.assert_allclose(layer.weight.detach().numpy(), target.T, atol=0.01)


@pytest.mark.parametrize("followed", [True, False])
def test_with_the_identity_a_target_beyond_the_rank_gives_no_rest_and_with_the_exact_derivative_it_does(followed):
    """What the projection drops goes on growing, since it changes nothing, until it is no smaller than what is kept.

    So it is with LAPACK's projection, too: it is the derivative's doing, not that of the subspace.
    """
    target = decaying(20, 30, dtype=np.float32)
    last = {}
    for derivative in ("identity", "exact"):
        project = (
            projection((30, 20), dtype=np.float32, derivative=derivative)
            if followed
            else partial(F.svd_project, rank=4, derivative=derivative)
        )
        layer, losses, x = trained(target, derivative, project, 300)
        s = np.linalg.svd(layer.parametrizations["weight"].original.detach().numpy(), compute_uv=False)
        last[derivative] = losses[-50:].mean(), s[4] / s[3]
    best = np.mean((x @ target - F.svd_project(x @ target, 4)) ** 2)
    assert last["exact"][0] < 1.05 * best, "the least squares of that rank; the bias may do better still"
    assert last["identity"][0] > 3 * best
    assert last["identity"][1] > 0.98 > 0.95 > last["exact"][1]


def test_exact_derivative_and_checkpoint_of_the_basis_do_not_meet():
    """The basis is replaced, never written to: what backward needs of it stays."""
    w = tg.tensor(decaying(9, 8), requires_grad=True)
    p = projection((9, 8), rank=2, derivative="exact")
    one, two = p(w), p(w)
    (one + two).sum().backward()
    assert not p.basis.requires_grad and w.grad is not None


def test_copies_and_devices():
    strict_backend.install()
    w = decaying(30, 20)
    p = projection((30, 20))
    p(tg.tensor(w))
    twin = copy.deepcopy(p)
    expected = p(tg.tensor(w)).numpy()
    np.testing.assert_array_equal(twin(tg.tensor(w)).numpy(), expected)
    there = projection((30, 20), device="strict", check_every=1)
    for _ in range(2):
        found = there(tg.tensor(w, device="strict"))
    assert found.device == there.basis.device == "strict:0"
    np.testing.assert_allclose(found.to("cpu").numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: projection((5, 4), rank=5), r"SubspaceProjection: expected a rank from 1 to 4 for \(5, 4\), got 5"),
        (lambda: projection((5, 4, 3), rank=2), "expected a matrix"),
        (lambda: projection((5, 4), rank=2, derivative="true"), "expected derivative 'identity', 'exact' or 'none'"),
        (lambda: projection((5, 4), rank=2, oversampling=-1), "oversampling must be an integer >= 0, got -1"),
        (lambda: projection((5, 4), rank=2, check_every=0), "check_every must be an integer >= 1, got 0"),
        (lambda: projection((5, 4), rank=2)(tg.zeros(4, 5)),
         r"expected a weight float64 \(5, 4\), got float32 \(4, 5\)"),
    ],
)  # fmt: skip
def test_bad_settings(make, words):
    with pytest.raises(ValueError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_in_words():
    text = "SubspaceProjection((60, 40), rank=4, columns=12, derivative='identity')"
    assert repr(projection((60, 40))) == text
