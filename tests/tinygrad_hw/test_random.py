"""Streams of random numbers: against Philox written out, as plain state, and as random numbers."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_hw as tg
from tests import strict_backend
from tinygrad_hw.random import Stream, Streams, default_stream, default_streams, manual_seed

# ------------------------------------------------------------------------------- the documented recipe, written out

MASK = 2**64 - 1


def philox(counter, key):
    """Philox4x64-10 of Salmon et al. 2011: four words from a counter of four words and a key of two."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = divmod(0xD2E7470EE14C6C93 * c0, 2**64)
        high1, low1 = divmod(0xCA5A826395121157 * c2, 2**64)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & MASK, (k1 + 0xBB67AE8584CAA73B) & MASK
    return c0, c1, c2, c3


def words(seed, name, draw, count):
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=16).digest()
    key = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
    blocks = [philox((block, draw, 0, 0), key) for block in range(1, count // 4 + 2)]
    return [word for block in blocks for word in block][:count]


def halves(seed, name, draw, count):
    return [half for word in words(seed, name, draw, count) for half in (word & 0xFFFFFFFF, word >> 32)][:count]


def test_philox_written_out_gives_the_published_numbers():
    """Random123's known answers for philox4x64-10."""
    assert philox((0, 0, 0, 0), (0, 0)) == (
        0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B
    )  # fmt: skip
    assert philox((MASK,) * 4, (MASK,) * 2) == (
        0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0
    )  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 33])
def test_every_draw_follows_the_recipe(size):
    seed, name = 12345678901234567890123, "dropout"
    stream = Stream(seed, name)
    assert stream.uniform(size).tolist() == [(h >> 8) / 2**24 for h in halves(seed, name, 0, size)]
    expected = [(w >> 11) / 2**53 for w in words(seed, name, 1, size)]
    assert stream.uniform(size, dtype=np.float64).tolist() == expected
    assert stream.bernoulli(size, 0.3).tolist() == [h < round(0.3 * 2**32) for h in halves(seed, name, 2, size)]
    expected = [-5 + (12 * (w >> 11) >> 53) for w in words(seed, name, 3, size)]
    assert stream.integers(-5, 7, size).tolist() == expected
    expected = sorted(range(size), key=words(seed, name, 4, size).__getitem__)
    assert stream.permutation(size).tolist() == expected
    for draw, dtype in ((5, np.float32), (6, np.float64)):
        bits = (halves if dtype == np.float32 else words)(seed, name, draw, size + 1)
        expected = []
        for a, b in zip(bits[0::2], bits[1::2], strict=False):
            if dtype == np.float32:
                u, angle = (a + 0.5) / 2**32, 2 * math.pi * (b - (b >= 2**31) * 2**32) / 2**32
            else:
                u, angle = ((a >> 11) + 0.5) / 2**53, 2 * math.pi * (b >> 11) / 2**53
            radius = math.sqrt(-2 * math.log(u))
            expected += [radius * math.cos(angle), radius * math.sin(angle)]
        found = stream.normal(size, dtype=dtype)
        np.testing.assert_allclose(found, expected[:size], atol=4 * np.finfo(dtype).eps, rtol=8 * np.finfo(dtype).eps)
        assert found.dtype == dtype
    assert stream.counter == 7


def test_an_element_depends_on_its_place_alone():
    assert np.array_equal(Stream(3, "x").uniform((4, 5)).ravel()[:7], Stream(3, "x").uniform(7))
    assert np.array_equal(Stream(3, "x").normal((5, 3)).ravel()[:6], Stream(3, "x").normal(6))


def test_streams_of_other_names_seeds_and_draws_share_nothing():
    names = ("init", "data", "1/init")
    draws = [Stream(seed, name).uniform(1000) for seed in (0, 1, 2**64, 2**64 + 1) for name in names]
    stream = Stream(0, "init")
    stream.uniform(1)
    draws.append(stream.uniform(1000))
    correlations = np.corrcoef(draws)
    assert np.abs(correlations - np.eye(len(draws))).max() < 0.15


# -------------------------------------------------------------------------------------------------- as random numbers


def distance_to(sample, distribution):
    """Kolmogorov and Smirnov's distance times the square root of the size: above 1.95 once in a thousand samples."""
    x = np.sort(sample.astype(np.float64))
    expected = np.array([distribution(value) for value in x])
    steps = np.arange(len(x) + 1) / len(x)
    return math.sqrt(len(x)) * max((steps[1:] - expected).max(), (expected - steps[:-1]).max())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distributions(dtype):
    stream = Stream(0, "test")
    uniform = stream.uniform(20_000, -2.0, 6.0, dtype=dtype)
    assert uniform.min() >= -2 and uniform.max() <= 6
    assert distance_to(uniform, lambda x: (x + 2) / 8) < 1.95
    normal = stream.normal((100, 200), 3.0, 0.5, dtype=dtype).ravel()
    assert distance_to(normal, lambda x: 0.5 * (1 + math.erf((x - 3) / 0.5 / math.sqrt(2)))) < 1.95
    for lag in (1, 2):  # the two of a pair are independent
        assert abs(np.corrcoef(normal[::2], np.roll(normal, lag)[::2])[0, 1]) < 0.04


