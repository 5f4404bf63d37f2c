"""The parts of speaker verification: pairs, spectra, the Siamese net, scores, calibration, the plain baseline."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import librosa
import numpy as np
import pytest
import scipy.signal

from experiments.audio.transform import Transform
from experiments.verification.baseline import Baseline
from experiments.verification.net import Siamese, embedded
from experiments.verification.pages import means_between
from experiments.verification.pairs import Pairs, all_pairs, batches_of_all, minibatch
from experiments.verification.scores import Calibration, Trial
from experiments.verification.spectra import FLOOR, recoloured, spectra
from experiments.verification.training import Learner, Verifier, folds_of, gram_of, loss_of
from tinygrad_hw.random import Stream

TRANSFORM = Transform()
SMALL = Transform(64, 32)


def small_net(bins: int = SMALL.bins, hidden: int = 6, seed: int = 0, dropout: float = 0.0) -> Siamese:
    return Siamese(bins, 12, hidden, 5, dropout, init=Stream(seed, "init"), masks=Stream(seed, "masks"))


def voices(speakers: int, each: int, seed: int, samples: int = 2000) -> np.ndarray:
    """Noise through a filter that is a speaker's own: speakers x each x samples."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(speakers):
        centre, width = rng.uniform(0.1, 0.9), 0.08
        taps = scipy.signal.firwin(65, (centre - width, centre + width), pass_zero=False)
        found.append(scipy.signal.lfilter(taps, [1.0], rng.standard_normal((each, samples))))
    return np.array(found, np.float32)


# --------------------------------------------------------------------------------------------------------------- pairs


