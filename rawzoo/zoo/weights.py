"""The weights store: finds, fetches and checks safetensors files. Imports no torch."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.resources import as_file, files
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from rawzoo.errors import WeightsError
from rawzoo.zoo.card import Weights


def cache_folder() -> Path:
    """Where downloaded weights are kept: ``$RAWZOO_CACHE``, or rawzoo's folder in the user's cache."""
    if override := os.environ.get("RAWZOO_CACHE"):
        return Path(override).expanduser()
    import pooch

    return Path(pooch.os_cache("rawzoo"))


def imported_folder(model: str) -> Path:
    """Where the weights are kept that were imported for a model."""
    return cache_folder() / "imported" / model


def imported_weights(model: str) -> dict[str, Path]:
    """Files of the weights imported for a model, by the name :func:`rawzoo.load` knows them by."""
    return {
        path.name.removesuffix(".safetensors"): path
        for path in sorted(imported_folder(model).glob("[!.]*.safetensors"))
    }


@dataclass(frozen=True)
class Provenance:
    """Where imported weights came from; kept in the safetensors file itself.

    Attributes:
        model: name of the card they are for.
        config: keyword arguments of the architecture in place of the card's; None for the card's.
        description: what the importer recognised.
        sources: names of the checkpoint's files -> their sha256.
        importer: its name, distribution and version; None when the tensors had the model's own names.
        rawzoo: version that imported them.
    """

    model: str
    config: dict[str, Any] | None
    description: str
    sources: dict[str, str]
    importer: str | None
    rawzoo: str

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    @classmethod
    def of(cls, path: Path) -> Provenance | None:
        """What a safetensors file says, or None when it was not imported.

        Raises:
            WeightsError: the file is no readable safetensors file.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                text = (file.metadata() or {}).get("rawzoo")
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"weights file {path} is not a readable safetensors file: {error}") from error
        if text is None:
            return None
        try:
            found = cls(**json.loads(text))
        except (ValueError, TypeError, RecursionError) as error:
            raise WeightsError(f"weights file {path} has damaged metadata ({error}); import it again.") from error
        if not isinstance(found.config, dict | None) or not isinstance(found.sources, dict):
            raise WeightsError(f"weights file {path} has damaged metadata; import it again.")
        return found


@contextmanager
def weights_file(weights: Weights) -> Iterator[Path]:
    """The weights as a file on this machine, downloaded when needed, checked against their sha256.

    Raises:
        WeightsError: the file is missing, cannot be fetched, or is not the one the checksum belongs to.
    """
    if weights.is_url:
        yield _fetched(weights)
    elif weights.where.startswith("package:"):
        module, _, inner = weights.where.removeprefix("package:").partition("/")
        try:
            resource = files(module).joinpath(*PurePosixPath(inner).parts)
        except ModuleNotFoundError as error:
            raise WeightsError(f"weights {weights.where}: package {module} is not installed ({error}).") from error
        if not resource.is_file():
            raise WeightsError(f"weights {weights.where}: package {module} does not contain {inner}; reinstall it.")
        with as_file(resource) as path:
            _check(path, weights)
            yield path
    else:
        path = Path(weights.where).expanduser()
        if not path.is_file():
            raise WeightsError(f"weights file {path} does not exist; check the path.")
        _check(path, weights)
        yield path


def is_here(weights: Weights) -> bool:
    """Whether :func:`weights_file` finds the file on this machine, without fetching it."""
    if weights.is_url:
        return (cache_folder() / "weights" / _cached_name(weights)).is_file()
    if weights.where.startswith("package:"):
        module, _, inner = weights.where.removeprefix("package:").partition("/")
        try:
            return files(module).joinpath(*PurePosixPath(inner).parts).is_file()
        except ModuleNotFoundError:
            return False
    return Path(weights.where).expanduser().is_file()


def _check(path: Path, weights: Weights) -> None:
    if weights.sha256 is None:
        return
    import pooch

    found = pooch.file_hash(str(path), alg="sha256")
    if found != weights.sha256:
        raise WeightsError(
            f"weights file {path} is damaged or another version: its sha256 is {found}, expected {weights.sha256}."
        )


def _cached_name(weights: Weights) -> str:
    # Part of the checksum in the name: versions of one file lie side by side instead of replacing each other.
    assert weights.sha256 is not None
    return f"{weights.sha256[:12]}-{PurePosixPath(unquote(urlsplit(weights.where).path)).name}"


def _fetched(weights: Weights) -> Path:
    """Path of the downloaded file. pooch verifies a file under a temporary name before it gets its final one."""
    import pooch
    import requests

    url = weights.where
    assert weights.sha256 is not None
    name = _cached_name(weights)
    folder = cache_folder() / "weights"
    advice = f"check the network, or fetch the file by other means and put it at {folder / name}"
    try:
        with _progress_bar(name) as progress:
            fetch = pooch.HTTPDownloader(progressbar=progress, timeout=30)
            path = pooch.retrieve(url, f"sha256:{weights.sha256}", fname=name, path=folder, downloader=fetch)
    except requests.HTTPError as error:
        status = f"{error.response.status_code} {error.response.reason}" if error.response is not None else error
        raise WeightsError(
            f"weights could not be fetched from {url}: the server answers {status}; {advice}."
        ) from error
    except requests.RequestException as error:
        reason = (
            "the connection timed out" if isinstance(error, requests.Timeout) else "the connection failed or broke off"
        )
        raise WeightsError(f"weights could not be fetched from {url}: {reason}; {advice}.") from error
    except ValueError as error:  # pooch: hash mismatch
        raise WeightsError(
            f"weights fetched from {url} are not the expected file: their sha256 is not {weights.sha256}; "
            "the download was thrown away."
        ) from error
    except OSError as error:
        raise WeightsError(
            f"weights cannot be stored in {folder}: {error.strerror or error}; set RAWZOO_CACHE to a folder with room "
            "that can be written."
        ) from error
    return Path(path)


@contextmanager
def _progress_bar(name: str) -> Iterator[Any]:
    """A progress bar on the terminal in the form pooch wants; False where there is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield False
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        yield _PoochProgress(bars, name)


class _PoochProgress:
    """rich's progress bar with the four members of a tqdm bar that pooch uses."""

    def __init__(self, bars: Any, name: str) -> None:
        self._bars = bars
        self._task = bars.add_task(name, total=None)
        self.total = 0

    def update(self, n: int) -> None:
        self._bars.update(self._task, total=self.total or None, advance=n)

    def reset(self) -> None:
        self._bars.reset(self._task)

    def close(self) -> None:
        self._bars.refresh()
