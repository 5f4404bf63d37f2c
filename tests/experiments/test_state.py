"""State of tracked objects: out, through a checkpoint file, and back, to the bit."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from experiments.harness.checkpoint import Checkpoint, LoopState
from experiments.harness.errors import UserError
from experiments.harness.state import capture, first_non_finite, restore
from tinygrad_hw.random import Stream

DTYPES = st.sampled_from([np.float64, np.float32, np.int64, np.uint8, np.bool_])
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text()
    | hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, min_side=0, max_side=3))
)
STATES = st.dictionaries(
    st.text("abc/.", max_size=3),
    st.recursive(
        LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab/", max_size=2), inner)
    ),
    max_size=4,
)


class Holder:
    """Anything with a state."""

    def __init__(self, state: Any) -> None:
        self.state = state

    def state_dict(self) -> Any:
        return self.state

    def load_state_dict(self, state: Any) -> None:
        self.state = state


def equal(left: Any, right: Any) -> bool:
    if isinstance(left, np.ndarray):
        return isinstance(right, np.ndarray) and left.dtype == right.dtype and left.tobytes() == right.tobytes()
    if isinstance(left, dict):
        return isinstance(right, dict) and left.keys() == right.keys() and all(equal(left[k], right[k]) for k in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(equal, left, right))
    return type(left) is type(right) and bool(left == right)


@given(state=STATES)
def test_round_trip_through_a_file(tmp_path_factory: pytest.TempPathFactory, state: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("state") / "file"
    plain, arrays = capture({"thing": Holder(state)})
    Checkpoint({"loop": LoopState(3, 9, 1.5, {"loss": (0.1, 2.0)}, {"worst": math.pi}, plain, arrays)}, 17, 2.5).save(
        path
    )
    found = Checkpoint.load(path)
    loop = found.loops["loop"]
    assert (loop.position, loop.steps, loop.seconds, loop.means, loop.maxima) == (
        3,
        9,
        1.5,
        {"loss": (0.1, 2.0)},
        {"worst": math.pi},
    )
    assert (found.metrics_bytes, found.seconds) == (17, 2.5)
    target = Holder(None)
    restore({"thing": target}, loop.tracked, loop.arrays)
    assert equal(state, target.state)


def test_names_with_slashes_do_not_collide() -> None:
    left, right = {"a/b": np.zeros(2), "a": {"b": np.ones(3)}}, Holder(None)
    plain, arrays = capture({"x": Holder(left), "x/a": np.full(1, 5.0), "x/a/b": np.full(1, 6.0)})
    last, longest = np.zeros(1), np.zeros(1)
    restore({"x": right, "x/a": last, "x/a/b": longest}, plain, arrays)
    assert equal(left, right.state)
    assert (last[0], longest[0]) == (5.0, 6.0)


def test_arrays_are_restored_in_place_and_captured_as_copies() -> None:
    flat = np.arange(6.0)
    params = {"view": flat[:4].reshape(2, 2), "count": 1}
    other = np.arange(3)
    plain, arrays = capture({"params": params, "other": other})
    flat += 1
    other += 1
    params["count"] = 2
    restore({"params": params, "other": other}, plain, arrays)
    np.testing.assert_array_equal(flat, [0, 1, 2, 3, 5, 6])
    np.testing.assert_array_equal(other, [0, 1, 2])
    assert params["count"] == 1


def test_stream_goes_on_where_it_was() -> None:
    stream = Stream(0, "noise")
    stream.normal(3)
    plain, arrays = capture({"stream": stream})
    expected = stream.normal(3)
    other = Stream(1, "noise")
    restore({"stream": other}, plain, arrays)
    np.testing.assert_array_equal(other.normal(3), expected)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"b": np.zeros(2)}, "checkpoint tracks a, this run b"),
        ({"a": np.zeros(3)}, r"a: checkpoint has float64\(2,\), this run float64\(3,\)"),
        ({"a": np.zeros(2, np.float32)}, r"a: checkpoint has float64\(2,\), this run float32\(2,\)"),
    ],
)
def test_other_objects_are_refused(target: dict[str, Any], message: str) -> None:
    plain, arrays = capture({"a": np.zeros(2)})
    with pytest.raises(UserError, match=message):
        restore(target, plain, arrays)


def test_other_keys_are_refused() -> None:
    plain, arrays = capture({"a": {"x": np.zeros(2)}})
    with pytest.raises(UserError, match="a: checkpoint has x, this run y"):
        restore({"a": {"y": np.zeros(2)}}, plain, arrays)


def test_what_cannot_be_stored_is_named() -> None:
    with pytest.raises(TypeError, match="a/x: cannot be checkpointed: object"):
        capture({"a": {"x": object()}})


def test_first_non_finite_value_is_named() -> None:
    good = np.ones((2, 3))
    assert first_non_finite({"x": good, "n": np.arange(3)}) is None
    good[1, 2] = -np.inf
    assert first_non_finite({"a/x": good}) == ("a/x[1, 2] is -inf (shape (2, 3), 1 such values)", np.inf)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x08\0\0\0\0\0\0\0{}      "])
def test_damaged_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"checkpoint.safetensors: not a checkpoint") as caught:
        Checkpoint.load(path)
    assert "\n" not in str(caught.value)


def test_checkpoint_of_another_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    with monkeypatch.context() as patch:
        patch.setattr("experiments.harness.checkpoint.FORMAT", 99)
        Checkpoint().save(path)
    with pytest.raises(UserError, match="another format"):
        Checkpoint.load(path)
