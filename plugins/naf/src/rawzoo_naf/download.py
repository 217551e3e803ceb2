"""Files of a dataset on a Dataverse server, one by one: resumed where they broke off, checked before they get their
names. The API: https://guides.dataverse.org/en/latest/api/dataaccess.html."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from rawzoo.errors import RawzooError, UsageError

#: Called with a file's name, the bytes of it that are there, and its size.
Progress = Callable[[str, int, int], None]

#: Bytes read at a time; where a transfer breaks off, so many may have to come again.
_CHUNK = 1 << 16
_TIMEOUT = (15, 60)
#: Pauses before trying again where nothing came, in seconds; whatever comes starts them anew.
_PAUSES = (1.0, 4.0, 15.0, 60.0)
_HASHES = {"MD5": "md5", "SHA-1": "sha1", "SHA-256": "sha256", "SHA-512": "sha512"}


@dataclass(frozen=True)
class RemoteFile:
    """A file as the server lists it.

    Attributes:
        id: for the server.
        name: plain, without a folder.
        size: bytes.
        algorithm, digest: checksum, ``algorithm`` as hashlib calls it.
    """

    id: int
    name: str
    size: int
    algorithm: str
    digest: str


def listing(server: str, dataset: str) -> list[RemoteFile]:
    """All files of the latest version of a dataset that may be downloaded.

    Args:
        server: address of a Dataverse server or of a mirror that answers the same.
        dataset: persistent identifier, such as a DOI.

    Raises:
        RawzooError: the server cannot be reached, does not know the dataset, or answers otherwise than described.
    """
    url = f"{server.rstrip('/')}/api/datasets/:persistentId"
    try:
        answer = requests.get(url, params={"persistentId": dataset}, timeout=_TIMEOUT)
        answer.raise_for_status()
        entries = answer.json()["data"]["latestVersion"]["files"]
        return [_remote(entry["dataFile"], server) for entry in entries if not entry.get("restricted")]
    except requests.HTTPError as error:
        raise RawzooError(f"{server} does not list dataset {dataset}: {_reason(error)}.") from error
    except requests.JSONDecodeError as error:
        raise RawzooError(f"{server} did not answer with a list of files; is it a Dataverse server?") from error
    except requests.RequestException as error:
        raise RawzooError(f"{server} cannot be reached: {_reason(error)}; check the network or --server.") from error
    except (KeyError, TypeError, ValueError) as error:
        raise RawzooError(f"the list of files from {server} is not as Dataverse's API has it ({error!r}).") from error


def _remote(entry: dict[str, Any], server: str) -> RemoteFile:
    name = str(entry["filename"])
    if name in ("", ".", "..") or any(c in name for c in "/\\:\0"):
        raise RawzooError(f"{server} lists a file named {name!r}, which is no name for a file here.")
    checksum = entry.get("checksum") or {"type": "MD5", "value": entry["md5"]}
    algorithm = _HASHES[checksum["type"]]
    return RemoteFile(int(entry["id"]), name, int(entry["filesize"]), algorithm, str(checksum["value"]).lower())


def missing(files: Sequence[RemoteFile], folder: Path) -> list[RemoteFile]:
    """Those that are not there yet with the size they should have; files get their names only when checked."""
    return [file for file in files if _size(folder / file.name) != file.size]


def check_space(files: Sequence[RemoteFile], folder: Path) -> None:
    """That the rest of these files fits on the disk.

    Raises:
        UsageError: it does not.
    """
    needed = sum(file.size - min(_size(_part(folder, file)), file.size) for file in files)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UsageError(
            f"{folder} has {free / 1e9:.1f} GB free, and {needed / 1e9:.1f} GB are still to come; make room, choose "
            "another folder, or take fewer with --camera and --scene."
        )


def fetch(server: str, file: RemoteFile, folder: Path, progress: Progress) -> None:
    """Download one file, from where an earlier attempt ended.

    A transfer that breaks off is taken up again several times; what is there stays beside as ``.NAME.part``.

    Raises:
        RawzooError: the server does not give it, or gives something else than it lists, which is thrown away.
    """
    part = _part(folder, file)
    pauses = iter(_PAUSES)
    while True:
        before = _size(part)
        try:
            if before < file.size or not part.exists():
                _transfer(server, file, part, progress)
            break
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 500
            if status == 416:  # the part is longer than what the server has
                part.unlink()
            elif status < 500 and status not in (408, 429):
                raise RawzooError(f"{file.name}: the server refuses it: {_reason(error)}.") from error
            reason = _reason(error)
        except requests.RequestException as error:
            reason = _reason(error)
        except OSError as error:
            raise RawzooError(f"{part} cannot be written: {error.strerror or error}.") from error
        if _size(part) > before:
            pauses = iter(_PAUSES)
        pause = next(pauses, None)
        if pause is None:
            raise RawzooError(
                f"{file.name}: the transfer broke off after {_size(part)} of {file.size} bytes: {reason}; run "
                "the command again to go on."
            )
        time.sleep(pause)
    found = _digest(part, file.algorithm)
    if _size(part) != file.size or found != file.digest:
        part.unlink()
        raise RawzooError(
            f"{file.name} came damaged or is another file: its {file.algorithm} is {found}, and the server lists "
            f"{file.digest}; it was thrown away. Run the command again."
        )
    os.replace(part, folder / file.name)


def _transfer(server: str, file: RemoteFile, part: Path, progress: Progress) -> None:
    """Append what is missing, or all anew where the server does not continue."""
    there = _size(part)
    url = f"{server.rstrip('/')}/api/access/datafile/{file.id}"
    # Compressed on the way, ranges would count other bytes.
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={there}-"} if there else {})}
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
        answer.raise_for_status()
        continues = answer.headers.get("Content-Range", "").startswith(f"bytes {there}-")
        if not (answer.status_code == 206 and continues):
            there = 0
        progress(file.name, there, file.size)
        with part.open("ab" if there else "wb") as out:
            for chunk in answer.iter_content(_CHUNK):
                out.write(chunk)
                there += len(chunk)
                progress(file.name, there, file.size)
                if there > file.size:  # more than listed: the checksum will say that it is another file
                    return
    if there < file.size:
        raise requests.ConnectionError("the server closed the connection")


def _part(folder: Path, file: RemoteFile) -> Path:
    return folder / f".{file.name}.part"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        digest = hashlib.new(algorithm, usedforsecurity=False)
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"{error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "it does not answer in time"
    return str(error) if type(error) is requests.ConnectionError and len(str(error)) < 60 else "the connection failed"