def test_bernoulli():
    stream = Stream(0, "test")
    for p in (0.1, 0.5, 0.999):
        found = stream.bernoulli((300, 100), p)
        assert found.dtype == np.bool_ and abs(found.mean() - p) < 4 * math.sqrt(p * (1 - p) / 30_000)
    assert not stream.bernoulli(1000, 0.0).any()
    assert stream.bernoulli(1000, 1.0).all()


def test_integers_and_permutations():
    stream = Stream(0, "test")
    found = stream.integers(-3, 4, (70, 100))
    assert found.dtype == np.int64
    values, counts = np.unique(found, return_counts=True)
    assert values.tolist() == list(range(-3, 4))
    assert ((counts - 1000) ** 2 / 1000).sum() < 22.5  # chi squared of 6 degrees: above once in a thousand
    assert stream.integers(5, 6, 3).tolist() == [5, 5, 5]
    wide = stream.integers(0, 2**52, 1000)
    assert wide.min() >= 0 and wide.max() > 2**51 and (wide % 2).any()
    order = stream.permutation(1000)
    assert order.dtype == np.int64 and sorted(order) == list(range(1000)) and not np.array_equal(order, range(1000))
    assert stream.permutation(0).shape == (0,) and stream.permutation(1).tolist() == [0]


def test_shapes_and_limits():
    stream = Stream(0, "test")
    assert stream.uniform(()).shape == () and stream.normal(()).shape == ()
    assert stream.uniform((3, 0)).shape == (3, 0) and stream.normal([2, 3]).shape == (2, 3)
    assert (stream.uniform(4, 2.5, 2.5) == 2.5).all()
    assert (stream.normal(4, 2.5, 0.0) == 2.5).all()
    for draw in (stream.uniform(9, np.float64(1), np.float64(2)), stream.normal(9, np.float64(1), np.float64(2))):
        assert draw.dtype == np.float32


# -------------------------------------------------------------------------------------------------------------- state

DRAWS = {
    "uniform": lambda s: s.uniform(5),
    "uniform64": lambda s: s.uniform((2, 2), dtype=np.float64),
    "normal": lambda s: s.normal(3),
    "bernoulli": lambda s: s.bernoulli(3, 0.5),
    "integers": lambda s: s.integers(0, 100, 3),
    "permutation": lambda s: s.permutation(4),
}


@given(before=st.lists(st.sampled_from(sorted(DRAWS)), max_size=5), after=st.lists(st.sampled_from(sorted(DRAWS))))
def test_a_stream_goes_on_from_its_saved_state(before, after):
    stream = Stream(7, "noise")
    for draw in before:
        DRAWS[draw](stream)
    saved = json.loads(json.dumps(stream.state_dict()))
    expected = [DRAWS[draw](stream) for draw in after]
    other = Stream(0, "noise")
    other.load_state_dict(saved)
    for draw, values in zip(after, expected, strict=True):
        np.testing.assert_array_equal(DRAWS[draw](other), values)
    assert other.state_dict() == stream.state_dict()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda stream: pickle.loads(pickle.dumps(stream))])
def test_a_copy_goes_on_by_itself(copied):
    stream = Stream(0, "x")
    stream.uniform(2)
    other = copied(stream)
    np.testing.assert_array_equal(other.uniform(3), stream.uniform(3))
    other.uniform(1)
    assert (stream.counter, other.counter) == (2, 3)


def test_streams_by_name_are_kept_and_restored():
    streams = Streams(5)
    data, noise = streams["data"], streams["noise"]
    assert streams["data"] is data
    data.uniform(3)
    noise.uniform(3)
    noise.uniform(3)
    saved = json.loads(json.dumps(streams.state_dict()))
    assert saved == {"seed": 5, "counters": {"data": 1, "noise": 2}}
    expected = data.uniform(3), noise.uniform(3)
    again = Streams(0)
    late, held = again["late"], again["data"]
    first = late.uniform(3)
    again.load_state_dict(saved)
    assert again["data"] is held and again.seed == 5
    np.testing.assert_array_equal((held.uniform(3), again["noise"].uniform(3)), expected)
    assert late.counter == 0 and late.seed == 5 and not np.array_equal(late.uniform(3), first)


def test_manual_seed_restarts_the_default_streams():
    before = default_streams().state_dict()
    try:
        manual_seed(3)
        stream = default_stream("test")
        first = stream.uniform(4), stream.uniform(4)
        assert manual_seed(3) is default_streams() and default_stream("test") is stream
        np.testing.assert_array_equal((stream.uniform(4), stream.uniform(4)), first)
        np.testing.assert_array_equal(Stream(3, "test").uniform(4), first[0])
        manual_seed(4)
        assert not np.array_equal(stream.uniform(4), first[0])
    finally:
        default_streams().load_state_dict(before)


