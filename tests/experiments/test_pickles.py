"""Arrays from pickles: every honest one is read, nothing that a hostile one asks for is done."""

import builtins
import gzip
import io
import os
import pickle
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from experiments.data import DataError
from experiments.data.pickles import read_array, read_dict

ANY = (None, None, None)
PICTURES = np.arange(24, dtype=np.float64).reshape(2, 3, 4)


def write(folder: Path, content: bytes) -> Path:
    path = folder / "array.pkl"
    path.write_bytes(content)
    return path


def refusal(folder: Path, content: bytes, shape: tuple[int | None, ...] = ANY, kinds: str = "biuf") -> str:
    """The message that a file is refused with, without the file's name; always one line."""
    path = write(folder, content)
    with pytest.raises(DataError) as caught:
        read_array(path, shape, kinds)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert text.isprintable()
    assert len(text) < 400
    return text.removeprefix(f"{path}: ")


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", ["bool", "u1", "i2", "<i4", ">i4", "i8", "f2", "<f4", ">f4", "f8"])
@pytest.mark.parametrize("layout", ["C", "F", "part"])
def test_round_trip(tmp_path: Path, protocol: int, dtype: str, layout: str) -> None:
    array = (PICTURES % 7).astype(dtype)
    array = array[:, ::2] if layout == "part" else np.asarray(array, order="F" if layout == "F" else "C")
    found = read_array(write(tmp_path, pickle.dumps(array, protocol)), ANY)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype.newbyteorder("=")
    assert found.flags.owndata or found.base.flags.owndata
    found[0] = 0


@given(arrays.arrays(st.sampled_from(["u1", "i4", "f8"]), arrays.array_shapes(max_dims=4), elements={"max_value": 100}))
def test_round_trip_of_any_shape(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray) -> None:
    array = np.nan_to_num(array, posinf=1, neginf=1)
    path = write(tmp_path_factory.getbasetemp(), pickle.dumps(array))
    np.testing.assert_array_equal(read_array(path, array.shape), array)


def test_gzipped(tmp_path: Path) -> None:
    path = tmp_path / "array.pkl.gz"
    path.write_bytes(gzip.compress(pickle.dumps(PICTURES)))
    np.testing.assert_array_equal(read_array(path, ANY), PICTURES)


def test_as_python_2_wrote_it(tmp_path: Path) -> None:
    """Values as text of 8-bit characters, old module names, protocol 2: as `cPickle.dump(array, f, 2)` made them."""
    array = np.array([[0, 200, 255]], np.uint8)
    content = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87Rq\x03"
        b"(K\x01K\x01K\x03\x86cnumpy\ndtype\nq\x04U\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff"
        b"\xffK\x00tb\x89U\x03\x00\xc8\xfftb."
    )
    np.testing.assert_array_equal(read_array(write(tmp_path, content), (1, 3)), array)


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (os.system, ("touch {}",)),
        (subprocess.run, (["touch", "{}"],)),
        (eval, ("open('{}', 'w')",)),
        (exec, ("open('{}', 'w')",)),
        (open, ("{}", "w")),
        (getattr, (builtins, "exec")),
        (np.save, ("{}", 1)),
        (np.load, ("{}", None, True)),
        (np.lib.format.open_memmap, ("{}", "w+")),
        (np.ndarray, ((2,),)),
        (np.dtype, ("O",)),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("inside", [False, True])
def test_nothing_is_run(tmp_path: Path, function: Any, arguments: tuple[Any, ...], protocol: int, inside: bool) -> None:
    touched = tmp_path / "touched"
    filled = [part.format(touched) if isinstance(part, str) else part for part in arguments]
    if isinstance(arguments[0], list):
        filled[0] = [part.format(touched) for part in arguments[0]]
    if filled[0] is builtins:
        filled[0] = "builtins"
    hostile: Any = Calls(function, *filled)
    content = pickle.dumps([PICTURES, hostile] if inside else hostile, protocol)
    text = refusal(tmp_path, content)
    assert text.startswith("the pickle ")
    assert function is np.ndarray or function is np.dtype or "which no array of numbers needs" in text
    assert not touched.exists()


class Opcodes:
    """Short names for hand-made pickles."""

    RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
    NDARRAY = b"cnumpy\nndarray\n"
    DTYPE = b"cnumpy\ndtype\n"
    U1 = DTYPE + b"(S'u1'\nI0\nI1\ntR"
    EMPTY = RECONSTRUCT + b"(" + NDARRAY + b"(I0\ntS'b'\ntR"


