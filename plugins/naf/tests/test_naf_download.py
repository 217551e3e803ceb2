"""The download against a small server that speaks Dataverse's API, and misbehaves when told to."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from rawzoo_naf import cli, download
from rawzoo_naf.rawnind import DATASET, Name, chosen, scenes

NAMES = [
    "Bayer_TEST_MuseeL-birds-A7C_GT_ISO50_sha1=" + "a" * 40 + ".arw",
    "Bayer_TEST_MuseeL-birds-A7C_ISO65535_sha1=" + "b" * 40 + ".arw",
    "Bayer_pastries_GT_ISO100_sha1=" + "c" * 40 + ".cr2",
    "X-Trans_pastries_ISO3200_sha1=" + "d" * 40 + ".raf",
    "dataset.yaml",
]
CONTENT = {name: hashlib.sha512(name.encode()).digest() * 50 for name in NAMES}


class Server(ThreadingHTTPServer):
    """``breaks``: how often a file's transfer ends half way. ``ranges``: whether it continues transfers. ``lies``:
    files that come otherwise than listed. ``served``: bytes sent of each file. ``files``: what it lists."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.breaks, self.ranges, self.lies, self.served, self.requests = Counter(), True, set(), Counter(), []
        self.files = [
            {
                "label": name,
                "restricted": False,
                "dataFile": {
                    "id": 100 + i,
                    "filename": name,
                    "filesize": len(data),
                    "md5": hashlib.md5(data).hexdigest(),
                    "checksum": {"type": "MD5", "value": hashlib.md5(data).hexdigest()},
                },
            }
            for i, (name, data) in enumerate(CONTENT.items())
        ]
        self.address = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        url, server = urlsplit(self.path), self.server
        server.requests.append((self.path, self.headers.get("Range")))
        if url.path == "/api/datasets/:persistentId" and parse_qs(url.query) == {"persistentId": [DATASET]}:
            body = json.dumps({"status": "OK", "data": {"latestVersion": {"files": server.files}}}).encode()
            self.answer(200, body)
        elif found := re.fullmatch(r"/api/access/datafile/(\d+)", url.path):
            self.file(NAMES[int(found[1]) - 100])
        else:
            self.send_error(404)

    def file(self, name):
        data, server = CONTENT[name], self.server
        if name in server.lies:
            data = data[:-1] + b"?"
        start, extra = 0, {}
        if server.ranges and (found := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))):
            start = int(found[1])
            if start >= len(data):
                self.send_error(416)
                return
            extra = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        cut = None
        if server.breaks[name]:
            server.breaks[name] -= 1
            cut = start + max((len(data) - start) // 2, 1)
        server.served[name] += (cut or len(data)) - start
        self.answer(206 if extra else 200, data[start:], extra, cut and cut - start)

    def answer(self, status, body, extra=None, cut=None):
        self.send_response(status)
        for key, value in {"Content-Length": len(body), **(extra or {})}.items():
            self.send_header(key, str(value))
        self.end_headers()
        self.wfile.write(body[:cut])
        self.close_connection = True


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "_PAUSES", (0.0, 0.0))
    monkeypatch.setattr(download, "_CHUNK", 100)
    with Server() as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def rawzoo_naf(server, *arguments):
    result = CliRunner().invoke(cli.app, ["download", *map(str, arguments), "--server", server.address])
    return result.exception if result.exception and not isinstance(result.exception, SystemExit) else result


