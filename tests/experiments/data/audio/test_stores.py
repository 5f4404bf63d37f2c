"""Folders and zip archives give the same bytes; archives that could do harm are refused whole."""

import stat
import struct
import zipfile
from pathlib import Path

import pytest

from experiments.data import DataError
from experiments.data.audio import stores


def archive(path: Path, members: dict[str, bytes], **options: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = options.get("mode", stat.S_IFREG | 0o644) << 16
            out.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


def test_folder_and_archive_are_the_same(tmp_path: Path) -> None:
    members = {"tr/a.wav": b"one", "tr/b.wav": b"two" * 1000, "v/c.wav": b""}
    for name, content in members.items():
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(content)
    folder = stores.store(tmp_path / "folder")
    packed = stores.store(archive(tmp_path / "a.zip", {"tr/": b"", **members}))
    assert folder.names() == packed.names() == sorted(members)
    for name, content in members.items():
        assert folder.read(name) == packed.read(name) == content
    with pytest.raises(DataError, match="cannot be read: No such file"):
        folder.read("tr/none.wav")


@pytest.mark.parametrize("name", ["/etc/a.wav", "../a.wav", "tr/../../a.wav", "tr\\a.wav", "C:a.wav"])
def test_paths_that_lead_out(tmp_path: Path, name: str) -> None:
    path = archive(tmp_path / "a.zip", {"tr/a.wav": b"fine", name: b"x"})
    with pytest.raises(DataError, match="leads out of its folder; nothing was read"):
        stores.store(path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


def test_links(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"tr/a.wav": b"/etc/passwd"}, mode=stat.S_IFLNK | 0o777)
    with pytest.raises(DataError, match="is a link"):
        stores.store(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_come_twice(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr("a.wav", b"one")
        out.writestr("a.wav", b"two")
    with pytest.raises(DataError, match=r"holds 'a\.wav' twice"):
        stores.store(tmp_path / "a.zip")


def test_encrypted(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"a.wav": b"one"})
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    with pytest.raises(DataError, match="is encrypted"):
        stores.store(path)


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path / "a.zip", {"a.wav": bytes(5000), "b.wav": bytes(5000)})
    monkeypatch.setattr(stores, "MOST_EACH", 4999)
    with pytest.raises(DataError, match="5,000 bytes, expected at most 4,999"):
        stores.store(path).read("a.wav")
    monkeypatch.setattr(stores, "MOST", 9999)
    with pytest.raises(DataError, match="10,000 bytes when decompressed, expected at most 9,999"):
        stores.store(path)


def test_a_size_that_is_a_lie(tmp_path: Path) -> None:
    """A member that decompresses to more than the table of contents says: never read beyond that."""
    path = archive(tmp_path / "a.zip", {"a.wav": bytes(100_000)})
    raw = bytearray(path.read_bytes())
    place = raw.index(b"PK\x01\x02") + 24
    raw[place : place + 4] = struct.pack("<I", 10)
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"a\.wav"):
        stores.store(path).read("a.wav")


def test_damage(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"a.wav": bytes(range(256)) * 40})
    raw = path.read_bytes()
    path.write_bytes(raw[:-30])
    with pytest.raises(DataError, match="no whole zip archive"):
        stores.store(path)
    path.write_bytes(raw[:50] + bytes([raw[50] ^ 255]) + raw[51:])
    with pytest.raises(DataError, match=r"a\.wav: damaged in its archive"):
        stores.store(path).read("a.wav")
    path.write_bytes(b"no archive")
    with pytest.raises(DataError, match="no whole zip archive"):
        stores.store(path)
