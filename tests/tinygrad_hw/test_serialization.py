"""safetensors files: every layout and dtype there and back, both ways with PyTorch, and a crash that loses nothing."""

from __future__ import annotations

import builtins
import errno
import os
import stat
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_hw as tg
from tinygrad_hw import serialization
from tinygrad_hw.serialization import SerializationError, atomic_write, load, load_metadata, save

LAYOUTS = {
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "transposed": np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1),
    "reversed": np.arange(10)[::-2],
    "broadcast": np.broadcast_to(np.float32(2), (3, 2)),
    "big_endian": np.arange(3, dtype=">f4"),
    "without_axes": np.array(3.5),
    "empty": np.zeros((0, 4), np.float32),
    "booleans": np.array([[True], [False]]),
    "float16": np.arange(3, dtype=np.float16),
    "int8": np.array([-1, 2], np.int8),
    "uint64": np.array([2**64 - 1], np.uint64),
    "complex64": np.array([1 + 2j], np.complex64),
}


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype.newbyteorder("=") and np.array_equal(a, b)


def test_every_layout_and_dtype_comes_back(tmp_path):
    path = tmp_path / "a.safetensors"
    save(path, LAYOUTS)
    loaded = load(path)
    assert list(loaded) == sorted(LAYOUTS)
    for name, array in LAYOUTS.items():
        assert same(loaded[name], array), name
        assert loaded[name].flags.writeable and loaded[name].flags.c_contiguous


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.float16, np.int32, np.bool_]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
    ),
    st.randoms(use_true_random=False),
)
def test_any_permutation_of_axes_comes_back(tmp_path_factory, array, random):
    axes = list(range(array.ndim))
    random.shuffle(axes)
    path = tmp_path_factory.mktemp("any") / "a.safetensors"
    save(path, {"x": array.transpose(axes)})
    assert load(path)["x"].tobytes() == array.transpose(axes).tobytes()


def test_tensors_and_metadata(tmp_path):
    path = tmp_path / "a.safetensors"
    save(path, {"x": tg.tensor([1.0, 2.0], requires_grad=True)}, {"epoch": "3", "Größe": "ä\n"})
    assert same(load(path)["x"], np.array([1, 2], np.float32))
    assert load_metadata(path) == {"epoch": "3", "Größe": "ä\n"}
    save(path, {})
    assert load(path) == {} and load_metadata(path) == {}


def test_what_has_no_names_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"x\.safetensors: expected arrays by name, got list"):
        tg.save(tmp_path / "x.safetensors", [np.ones(2)])