def there(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_everything_comes_once(server, tmp_path):
    assert "5 files came" in rawzoo_naf(server, tmp_path / "nind").output
    assert there(tmp_path / "nind") == CONTENT
    served = dict(server.served)
    assert "5 are there" in rawzoo_naf(server, tmp_path / "nind").output
    assert dict(server.served) == served == {name: len(data) for name, data in CONTENT.items()}


def test_broken_transfers_go_on(server, tmp_path):
    server.breaks.update(dict.fromkeys(NAMES, 5))
    rawzoo_naf(server, tmp_path)
    assert there(tmp_path) == CONTENT
    assert dict(server.served) == {name: len(data) for name, data in CONTENT.items()}
    assert sum(r is not None for _, r in server.requests) == 5 * len(NAMES)


def test_a_server_that_never_continues(server, tmp_path):
    server.ranges = False
    server.breaks.update(dict.fromkeys(NAMES, 2))
    rawzoo_naf(server, tmp_path)
    assert there(tmp_path) == CONTENT
    assert server.served[NAMES[0]] == 2 * len(CONTENT[NAMES[0]])  # two halves and a whole


def test_a_server_that_gives_up(server, tmp_path):
    name = NAMES[2]
    server.breaks[name] = 10**6
    error = rawzoo_naf(server, tmp_path)
    assert str(error) == "1 of 5 files could not be downloaded."
    part = tmp_path / f".{name}.part"
    assert there(tmp_path).keys() == {*NAMES, part.name} - {name}
    assert CONTENT[name].startswith(part.read_bytes())
    # A second attempt takes only what is missing.
    server.breaks.clear()
    rest = len(CONTENT[name]) - part.stat().st_size
    server.served.clear()
    rawzoo_naf(server, tmp_path)
    assert there(tmp_path) == CONTENT
    assert dict(server.served) == ({name: rest} if rest else {})


def test_interrupted_by_hand(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_CHUNK", 1000)
    (file,) = (f for f in download.listing(server.address, DATASET) if f.name == NAMES[0])

    def stop(name, there, size):
        if there > 1500:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download.fetch(server.address, file, tmp_path, stop)
    assert there(tmp_path) == {f".{file.name}.part": CONTENT[file.name][:2000]}
    seen = []
    download.fetch(server.address, file, tmp_path, lambda *call: seen.append(call[1]))
    assert seen == [2000, 3000, 3200]
    assert there(tmp_path) == {file.name: CONTENT[file.name]}


def test_a_wrong_checksum(server, tmp_path):
    server.lies.add(NAMES[1])
    result = CliRunner().invoke(cli.app, ["download", str(tmp_path), "--server", server.address])
    assert result.exit_code
    assert f"{NAMES[1]} came damaged or is another file: its md5 is " in result.output
    assert there(tmp_path).keys() == {*NAMES} - {NAMES[1]}  # the part is gone, too
    server.lies.clear()
    rawzoo_naf(server, tmp_path)
    assert there(tmp_path) == CONTENT


def test_a_damaged_part_is_not_kept(server, tmp_path):
    for name, text in ((NAMES[0], b"x" * 100), (NAMES[1], b"x" * 4000)):
        (tmp_path / f".{name}.part").write_bytes(text)
    assert str(rawzoo_naf(server, tmp_path)).startswith("2 of 5 files")
    rawzoo_naf(server, tmp_path)
    assert there(tmp_path) == CONTENT


def test_subsets(server, tmp_path):
    for options, expected in (
        (["--camera", "a7c"], NAMES[:2]),
        (["--camera", "X-Trans", "--camera", "cr2"], NAMES[2:4]),
        (["--scene", "MuseeL-*"], NAMES[:2]),
        (["--scene", "pastries", "--camera", "Bayer"], NAMES[2:3]),
    ):
        listed = rawzoo_naf(server, tmp_path, "--list", *options).output
        assert [name for name in NAMES if name in listed] == expected
        assert f"{len(expected)} files" in listed
    assert not any(tmp_path.iterdir())
    assert "none of the dataset's files fits" in str(rawzoo_naf(server, tmp_path, "--camera", "Z9"))


def test_the_disk_is_looked_at_first(server, tmp_path, monkeypatch):
    (tmp_path / f".{NAMES[0]}.part").write_bytes(CONTENT[NAMES[0]][:3000])
    full = shutil.disk_usage(tmp_path)._replace(free=5 * 3200 - 3000 - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    assert "GB free" in str(rawzoo_naf(server, tmp_path))
    assert not server.served
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full._replace(free=full.free + 1))
    rawzoo_naf(server, tmp_path)
    assert there(tmp_path) == CONTENT


def test_what_a_server_may_answer(server, tmp_path):
    server.files[0]["restricted"] = True
    assert len(download.listing(server.address, DATASET)) == 4
    for change, message in (
        ({"filename": "../../etc/passwd"}, "no name for a file"),
        ({"filename": "a\\b"}, "no name for a file"),
        ({"checksum": {"type": "CRC", "value": "1"}}, "not as Dataverse's API has it"),
        ({"filesize": "much"}, "not as Dataverse's API has it"),
    ):
        kept = dict(server.files[1]["dataFile"])
        server.files[1]["dataFile"].update(change)
        assert message in str(rawzoo_naf(server, tmp_path))
        server.files[1]["dataFile"] = kept
    assert "404" in str(rawzoo_naf(server, tmp_path, "--dataset", "doi:10.0/NONE"))
    server.files[1]["dataFile"]["id"] = 999
    server.files[1]["dataFile"]["filename"] = "gone"
    server.shutdown()
    server.server_close()
    assert "cannot be reached" in str(rawzoo_naf(server, tmp_path))


def test_names():
    name = Name.of(NAMES[0])
    assert (name.scene, name.title, name.truth, name.iso) == (
        "Bayer_TEST_MuseeL-birds-A7C",
        "MuseeL-birds-A7C",
        True,
        50,
    )
    assert Name.of("dataset.yaml") is None
    assert [n.file for n in chosen(filter(None, map(Name.of, NAMES)), ["arw"], ["*_TEST_*"])] == NAMES[:2]


@given(
    title=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}[A-Za-z0-9]", fullmatch=True).filter(
        lambda text: not re.search(r"_ISO\d+_|_GT_ISO|^TEST_", f"_{text}_")
    ),
    isos=st.lists(st.integers(50, 65535), min_size=2, max_size=6, unique=True),
)
def test_every_other_file_of_a_scene_is_paired_with_its_lowest_iso(title, isos):
    files = [Path(f"Bayer_{title}_ISO{iso}_sha1={iso:040x}.nef") for iso in isos]
    (scene,) = scenes(files)
    assert scene.name == f"Bayer_{title}"
    assert f"_ISO{min(isos)}_" in scene.truth.name
    assert sorted([scene.truth, *scene.noisy]) == sorted(files)


def test_the_marked_file_is_the_truth_of_several():
    files = [Path(f"Bayer_a{mark}_ISO{iso}_sha1={i:040x}.nef") for i, (mark, iso) in enumerate(
        [("", 100), ("_GT", 100), ("", 800)]
    )]  # fmt: skip
    (scene,) = scenes(files)
    assert scene.truth == files[1]
    assert scene.noisy == (files[0], files[2])
    assert scenes(files[1:2]) == []


def test_the_command_line_stays_light():
    """What `rawzoo --help` loads of this plugin needs neither torch nor NumPy, nor a network or OpenCV."""
    program = (
        "import sys\nfrom rawzoo.cli import app\nfrom rawzoo.zoo.manager import register_commands\n"
        "register_commands(app)\nassert 'rawzoo_naf.cli' in sys.modules\n"
        "print(sorted({'torch', 'numpy', 'requests', 'cv2', 'PIL'} & set(sys.modules)))"
    )
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "[]"