def built(shape: bytes = b"(I3\nt", dtype: bytes = Opcodes.U1, raw: bytes = b"S'abc'\n") -> bytes:
    """A pickle of three bytes, with parts of it exchanged."""
    return Opcodes.EMPTY + b"(I1\n" + shape + dtype + b"I00\n" + raw + b"tb."


def test_the_hand_made_pickle_is_right(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_array(write(tmp_path, built()), (3,)), list(b"abc"))


LAUGHS = b"(I1\nt" + b"2\x86" * 60  # a pair of itself, of itself, ...: its text would have 2**60 parts


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (built(shape=b"(I4\nt"), "holds 3 bytes of values, expected 4 for shape (4,) of uint8"),
        (built(shape=b"(I-3\nt"), "whose shape is no tuple of sizes"),
        (built(shape=b"(F3.0\nt"), "whose shape is no tuple of sizes"),
        (built(shape=b"I3\n"), "whose shape is no tuple of sizes"),
        (built(shape=LAUGHS), "whose shape is no tuple of sizes"),
        (built(dtype=Opcodes.DTYPE + b"(" + LAUGHS + b"I0\nI1\ntR"), "holds values of type a tuple"),
        (built(dtype=Opcodes.U1 + b"(I3\n" + LAUGHS + b"tb"), "holds values in byte order a tuple"),
        (built(dtype=Opcodes.U1 + b"(I3\nS'?'\ntb"), "holds values in byte order '?'"),
        (built(dtype=b"N"), "holds an array without a type"),
        (built(dtype=Opcodes.DTYPE + b"(S'O8'\nI0\nI1\ntR"), "values of type 'O8', expected booleans"),
        (built(dtype=Opcodes.DTYPE + b"(S'V9'\nI0\nI1\ntR"), "values of type 'V9'"),
        (built(dtype=Opcodes.DTYPE + b"(S'\\x1b[2J\\n'\nI0\nI1\ntR"), r"values of type '\x1b[2J\n'"),
        (built(raw=b"(lI1\na"), "holds a list of values, expected 3"),
        (Opcodes.EMPTY + b".", "holds an unfinished array, expected one NumPy array"),
        (Opcodes.NDARRAY + b".", "holds a class, expected one NumPy array"),
        (Opcodes.NDARRAY + b"(I3\ntR.", "makes an array in a way of its own"),
        (Opcodes.U1 + b".", "holds an unfinished array"),
        (Opcodes.RECONSTRUCT + b"(" + Opcodes.DTYPE + b"(I0\ntS'b'\ntR.", "holds an array of a class of its own"),
        (b"c_codecs\nencode\n(S'a'\nS'rot13'\ntR.", "asks for `_codecs.encode` in a way that no array does"),
        (b"c_codecs\nencode\n(S'a'\ntR.", "holds bytes, expected one NumPy array"),
        (Opcodes.NDARRAY + b")\x81}b.", "sets the state of _Kind"),
        (b"cposix\nsystem\n(S'true'\ntR.", "asks for 'posix.system', which no array of numbers needs"),
        (b"c" + b"a" * 999 + b"\nb\n.", "which no array of numbers needs"),
        (b"Pelsewhere\n.", "refers to something outside the file"),
        (b"I1\nr\xff\xff\xff\x7f.", "notes something under number 2147483647 at byte 3"),
        (b"I1\np2000000000\n.", "notes something under number 2000000000 at byte 3"),
        (b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b".", "no whole pickle of an array"),
        (b"\x8e" + struct.pack("<Q", 2**60) + b".", "no whole pickle of an array"),
        (b"\x82\x01.", "no whole pickle of an array"),
        (b"", "no whole pickle of an array"),
        (b"hello", "no whole pickle of an array"),
        (pickle.dumps(PICTURES)[:-30], "no whole pickle of an array"),
        (pickle.dumps(PICTURES) + b"x", "goes on after an array, at byte"),
        (pickle.dumps(PICTURES) * 2, "goes on after an array, at byte"),
        (pickle.dumps({"a": PICTURES}), "holds a dictionary, expected one NumPy array"),
        (pickle.dumps([PICTURES]), "holds a list, expected one NumPy array"),
        (pickle.dumps(3), "holds a number, expected one NumPy array"),
        (pickle.dumps(None), "holds something else, expected one NumPy array"),
        (pickle.dumps(np.array([None, 1])), "holds values of type 'O8'"),
        (pickle.dumps(np.array(["a"])), "holds values of type"),
        (pickle.dumps(np.zeros(2, [("a", "f4")])), "holds values of type 'V4'"),
        (pickle.dumps(np.zeros(2, "c8")), "holds values of type 'c8'"),
        (pickle.dumps(np.ma.zeros(2)), "asks for 'numpy.ma"),
        (pickle.dumps(np.float64(1)), "asks for 'numpy"),
    ],
)
def test_refused(tmp_path: Path, content: bytes, words: str) -> None:
    assert words in refusal(tmp_path, content)