def test_pytorch_reads_what_we_write(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    arrays = {name: array for name, array in LAYOUTS.items() if name != "uint64"}
    save(tmp_path / "a.safetensors", arrays)
    loaded = load_file(tmp_path / "a.safetensors")
    assert set(loaded) == set(arrays)
    for name, array in arrays.items():
        assert isinstance(loaded[name], torch.Tensor) and same(loaded[name].numpy(), array), name


def test_we_read_what_pytorch_writes(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    tensors = {
        "float32": torch.randn(3, 4),
        "float64": torch.randn(2, 0, dtype=torch.float64),
        "scalar": torch.tensor(7),
        "bool": torch.tensor([True, False]),
        "half": torch.randn(5).half(),
        "bfloat16": torch.tensor([1.0, -2.5, 3.0e38, float("inf"), float("nan"), 1e-40]).bfloat16().reshape(2, 3),
    }
    save_file(tensors, tmp_path / "a.safetensors", metadata={"format": "pt"})
    loaded = load(tmp_path / "a.safetensors")
    assert load_metadata(tmp_path / "a.safetensors") == {"format": "pt"}
    for name, tensor in tensors.items():
        expected = tensor.float().numpy() if name == "bfloat16" else tensor.numpy()
        np.testing.assert_array_equal(loaded[name], expected, strict=True)
        assert loaded[name].flags.writeable


def test_a_dtype_that_numpy_lacks_is_named(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    save_file({"eight": torch.zeros(2).to(torch.float8_e4m3fn)}, tmp_path / "a.safetensors")
    with pytest.raises(SerializationError, match=r"a\.safetensors: array 'eight' has dtype F8_E4M3, which NumPy lacks"):
        load(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("arrays", "metadata", "words"),
    [
        ({"x": np.array(["a"])}, None, "array 'x' has dtype <U1"),
        ({"x": np.array([None])}, None, "array 'x' has dtype object"),
        ({"x": np.zeros(1, np.complex128)}, None, "array 'x' has dtype complex128"),
        ({3: np.zeros(1)}, None, "names must be text .* got 3"),
        ({"__metadata__": np.zeros(1)}, None, "names must be text other than '__metadata__'"),
        ({"x": np.zeros(1)}, {"epoch": 3}, "metadata must be text to text, got 'epoch': 3"),
    ],
)
def test_what_the_format_cannot_hold(tmp_path, arrays, metadata, words):
    with pytest.raises(SerializationError, match=f"a.safetensors: {words}"):
        save(tmp_path / "a.safetensors", arrays, metadata)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("read", [load, load_metadata])
def test_files_that_cannot_be_read(tmp_path, read):
    path = tmp_path / "a.safetensors"
    with pytest.raises(SerializationError, match=r"a\.safetensors: No such file"):
        read(path)
    with pytest.raises(SerializationError, match=r"Is a directory|Permission denied"):
        read(tmp_path)
    save(path, {"x": np.arange(100.0)})
    whole = path.read_bytes()
    for content in (b"", whole[:7], whole[:20], whole[:-1], b"{'this': 'is no safetensors file at all'}" * 9):
        path.write_bytes(content)
        with pytest.raises(SerializationError) as caught:
            read(path)
        message = str(caught.value)
        assert f"{path}: not a safetensors file, or a truncated one ({len(content)} bytes" in message
        assert "\n" not in message


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(SerializationError, match=r"b\.safetensors: there is no folder .*gone"):
        save(tmp_path / "gone" / "b.safetensors", {})


def test_a_missing_library_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(SerializationError, match="pip install safetensors"):
        save(tmp_path / "a.safetensors", {})
    with pytest.raises(SerializationError, match="pip install safetensors"):
        load(tmp_path / "a.safetensors")


def full_disk(*args: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class _FullDisk:
    """A file whose disk is full after ten bytes."""

    def __init__(self, path: str, mode: str) -> None:
        self._file = builtins.open(path, mode)  # noqa: SIM115

    def __enter__(self) -> _FullDisk:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, content: bytes) -> None:
        self._file.write(content[:10])
        full_disk()


def fail_in(monkeypatch: pytest.MonkeyPatch, stage: str, error: BaseException) -> None:
    def fail(*args: object) -> None:
        raise error

    if stage == "write":
        monkeypatch.setattr(serialization, "open", _FullDisk, raising=False)
    else:
        monkeypatch.setattr(os, stage, fail)


@pytest.mark.parametrize("stage", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_previous_file_alone(tmp_path, monkeypatch, stage):
    path = tmp_path / "a.safetensors"
    save(path, {"x": np.arange(3)})
    fail_in(monkeypatch, stage, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    with pytest.raises(SerializationError) as caught:
        save(path, {"x": np.arange(4)})
    assert str(caught.value) == f"save {path}: No space left on device"
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
    np.testing.assert_array_equal(load(path)["x"], np.arange(3))


@pytest.mark.parametrize("stage", ["fsync", "replace"])
def test_an_interruption_leaves_the_previous_file_alone(tmp_path, monkeypatch, stage):
    path = tmp_path / "a.safetensors"
    save(path, {"x": np.arange(3)})
    fail_in(monkeypatch, stage, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        save(path, {"x": np.arange(4)})
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
    np.testing.assert_array_equal(load(path)["x"], np.arange(3))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
def test_the_reason_is_the_systems_own(tmp_path, monkeypatch):
    """The real message of a real full device, written to in place of the temporary file."""
    monkeypatch.setattr(serialization, "open", lambda *_: builtins.open("/dev/full", "wb", 0), raising=False)  # noqa: SIM115
    monkeypatch.setattr(serialization.Path, "unlink", lambda self: None)
    with pytest.raises(SerializationError, match="No space left on device"):
        atomic_write(tmp_path / "a.bin", b"content")


def test_it_flushes_file_and_folder_in_order(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def noted_replace(source: object, target: object) -> None:
        calls.append("rename")
        replace(source, target)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    atomic_write(tmp_path / "a.json", b"{}")
    assert calls == ["file", "rename", "folder"]
    assert (tmp_path / "a.json").read_bytes() == b"{}"


def test_a_link_stays_a_link_and_the_mode_is_the_usual_one(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "a.bin")
    atomic_write(tmp_path / "link", b"one")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real" / "a.bin").read_bytes() == b"one"
    (tmp_path / "plain").write_bytes(b"")
    assert stat.S_IMODE(os.stat(tmp_path / "link").st_mode) == stat.S_IMODE(os.stat(tmp_path / "plain").st_mode)
