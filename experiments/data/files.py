"""Downloads that continue where they stopped, checked by their SHA-256, as a rule of the decompressed content."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import DataError
from .idx import sha256

CHUNK = 1 << 16
SECONDS = 30.0


def copy(source: Path, target: Path) -> None:
    """Copies a file under a name, in a folder made when missing, that it gets only once it is complete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.part")
    shutil.copyfile(source, temporary)
    temporary.replace(target)


def fetch(addresses: tuple[str, ...], folder: Path, name: str, digest: str, *, packed: bool = False) -> Path:
    """Downloads one file into `folder`, unless it is there already and whole.

    What arrived before an interruption stays in `NAME.partial` and the next call continues from there when the server
    supports ranges. The file gets its name only once it is complete, so a broken download is never taken for data.

    Args:
        addresses: tried in turn until one works.
        folder: made when missing.
        name: of the file.
        digest: SHA-256 of the content, after decompression when gzipped.
        packed: `digest` is of the file as it is, gzipped or not.

    Raises:
        DataError: no address works, the content that arrived differs from `digest` (it is removed), or another file of
            that name is there already (it is left alone).
    """
    import pooch

    target = folder / name
    summed = _sha256_as_it_is if packed else sha256
    if target.exists():
        found = summed(target)
        if found != digest:
            raise DataError(
                target, f"content with SHA-256 {found}, expected {digest}; move it away to download the file"
            )
        return target
    folder.mkdir(parents=True, exist_ok=True)
    pooch.get_logger().setLevel("ERROR")
    failures = []
    for address in addresses:
        try:
            # The known sum is of the decompressed content, which pooch does not check: it is checked below.
            pooch.retrieve(
                address, known_hash=None, fname=name, path=folder, downloader=resuming_downloader(folder / name)
            )
            break
        except (OSError, ValueError) as error:
            failures.append(f"{address} ({_reason(error)})")
    else:
        raise DataError(
            target,
            f"could not be downloaded: {'; '.join(failures)}; with the files from elsewhere, "
            f"`python -m experiments data import NAME FOLDER --data-dir {folder.parent}` checks and copies them",
        )
    try:
        found = summed(target)
    except DataError:
        target.unlink()
        raise
    if found != digest:
        target.unlink()
        raise DataError(target, f"content with SHA-256 {found}, expected {digest}; removed")
    return target


def resuming_downloader(target: Path) -> Callable[[str, str, Any], None]:
    """A downloader for pooch that keeps `TARGET.partial` over interruptions and asks the server for the rest."""

    def download(url: str, output_file: str, _pooch: Any) -> None:
        import requests

        partial = target.with_name(f"{target.name}.partial")
        have = partial.stat().st_size if partial.exists() else 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        # identity: the bytes counted must be the bytes stored, not a re-compressed transfer of them.
        headers["Accept-Encoding"] = "identity"
        with requests.get(url, headers=headers, stream=True, timeout=SECONDS) as response:
            if response.status_code == 416:
                # Nothing is left to send: the file here is whole or of another version. Start it anew.
                partial.unlink()
                return download(url, output_file, _pooch)
            response.raise_for_status()
            continued = response.status_code == 206
            length = response.headers.get("Content-Length")
            with partial.open("ab" if continued else "wb") as stream:
                for chunk in response.iter_content(CHUNK):
                    stream.write(chunk)
        expected = int(length) + (have if continued else 0) if length else None
        got = partial.stat().st_size
        if expected is not None and got != expected:
            raise OSError(f"ended after {got} of {expected} bytes; run again to continue")
        partial.replace(output_file)

    return download


def _sha256_as_it_is(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _reason(error: Exception) -> str:
    import requests

    if isinstance(error, requests.Timeout):
        return f"no answer in {SECONDS:g} seconds"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "broke off; run again to continue"
    if isinstance(error, requests.ConnectionError):
        return "cannot be reached"
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"status {error.response.status_code}"
    return (str(error).splitlines() or [type(error).__name__])[0]