@pytest.mark.parametrize(("count", "each"), [(45, 10), (6, 10), (100, 10), (3, 2)])
def test_a_minibatch_is_the_problems(count: int, each: int) -> None:
    drawn, own, speaker = Stream(0, "pairs"), set(range(3 * each, 4 * each)), 3
    for _ in range(5):
        batch = minibatch(speaker, 7, each, count, drawn)
        assert len(batch) == 2 * count
        assert (batch.same[:count] == 1).all() and (batch.same[count:] == 0).all()
        positive = [tuple(sorted(pair)) for pair in zip(batch.left[:count], batch.right[:count], strict=True)]
        assert all(a != b and {a, b} <= own for a, b in positive)
        repeats = Counter(positive).values()
        assert max(repeats) <= -(-count // (each * (each - 1) // 2)), "no pair again before all were drawn"
        assert set(batch.left[count:]) <= own
        assert not set(batch.right[count:]) & own
        assert batch.right[count:].min() >= 0 and batch.right[count:].max() < 7 * each
        used = Counter(batch.left[count:]).values()
        assert max(used) <= -(-count // each)


def test_negative_partners_are_everybody_else_alike() -> None:
    partners = minibatch(2, 5, 4, 40_000, Stream(1, "pairs")).right[40_000:]
    counts = Counter(int(p) for p in partners)
    assert set(counts) == set(range(20)) - set(range(8, 12))
    assert max(abs(count - 2500) for count in counts.values()) < 5 * np.sqrt(2500)


def test_all_pairs_and_all_batches() -> None:
    pairs = all_pairs(3, 4)
    assert len(pairs) == 66
    assert pairs.same.sum() == 3 * 6
    assert all((a // 4 == b // 4) == same for a, b, same in zip(pairs.left, pairs.right, pairs.same, strict=True))
    batches = batches_of_all(3, 4, 6, Stream(0, "x"))
    assert [int(batches.left[12 * speaker] // 4) for speaker in range(3)] == [0, 1, 2]
    assert batches.same.sum() == 18 and len(batches) == 36


def test_folds_deal_everybody_once() -> None:
    folds = folds_of(23, 5, Stream(0, "folds"))
    assert sorted(np.concatenate(folds)) == list(range(23))
    assert {len(part) for part in folds} == {4, 5}
    assert any((np.diff(part) > 1).any() for part in folds)


# ------------------------------------------------------------------------------------------------------------- spectra


def test_spectra_are_librosas_at_one_loudness() -> None:
    signals = np.random.default_rng(0).normal(0, 0.1, (3, 4000)).astype(np.float32)
    found = spectra(signals, TRANSFORM, "cpu")
    loud = signals[1] / np.sqrt((signals[1] ** 2).mean())
    expected = np.log(np.abs(librosa.stft(loud, n_fft=1024, hop_length=512)) + FLOOR)
    assert found.shape == (8, 3, 513) and found.dtype == np.float32
    np.testing.assert_allclose(found[:, 1], expected.T, atol=1e-4)
    np.testing.assert_allclose(spectra(20 * signals, TRANSFORM, "cpu"), found, atol=1e-4)


def test_another_microphone_changes_colour_alone() -> None:
    signals = np.random.default_rng(0).normal(size=(200, 1000)).astype(np.float32)
    changed = recoloured(signals, Stream(0, "colour"), 4.0)
    assert changed.shape == signals.shape and changed.dtype == np.float32
    ratio = np.fft.rfft(changed)[:, 10:-1] / np.fft.rfft(signals)[:, 10:-1]
    assert np.abs(np.angle(ratio)).max() < 1e-2, "no phase"
    gains = 20 * np.log10(np.abs(ratio))
    assert gains.std() == pytest.approx(4.0, rel=0.1)
    assert np.abs(np.diff(gains[:, 100:], axis=1)).max() < 1, "smooth"
    assert np.abs(np.corrcoef(gains[:100:10])[np.triu_indices(10, 1)]).mean() < 0.7, "each its own"
    np.testing.assert_allclose(recoloured(signals, Stream(0, "colour"), 0.0), signals, atol=1e-5)


# ----------------------------------------------------------------------------------------------------------------- net


@pytest.mark.parametrize("hidden", [6, 0])
def test_vectors_have_one_length_whatever_the_frames(hidden: int) -> None:
    net = small_net(hidden=hidden)
    for frames in (1, 9, 40):
        x = np.random.default_rng(frames).normal(size=(frames, 4, 33)).astype(np.float32)
        vectors = embedded(net, x)
        assert vectors.shape == (4, 5)
        np.testing.assert_allclose((vectors**2).sum(axis=1), np.exp(net.scale.item()), rtol=1e-3)
        np.testing.assert_allclose(embedded(net, x[:, 2:3]), vectors[2:3], atol=1e-5)
    assert net.training


def test_the_order_of_frames_counts_for_the_recurrent_net_alone() -> None:
    x = np.random.default_rng(0).normal(size=(20, 3, 33)).astype(np.float32)
    shuffled = x[np.random.default_rng(1).permutation(20)]
    np.testing.assert_allclose(embedded(small_net(hidden=0), shuffled), embedded(small_net(hidden=0), x), atol=1e-5)
    assert np.abs(embedded(small_net(), shuffled) - embedded(small_net(), x)).max() > 1e-3


def test_the_loss_is_the_cross_entropy_of_the_inner_products() -> None:
    net, x = small_net(), np.random.default_rng(0).normal(size=(9, 8, 33)).astype(np.float32)
    pairs = Pairs(np.array([0, 1, 0, 5]), np.array([1, 3, 6, 0]), np.array([1, 1, 0, 0], np.float32))
    logits = [net(x[:, [a]]).data[0] @ net(x[:, [b]]).data[0] + net.offset.item() for a, b in zip(
        pairs.left, pairs.right, strict=True)]  # fmt: skip
    p = 1 / (1 + np.exp(-np.array(logits)))
    expected = -np.mean(pairs.same * np.log(p) + (1 - pairs.same) * np.log(1 - p))
    assert float(loss_of(net, x, pairs).item()) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("hidden", [6, 0])
def test_derivatives(hidden: int) -> None:
    net, rng = small_net(hidden=hidden).to(dtype=np.float64), np.random.default_rng(0)
    x, pairs = rng.normal(size=(5, 6, 33)), all_pairs(2, 3)
    loss_of(net, x, pairs).backward()
    for name, parameter in net.named_parameters():
        values, direction = parameter.data.copy(), rng.normal(size=parameter.shape)

        def moved(by: float) -> float:
            parameter.data[...] = values + by * direction  # noqa: B023
            return float(loss_of(net, x, pairs).item())

        slope = (8 * (moved(1e-4) - moved(-1e-4)) - (moved(2e-4) - moved(-2e-4))) / 12e-4
        parameter.data[...] = values
        assert parameter.grad is not None
        assert float((parameter.grad.data * direction).sum()) == pytest.approx(slope, rel=1e-6, abs=1e-9), name


# -------------------------------------------------------------------------------------------------------------- scores


def square_of(trial_logits: np.ndarray, speakers: int, each: int) -> np.ndarray:
    pairs, found = all_pairs(speakers, each), np.zeros((speakers * each,) * 2)
    found[pairs.left, pairs.right] = found[pairs.right, pairs.left] = trial_logits
    return found


def test_trials_against_counting() -> None:
    rng, pairs = np.random.default_rng(0), all_pairs(6, 5)
    logits = rng.normal(1.5 * pairs.same - 1, 1)
    trial = Trial.of(square_of(logits, 6, 5), 6)
    np.testing.assert_array_equal(trial.logits, logits)
    positive, negative = logits[pairs.same == 1], logits[pairs.same == 0]
    refused, accepted = (positive <= 0).mean(), (negative > 0).mean()
    assert trial.refused == pytest.approx(refused) and trial.accepted == pytest.approx(accepted)
    assert trial.balanced_accuracy == pytest.approx(1 - (refused + accepted) / 2)
    assert trial.auc == pytest.approx((positive[:, None] > negative).mean(), abs=1e-9)
    rates = [((positive <= t).mean(), (negative > t).mean()) for t in np.sort(logits)]
    nearest = min(rates, key=lambda pair: abs(pair[0] - pair[1]))
    assert trial.eer == pytest.approx(np.mean(nearest), abs=0.02)
    signed = np.where(pairs.same == 1, logits, -logits)
    each = np.log1p(np.exp(-signed))
    assert trial.loss == pytest.approx((each[pairs.same == 1].mean() + each[pairs.same == 0].mean()) / 2)
    some = batches_of_all(6, 5, 8, Stream(0, "x"))
    expected = [(trial.square[a, b] > 0) == s for a, b, s in zip(some.left, some.right, some.same, strict=True)]
    np.testing.assert_array_equal(trial.right(some), expected)
    means = means_between(trial.square > 0, 6)
    own = trial.square[5:10, 5:10][~np.eye(5, dtype=bool)]
    assert means[1, 1] == pytest.approx((own > 0).mean())
    assert means[1, 3] == means[3, 1] == pytest.approx((trial.square[5:10, 15:20] > 0).mean())


def test_perfect_and_blind_trials() -> None:
    pairs = all_pairs(8, 6)
    perfect = Trial(8, 6, np.where(pairs.same == 1, 2.0, -2.0))
    assert (perfect.eer, perfect.auc, perfect.balanced_accuracy) == (0, 1, 1)
    wrong = Trial(8, 6, np.where(pairs.same == 1, -2.0, 2.0))
    assert (wrong.eer, wrong.auc, wrong.balanced_accuracy) == (1, 0, 0)
    constant = Trial(8, 6, np.zeros(len(pairs)))
    assert constant.eer == pytest.approx(0.5) and constant.auc == 0.5
    blind = Trial(8, 6, np.random.default_rng(0).normal(size=len(pairs)))
    assert blind.eer == pytest.approx(0.5, abs=0.1)


def test_calibration_finds_slope_and_offset() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(3, 2, 200_000)
    same = rng.uniform(size=len(scores)) < 1 / (1 + np.exp(-(1.5 * scores - 4)))
    kept = same | (rng.uniform(size=len(scores)) < 0.1)  # few negative pairs: positive and negative weigh the same
    few, all_of = (Calibration.of(scores[where], same[where]) for where in (kept, np.ones_like(kept)))
    for found in (few, all_of):
        assert found.slope == pytest.approx(1.5, rel=0.05)
    assert few.offset == pytest.approx(all_of.offset, abs=0.1)


def test_calibration_never_turns_scores_round() -> None:
    scores, same = np.array([5.0, 4.0, 3.0, 2.0]), np.array([0, 0, 1, 1])
    found = Calibration.of(scores, same)
    assert found.slope > 0
    assert sorted(found.slope * scores + found.offset > 0) == [False, False, True, True]


def test_nets_together_are_one_net_with_one_threshold() -> None:
    nets = [small_net(seed=seed) for seed in range(3)]
    x = np.random.default_rng(0).normal(size=(7, 6, 33)).astype(np.float32)
    verifier = Verifier(nets, Calibration(1.7, -0.4))
    expected = 1.7 * np.mean([gram_of(net, x) for net in nets], axis=0) - 0.4
    np.testing.assert_allclose(verifier.gram(x), expected, atol=1e-4)
    vectors = verifier.vectors(x)
    assert vectors.shape == (6, 15)
    np.testing.assert_allclose(vectors @ vectors.T + verifier.offset, expected, atol=1e-4)


# ------------------------------------------------------------------------------------------------------------ learning


@pytest.mark.parametrize("hidden", [6, 0])
def test_a_net_tells_speakers_apart_whom_it_never_heard(hidden: int) -> None:
    heard, unseen = (voices(count, 6, seed) for count, seed in ((12, 0), (6, 1)))
    x, y = (spectra(part.reshape(-1, 2000), SMALL, "cpu") for part in (heard, unseen))
    config: Any = SimpleNamespace(pairs=15, clip=5.0, learning_rate=0.01)
    net = small_net(hidden=hidden)
    net.learn_scale(x.reshape(-1, SMALL.bins))
    before = Trial.of(gram_of(net, y), 6)
    learner = Learner(net, x, 12, config, Stream(0, "pairs"), 120)
    losses = [learner.step(np.array([step % 12])) for step in range(120)]
    after = Trial.of(gram_of(net, y), 6)
    assert np.mean(losses[-12:]) < 0.5 * np.mean(losses[:12])
    assert after.loss < before.loss
    assert after.auc > 0.9


def test_the_baseline_tells_spectra_apart() -> None:
    heard, unseen = voices(60, 6, 0, 8000), voices(6, 6, 1, 8000)
    baseline = Baseline(heard, 16_000, TRANSFORM)
    trial = Trial.of(baseline.gram(unseen.reshape(36, -1)), 6)
    assert trial.auc > 0.95
    assert trial.balanced_accuracy > 0.8, "its threshold comes from the training pairs"
    louder = Trial.of(baseline.gram(30 * unseen.reshape(36, -1)), 6)
    np.testing.assert_allclose(louder.logits, trial.logits, atol=1e-3)