def test_threads_share_a_stream_without_losing_or_repeating_a_draw():
    stream, found = Stream(0, "shared"), []

    def draw_often():
        found.extend(stream.uniform(50).tobytes() for _ in range(200))

    threads = [threading.Thread(target=draw_often) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = Stream(0, "shared")
    assert stream.counter == 1600 and set(found) == {alone.uniform(50).tobytes() for _ in range(1600)}


def test_the_same_numbers_on_every_device():
    strict_backend.install()
    for draw in ("uniform", "normal"):
        there = getattr(Stream(1, "x"), draw)((3, 4), device="strict")
        assert isinstance(there, strict_backend.StrictArray)
        np.testing.assert_array_equal(there.get(), getattr(Stream(1, "x"), draw)((3, 4)))
    assert isinstance(Stream(1, "x").bernoulli(3, 0.5, device="strict"), strict_backend.StrictArray)
    assert isinstance(Stream(1, "x").integers(0, 3, 3, device="strict"), strict_backend.StrictArray)
    assert isinstance(Stream(1, "x").permutation(3, device="strict"), strict_backend.StrictArray)
    with pytest.raises(tg.DeviceError):
        Stream(1, "x").uniform(3, device="tpu")


# ------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("attempt", "error", "words"),
    [
        (lambda: Stream(-1, "x"), ValueError, "seed: expected a non-negative integer, got -1"),
        (lambda: Stream(1.0, "x"), TypeError, "seed: expected a non-negative integer, got 1.0"),
        (lambda: Stream("1", "x"), TypeError, "seed: expected a non-negative integer, got '1'"),
        (lambda: Stream(True, "x"), TypeError, "seed: expected a non-negative integer, got True"),
        (lambda: Streams(None), TypeError, "seed: expected a non-negative integer, got None"),
        (lambda: manual_seed(-5), ValueError, "seed: expected a non-negative integer, got -5"),
        (lambda: Stream(0, ""), TypeError, "expected a name"),
        (lambda: Stream(0, 3), TypeError, "expected a name, got 3"),
        (lambda: Stream(0, "x").uniform(-1), ValueError, "uniform: expected a shape of non-negative integers, got -1"),
        (lambda: Stream(0, "x").normal((2, 1.5)), ValueError, "normal: expected a shape"),
        (lambda: Stream(0, "x").permutation(-3), ValueError, "permutation: expected a shape"),
        (lambda: Stream(0, "x").permutation((3, 4)), ValueError, "permutation: expected one size"),
        (lambda: Stream(0, "x").uniform(3, 2, 1), ValueError, "uniform: expected finite low <= high, got low=2"),
        (lambda: Stream(0, "x").uniform(3, 0, math.inf), ValueError, "uniform: expected finite"),
        (lambda: Stream(0, "x").normal(3, 0, -1), ValueError, "normal: expected a finite mean and a finite std >= 0"),
        (lambda: Stream(0, "x").uniform(3, dtype=np.int64), TypeError, "uniform: expected float32 or float64"),
        (lambda: Stream(0, "x").bernoulli(3, 1.2), ValueError, "bernoulli: expected a probability"),
        (lambda: Stream(0, "x").bernoulli(3, math.nan), ValueError, "bernoulli: expected a probability"),
        (lambda: Stream(0, "x").integers(3, 3, 2), ValueError, "integers: expected low < high"),
        (lambda: Stream(0, "x").integers(0, 2**53, 2), ValueError, "integers: expected low < high, at most 2^52 apart"),
        (lambda: Stream(0, "x").load_state_dict({"seed": 1}), ValueError, "expected a state with seed, name"),
        (lambda: Stream(0, "x").load_state_dict(Stream(0, "y").state_dict()), ValueError, "got that of 'y'"),
        (
            lambda: Stream(0, "x").load_state_dict({"seed": 0, "name": "x", "counter": -1}),
            ValueError,
            "expected a counter from 0",
        ),
        (lambda: Streams(0).load_state_dict({"seed": 0}), ValueError, "Streams: expected a state with seed"),
        (
            lambda: Streams(0).load_state_dict({"seed": 0, "counters": {"x": "1"}}),
            ValueError,
            "Stream 'x': expected a counter",
        ),
    ],
)  # fmt: skip
def test_errors(attempt, error, words):
    with pytest.raises(error) as caught:
        attempt()
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_state_that_is_refused_changes_nothing():
    streams = Streams(1)
    streams["x"].uniform(1)
    with pytest.raises(ValueError, match="counter"):
        streams.load_state_dict({"seed": 2, "counters": {"a": 1, "x": None}})
    assert streams.state_dict() == {"seed": 1, "counters": {"x": 1}}
