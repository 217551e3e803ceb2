"""Weights from a package, a path and a server; whatever goes wrong is one sentence and leaves no file behind."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from safetensors.torch import save

from rawzoo.errors import WeightsError
from rawzoo.zoo.card import Weights
from rawzoo.zoo.weights import cache_folder, is_here, weights_file

CONTENT = save({"weight": torch.arange(6.0)})
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RAWZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def server():
    """Serves CONTENT as /good.safetensors; counts requests."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.requests += 1
            path = self.path.partition("?")[0]
            if path == "/missing.safetensors":
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[: len(CONTENT) // 2 if path == "/broken-off.safetensors" else None])

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests = 0
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def read(weights):
    with weights_file(weights) as path:
        return path.read_bytes()


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ["good.safetensors", "good.safetensors?download=true"])
def test_fetched_once(cache, server, name):
    weights = Weights(f"{server.url}/{name}", sha256=SHA256)
    assert read(weights) == CONTENT
    assert read(weights) == CONTENT
    assert server.requests == 1
    assert files(cache) == [f"{SHA256[:12]}-good.safetensors"]


def test_damaged_cache_is_fetched_again(cache, server):
    weights = Weights(f"{server.url}/good.safetensors", sha256=SHA256)
    with weights_file(weights) as path:
        path.write_bytes(b"bit rot")
    assert read(weights) == CONTENT
    assert server.requests == 2


@pytest.mark.parametrize(
    ("name", "sha256", "message"),
    [
        ("good", "0" * 64, "are not the expected file: their sha256 is not 0000"),
        ("missing", SHA256, "the server answers 404 Not Found; check the network, or fetch the file by other means"),
        ("broken-off", SHA256, "the connection failed or broke off"),
    ],
)
def test_failed_transfer_leaves_nothing(cache, server, name, sha256, message):
    with pytest.raises(WeightsError, match=message) as caught:
        read(Weights(f"{server.url}/{name}.safetensors", sha256=sha256))
    assert server.url in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files(cache) == []


def test_no_server(cache, server):
    server.shutdown()
    server.server_close()
    with pytest.raises(WeightsError, match="the connection failed or broke off"):
        read(Weights(f"{server.url}/good.safetensors", sha256=SHA256))


def test_cache_that_cannot_be_made(tmp_path, monkeypatch, server):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RAWZOO_CACHE", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match=r"cannot be stored in .*file.*set RAWZOO_CACHE"):
        read(Weights(f"{server.url}/good.safetensors", sha256=SHA256))


def test_cache_folder(cache, monkeypatch):
    assert cache_folder() == cache
    monkeypatch.delenv("RAWZOO_CACHE")
    assert cache_folder().name == "rawzoo"


def test_local_path(tmp_path):
    path = tmp_path / "mine.safetensors"
    path.write_bytes(CONTENT)
    assert read(Weights(str(path))) == CONTENT
    assert read(Weights(str(path), sha256=SHA256)) == CONTENT
    with pytest.raises(WeightsError, match=f"its sha256 is {SHA256}, expected 1111"):
        read(Weights(str(path), sha256="1" * 64))
    with pytest.raises(WeightsError, match=r"no-such\.safetensors does not exist"):
        read(Weights(str(tmp_path / "no-such.safetensors")))


def test_packaged(tmp_path, monkeypatch):
    inner = tmp_path / "weights_in_here" / "sets"
    inner.mkdir(parents=True)
    (inner.parent / "__init__.py").touch()
    (inner / "a.safetensors").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(tmp_path)
    assert read(Weights("package:weights_in_here/sets/a.safetensors", sha256=SHA256)) == CONTENT
    with pytest.raises(WeightsError, match=r"package weights_in_here does not contain sets/b.safetensors"):
        read(Weights("package:weights_in_here/sets/b.safetensors"))
    with pytest.raises(WeightsError, match="package no_such_package is not installed"):
        read(Weights("package:no_such_package/a.safetensors"))


def test_packaged_in_a_zip(tmp_path, monkeypatch):
    """Where the package is no folder, the file is unpacked for the time it is needed."""
    from zipfile import ZipFile

    with ZipFile(tmp_path / "zipped.zip", "w") as archive:
        archive.writestr("weights_in_zip/__init__.py", "")
        archive.writestr("weights_in_zip/a.safetensors", CONTENT)
    monkeypatch.syspath_prepend(tmp_path / "zipped.zip")
    assert read(Weights("package:weights_in_zip/a.safetensors", sha256=SHA256)) == CONTENT


def test_is_here_says_whether_the_file_is_found_without_fetching(server, cache, tmp_path):
    host, port = server.server_address[:2]
    remote = Weights(f"http://{host}:{port}/good.safetensors", SHA256)
    assert not is_here(remote)
    assert server.requests == 0
    with weights_file(remote):
        pass
    assert is_here(remote)
    path = tmp_path / "mine.safetensors"
    assert not is_here(Weights(str(path)))
    path.write_bytes(CONTENT)
    assert is_here(Weights(str(path)))
    assert is_here(Weights("package:rawzoo/py.typed"))
    assert not is_here(Weights("package:rawzoo/no-such.safetensors"))
    assert not is_here(Weights("package:no_such_package/a.safetensors"))
