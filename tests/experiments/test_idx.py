"""The idx reader: what was written comes back, and every damage is named."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from experiments.data import DataError
from experiments.data.idx import read_idx, sha256

from .idx_files import CODES, idx_bytes

ARRAYS = st.sampled_from(sorted(CODES, key=str)).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))
)


@given(array=ARRAYS, zipped=st.booleans())
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, zipped: bool) -> None:
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(gzip.compress(idx_bytes(array)) if zipped else idx_bytes(array))
    found = read_idx(path)
    assert found.dtype == array.dtype
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, array)


@given(array=ARRAYS, cut=st.integers(1, 200))
def test_every_truncation_is_refused(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, cut: int) -> None:
    path = tmp_path_factory.mktemp("idx") / "file"
    content = idx_bytes(array)
    path.write_bytes(content[: max(0, len(content) - cut)])
    with pytest.raises(DataError, match=r"file: (truncated|ends at byte)"):
        read_idx(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "ends at byte 0, expected an idx header"),
        (b"\0\0\x08\x02\0\0\0\x01", "ends at byte 8, expected 8 bytes of sizes"),
        (b"\0\0\x08\x01\0\0\0\x03ab", "truncated: 10 bytes, expected 11 for 3 values"),
        (b"\0\0\x08\x01\0\0\0\x03abcd", "too long: 12 bytes, expected 11"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "truncated: 16 bytes"),
        (b"PK\x03\x04 and so on", "byte 0: magic number 0x504b0304, expected 0x00000801"),
        (b"\0\0\x0a\x01\0\0\0\0", "byte 0: magic number 0x00000a01"),
    ],
)
def test_damage_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_idx(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_dimensions_and_type_are_named(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(idx_bytes(np.zeros(3, np.uint8)))
    with pytest.raises(DataError, match="means 1 dimensions, expected 3"):
        read_idx(path, ndim=3, code=0x08)
    path.write_bytes(idx_bytes(np.zeros((1, 2, 2), np.float32)))
    with pytest.raises(DataError, match="0x00000d03, expected 0x00000803"):
        read_idx(path, ndim=3, code=0x08)


@pytest.mark.parametrize("cut", [1, 8, 12, 30])
def test_damaged_gzip_is_named(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "file.gz"
    content = gzip.compress(idx_bytes(np.arange(100, dtype=np.uint8)))
    path.write_bytes(content[:-cut])
    with pytest.raises(DataError, match="gzip data"):
        read_idx(path)
    path.write_bytes(content[:20] + bytes(255 - byte for byte in content[20:40]) + content[40:])
    with pytest.raises(DataError, match="gzip data"):
        read_idx(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: cannot be read: No such file"):
        read_idx(tmp_path / "nowhere")


def test_sum_is_of_the_content(tmp_path: Path) -> None:
    plain, zipped = tmp_path / "a", tmp_path / "b"
    plain.write_bytes(b"content")
    zipped.write_bytes(gzip.compress(b"content"))
    assert sha256(plain) == sha256(zipped) == "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
