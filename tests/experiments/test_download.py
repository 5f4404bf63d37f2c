"""Downloads from a local server: continued after an interruption, checked by sum, never half a file under its name."""

import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from experiments.data import DataError, cifar10, mnist
from experiments.data.files import fetch

from .data.cifar_files import PYTHON, batches, binary_files, pack, python_files
from .data.cifar_files import write as write_files
from .idx_files import digits, idx_bytes, write

CONTENT = bytes(range(256)) * 1000
SUM = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves files from memory; can break off a transfer, and ignore ranges."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.break_after: int | None = None
        self.ranges = True
        self.requests: list[tuple[str, str | None]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.requests.append((self.path, wanted))
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and self.server.ranges else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = start + self.server.break_after if self.server.break_after is not None else None
        self.wfile.write(content[start:end])

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_whole_file(server: Server, tmp_path: Path) -> None:
    server.files["/file"] = CONTENT
    path = fetch((f"{server.address}/file",), tmp_path / "new", "file", SUM)
    assert path.read_bytes() == CONTENT
    fetch((f"{server.address}/file",), tmp_path / "new", "file", SUM)
    assert len(server.requests) == 1, "a file that is there and whole is not asked for again"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


@pytest.mark.parametrize("ranges", [True, False])
def test_continues_after_an_interruption(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.files["/file"], server.break_after, server.ranges = CONTENT, 100_000, ranges
    with pytest.raises(DataError, match=r"could not be downloaded: .*/file .*run again to continue"):
        fetch((f"{server.address}/file",), tmp_path, "file", SUM)
    assert not (tmp_path / "file").exists()
    have = (tmp_path / "file.partial").read_bytes()
    assert 50_000 < len(have) <= 100_000
    assert CONTENT.startswith(have)
    server.break_after = None
    assert fetch((f"{server.address}/file",), tmp_path, "file", SUM).read_bytes() == CONTENT
    assert server.requests[-1][1] == f"bytes={len(have)}-"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_partial_that_is_too_long_is_begun_anew(server: Server, tmp_path: Path) -> None:
    server.files["/file"] = CONTENT
    (tmp_path / "file.partial").write_bytes(CONTENT + b"more")
    assert fetch((f"{server.address}/file",), tmp_path, "file", SUM).read_bytes() == CONTENT


def test_next_address_is_tried(server: Server, tmp_path: Path) -> None:
    server.files["/there"] = CONTENT
    fetch((f"{server.address}/gone", f"{server.address}/there"), tmp_path, "file", SUM)
    assert [path for path, _ in server.requests] == ["/gone", "/there"]


def test_failures_are_named(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"file: could not be downloaded: .*/gone \(status 404\)") as caught:
        fetch((f"{server.address}/gone",), tmp_path, "file", SUM)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"could not be downloaded: http://127.0.0.1:1/file \(cannot be reached\)"):
        fetch(("http://127.0.0.1:1/file",), tmp_path, "file", SUM)


def test_wrong_content_is_removed(server: Server, tmp_path: Path) -> None:
    server.files["/file"] = CONTENT[:-1] + b"x"
    with pytest.raises(DataError, match=rf"content with SHA-256 \w+, expected {SUM}; removed"):
        fetch((f"{server.address}/file",), tmp_path, "file", SUM)
    assert list(tmp_path.iterdir()) == []


def test_other_file_of_that_name_is_left_alone(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(DataError, match="move it away"):
        fetch((f"{server.address}/file",), tmp_path, "file", SUM)
    assert (tmp_path / "file").read_bytes() == b"mine"
    assert server.requests == []


def test_mnist_whole(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = digits()
    published = {name: hashlib.sha256(idx_bytes(array)).hexdigest() for name, array in arrays.items()}
    monkeypatch.setattr(mnist, "PUBLISHED", published)
    for path in write(tmp_path / "site", arrays, zipped=True).iterdir():
        server.files[f"/mnist/{path.name}"] = path.read_bytes()
    server.break_after = 2000
    with pytest.raises(DataError):
        mnist.download(tmp_path / "data", (f"{server.address}/mnist",))
    assert mnist.status(tmp_path / "data")[0] != "complete"
    server.break_after = None
    mnist.download(tmp_path / "data", (f"{server.address}/mnist/",))
    assert mnist.status(tmp_path / "data")[0] == "complete"
    asked = len(server.requests)
    mnist.download(tmp_path / "data", (f"{server.address}/mnist",))
    assert len(server.requests) == asked
    (tmp_path / "data" / "mnist" / f"{next(iter(published))}.gz").write_bytes(b"mine")
    with pytest.raises(DataError, match="move it away"):
        mnist.download(tmp_path / "data", (f"{server.address}/mnist",))


def test_cifar10_archive(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sum is that of the compressed file; a folder that is there already and whole is enough."""
    archive = pack(tmp_path / "site" / PYTHON.archive, python_files(batches()), PYTHON.folder).read_bytes()
    server.files[f"/{PYTHON.archive}"] = archive
    monkeypatch.setattr(cifar10, "ARCHIVE_SUM", "0" * 64)
    with pytest.raises(DataError, match=r"content with SHA-256 \w+, expected 0{64}; removed"):
        cifar10.download(tmp_path / "data", (server.address,))
    assert cifar10.status(tmp_path / "data")[0] == "absent"
    monkeypatch.setattr(cifar10, "ARCHIVE_SUM", hashlib.sha256(archive).hexdigest())
    server.break_after = len(archive) // 2
    with pytest.raises(DataError, match="run again to continue"):
        cifar10.download(tmp_path / "data", (server.address,))
    server.break_after = None
    have = (tmp_path / "data" / "cifar10" / f"{PYTHON.archive}.partial").stat().st_size
    cifar10.download(tmp_path / "data", (f"{server.address}/",))
    assert server.requests[-1] == (f"/{PYTHON.archive}", f"bytes={have}-")
    assert (tmp_path / "data" / "cifar10" / PYTHON.archive).read_bytes() == archive
    assert cifar10.load(tmp_path / "data").train_images.shape == (100, 3, 32, 32)

    write_files(tmp_path / "other", binary_files(batches()))
    with pytest.raises(DataError, match=r"holds other pictures .*; move them away to download CIFAR-10"):
        cifar10.download(tmp_path / "other", (server.address,))
    asked = len(server.requests)
    monkeypatch.setattr(cifar10, "status", lambda folder: ("complete", ""))
    cifar10.download(tmp_path / "other", (server.address,))
    assert len(server.requests) == asked