def test_other_array_than_asked_for(tmp_path: Path) -> None:
    content = pickle.dumps(PICTURES)
    assert refusal(tmp_path, content, (None, 28, 28)) == "an array of 2 x 3 x 4, expected N x 28 x 28"
    assert refusal(tmp_path, content, (None, 12)) == "an array of 2 x 3 x 4, expected N x 12"
    assert refusal(tmp_path, pickle.dumps(PICTURES[:0])) == "an array of 0 x 3 x 4, expected N x N x N"
    assert refusal(tmp_path, pickle.dumps(np.array(1.0)), (None,)) == "an array of one number, expected N"
    assert refusal(tmp_path, content, kinds="iu") == "values of type float64, expected whole numbers"
    for bad in (np.nan, np.inf):
        broken = PICTURES.copy()
        broken[1, 0, 2] = bad
        assert refusal(tmp_path, pickle.dumps(broken)) == f"value [1, 0, 2] is {bad}, expected finite numbers"


@pytest.mark.parametrize("protocol", range(6))
def test_dictionary(tmp_path: Path, protocol: int) -> None:
    entries = {b"data": PICTURES, "labels": [3, 1], "names": [b"a", "b"], "label": "batch 1", "rate": 0.5, "empty": []}
    for number, raw in enumerate((None, pickle.dumps(entries, protocol))):
        content = pickle.dumps(entries, protocol) if raw is None else b"something else"
        found = read_dict(write(tmp_path, content), raw)
        np.testing.assert_array_equal(found.pop("data"), PICTURES)
        expected = {"labels": [3, 1], "names": ["a", "b"], "label": "batch 1", "rate": 0.5, "empty": []}
        assert found == expected, number


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pickle.dumps([1]), "holds a list, expected a dictionary"),
        (pickle.dumps({1: 2}), "holds a number as a key, expected text"),
        (pickle.dumps({"a": {"b": 1}}), "holds a dictionary, expected arrays, numbers, text, or lists"),
        (pickle.dumps({"a": [[1]]}), "holds a list, expected arrays"),
        (pickle.dumps({"a": [PICTURES]}), "holds an unfinished array, expected arrays"),
        (pickle.dumps({"a": None}), "holds something else, expected arrays"),
        (pickle.dumps({"a": (1, 2)}), "holds a tuple, expected arrays"),
        (pickle.dumps({"a": Calls(os.system, "true")}), "system', which no array of numbers needs; nothing of it"),
        (pickle.dumps({"a": 1})[:-3], "no whole pickle of a dictionary"),
        (pickle.dumps({"a": 1}) + b"x", "goes on after a dictionary, at byte"),
    ],
)
def test_other_than_a_dictionary_of_plain_values(tmp_path: Path, content: bytes, words: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(DataError) as caught:
        read_dict(path)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_list_of_itself(tmp_path: Path) -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(DataError, match="holds a list, expected arrays"):
        read_dict(write(tmp_path, pickle.dumps({"a": endless})))


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_damage_never_escapes(tmp_path_factory: pytest.TempPathFactory, position: int, value: int) -> None:
    """One byte changed anywhere: an array of numbers, or one line."""
    content = bytearray(pickle.dumps(PICTURES, position % 6))
    content[position % len(content)] = value
    try:
        found = read_array(write(tmp_path_factory.getbasetemp(), bytes(content)), ANY)
    except DataError as error:
        assert "\n" not in str(error)
    else:
        assert found.dtype.kind in "biuf"


def test_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises((DataError, OSError)) as caught:
        read_array(tmp_path / "none.pkl", ANY)
    assert "none.pkl" in str(caught.value)


def test_hostile_pickles_would_have_run(tmp_path: Path) -> None:
    """The same file under Python's own unpickler: what the tests above guard against is real."""
    touched = tmp_path / "touched"
    path = write(tmp_path, pickle.dumps(Calls(open, str(touched), "w")))
    pickle.load(io.BytesIO(path.read_bytes())).close()
    assert touched.exists()
