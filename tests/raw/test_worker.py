"""The decoder process. A stand-in for rawpy, found first by the child, crashes and hangs on demand."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from raw_samples import build_raw

from rawzoo.errors import PictureError, RawFileError, UsageError
from rawzoo.raw.dng import write_dng
from rawzoo.raw.image import RawImage
from rawzoo.raw.reader import open as open_raw
from rawzoo.raw.worker import DecodeWorker

STAND_IN = """
import ctypes, os, signal, time

class LibRawError(Exception): pass
class LibRawUnsufficientMemoryError(LibRawError): pass
class LibRawTooBigError(LibRawError): pass
libraw_version = (0, 0, 0)
class NotSupportedError(Exception): pass

def imread(path):
    if "segv" in path:
        ctypes.string_at(0)
    if "kill" in path:
        os.kill(os.getpid(), signal.SIGKILL)
    if "exit" in path:
        os._exit(3)
    if "chatty" in path:
        os.write(1, b"printed by the decoder")
        raise LibRawUnsufficientMemoryError
    time.sleep(1000)
"""


@pytest.fixture
def hostile(tmp_path, monkeypatch) -> Path:
    """A folder of files that do to the child what their names say, and one picture that is opened without rawpy."""
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "rawpy.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(modules)
    for name in ("segv", "kill", "exit", "hang", "chatty"):
        (tmp_path / f"{name}.arw").write_bytes(b"not looked at")
    (tmp_path / "good.png").write_bytes(imagecodecs.png_encode(np.full((8, 8), 7, np.uint8)))
    return tmp_path


def assert_good(worker: DecodeWorker, folder: Path) -> None:
    raw = worker.open(folder / "good.png", cfa="RGGB", white=255)
    assert raw.mosaic[0, 0] == 7


@pytest.mark.parametrize(("name", "ending"), [("segv", "SIGSEGV"), ("kill", "SIGKILL"), ("exit", "exit status 3")])
def test_a_crash_costs_only_its_file(hostile, name, ending):
    with DecodeWorker() as worker:
        assert_good(worker, hostile)
        with pytest.raises(RawFileError, match=f"{name}.arw crashed its decoder .{ending}"):
            worker.open(hostile / f"{name}.arw")
        assert_good(worker, hostile)
        with pytest.raises(RawFileError, match="crashed"):
            worker.open(hostile / f"{name}.arw")
        assert_good(worker, hostile)


def test_a_hang_ends_at_the_time_limit(hostile):
    with DecodeWorker() as worker:
        assert_good(worker, hostile)
        began = time.monotonic()
        with pytest.raises(RawFileError, match=r"hang\.arw was given up.*longer than 0\.3 s"):
            worker.open(hostile / "hang.arw", timeout_s=0.3)
        assert time.monotonic() - began < 3
        assert_good(worker, hostile)


def test_what_the_decoder_prints_stays_out_of_the_answer(hostile, capfd):
    with DecodeWorker() as worker:
        with pytest.raises(RawFileError, match=r"chatty.*too large for memory"):
            worker.open(hostile / "chatty.arw")
        assert_good(worker, hostile)
    assert capfd.readouterr() == ("", "")


def test_killed_while_idle(hostile):
    with DecodeWorker() as worker:
        assert_good(worker, hostile)
        os.kill(worker._child.pid, signal.SIGKILL)
        worker._child.wait()
        assert_good(worker, hostile)


def test_same_image_as_without(tmp_path):
    write_dng(tmp_path / "a.dng", build_raw("GBRG", 300, 400), compression="ljpeg")
    with DecodeWorker() as worker:
        raw, direct = worker.open(tmp_path / "a.dng"), open_raw(tmp_path / "a.dng")
    assert np.array_equal(raw.data, direct.data)
    assert raw.data.flags.writeable
    for name in ("kind", "cfa", "black_level", "color_matrices", "metadata", "exif", "warnings", "source"):
        assert getattr(raw, name) == getattr(direct, name)


def test_errors_and_warnings_pass(tmp_path):
    write_dng(tmp_path / "bare.dng", RawImage.from_array(np.full((40, 40), 9, np.uint16), cfa="RGGB", white_level=99))
    (tmp_path / "text.nef").write_text("no raw file")
    with DecodeWorker() as worker:
        raw = worker.open(tmp_path / "bare.dng")
        assert len(raw.warnings) == 2
        with pytest.raises(RawFileError, match=r"text\.nef is not a raw file"):
            worker.open(tmp_path / "text.nef")
        with pytest.raises(UsageError, match="leave out"):
            worker.open(tmp_path / "bare.dng", white=99)
        with pytest.raises(TypeError, match="nonsense"):
            worker.open(tmp_path / "bare.dng", nonsense=1)
        assert worker.open(str(tmp_path / "bare.dng")).height == 40


def test_close_ends_the_child_and_is_no_end(tmp_path):
    write_dng(tmp_path / "a.dng", build_raw())
    worker = DecodeWorker()
    worker.open(tmp_path / "a.dng")
    child = worker._child
    worker.close()
    worker.close()
    assert child.returncode is not None
    assert worker.open(tmp_path / "a.dng").height == 61
    worker.close()


def test_large_arrays_are_handed_over_fast():
    """24 MB must not take longer than decoding does: the pipe alone, since decoding time varies."""
    from rawzoo.raw import worker

    data = np.random.default_rng(0).integers(0, 65536, (3000, 4000), dtype=np.uint16)
    best = 1.0
    for _ in range(5):
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb", buffering=0) as source, os.fdopen(writing, "wb", buffering=0) as sink:
            worker._widen(source)
            began = time.perf_counter()
            sender = threading.Thread(target=worker._send, args=(sink, data))
            sender.start()
            received = worker._receive(source)
            sender.join()
            best = min(best, time.perf_counter() - began)
        assert np.array_equal(received, data)
    assert best < 0.25  # 12 ms on an idle machine; the test must not fail on a busy one


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
@pytest.mark.parametrize("request_name", ["good.png", "hang.arw"])
def test_the_child_dies_with_its_parent(hostile, request_name):
    """Also when the parent is killed outright while the child hangs; and no guard is needed in a script."""
    script = hostile / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {str(hostile / "modules")!r})
        from rawzoo.raw.worker import DecodeWorker
        worker = DecodeWorker()
        assert worker.open({str(hostile / "good.png")!r}, white=255).height == 8
        print(worker._child.pid, flush=True)
        if {request_name!r} == "hang.arw":
            worker.open({str(hostile / "hang.arw")!r})
        sys.stdin.read()
        """)
    )
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    child = int(parent.stdout.readline())
    time.sleep(0.2)
    assert is_running(child)
    parent.kill()
    parent.communicate()
    for _ in range(100):
        if not is_running(child):
            break
        time.sleep(0.05)
    else:
        os.kill(child, signal.SIGKILL)
        pytest.fail("the decoder outlived its parent")


def test_the_child_imports_no_torch():
    code = "import sys, rawpy; from rawzoo.raw import reader, worker; print('torch' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert found.stdout.strip() == "False"


def test_pictures_too(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "a.png").read_bytes()[:900])
    with DecodeWorker() as worker:
        np.testing.assert_array_equal(worker.open_picture(tmp_path / "a.png").pixels, pixels / np.float32(255))
        with pytest.raises(PictureError, match=r"half\.png is damaged"):
            worker.open_picture(tmp_path / "half.png")
