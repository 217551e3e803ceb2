"""A decoder in a process of its own: a file that crashes or hangs LibRaw costs only itself.

The child takes requests on its standard input and answers on its standard output, each message a pickle with its
arrays behind it. It ends when its input ends, hence with its parent, however that dies.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from rawzoo.errors import RawFileError
from rawzoo.picture import Picture
from rawzoo.raw.image import RawImage

# The child sees exactly the modules that its parent sees; -c would put the current folder first.
_START = "import sys; sys.path[:] = {path!r}; from rawzoo.raw.worker import serve; serve()"

# Linux: the default of 64 KiB costs a process switch for each 64 KiB of image.
_PIPE_BYTES = 1 << 20


class DecodeWorker:
    """Opens raw files as :func:`rawzoo.open` does, and pictures as :func:`rawzoo.open_picture`, in a child process.

    One request at a time; use one worker a thread. The child starts at once and imports NumPy and rawpy, no torch.

    >>> with DecodeWorker() as worker:
    ...     raw = worker.open("IMG_0042.CR2", timeout_s=30.0)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = self._start()

    def open(self, path: str | os.PathLike[str], timeout_s: float = 60.0, **options: Any) -> RawImage:
        """Decode one file.

        Args:
            path, options: as for :func:`rawzoo.raw.reader.open`.
            timeout_s: the decoder is killed after this many seconds.

        Returns:
            The image. Its ``warnings`` tell what was assumed; no Python warnings are issued here.

        Raises:
            RawFileError: as from :func:`rawzoo.raw.reader.open`, or because the decoder crashed or took too long.
                The next call starts a new decoder.
            UsageError: as from :func:`rawzoo.raw.reader.open`.
        """
        raw = self._ask("raw", path, timeout_s, options)
        assert isinstance(raw, RawImage)
        return raw

    def open_picture(self, path: str | os.PathLike[str], timeout_s: float = 60.0) -> Picture:
        """Decode a developed picture; as :meth:`open`, with the errors of :func:`rawzoo.open_picture`."""
        picture = self._ask("picture", path, timeout_s, {})
        assert isinstance(picture, Picture)
        return picture

    def _ask(self, kind: str, path: str | os.PathLike[str], timeout_s: float, options: dict[str, Any]) -> object:
        with self._lock:
            if self._child is None or self._child.poll() is not None:
                self._discard()
                self._child = self._start()
            child = self._child
            timed_out = threading.Event()

            def stop() -> None:
                timed_out.set()
                child.kill()

            watchdog = threading.Timer(timeout_s, stop)
            watchdog.daemon = True
            watchdog.start()
            try:
                assert child.stdin is not None
                assert child.stdout is not None
                _send(child.stdin, (kind, os.fspath(path), options))
                answer = _receive(child.stdout)
            except (EOFError, OSError):
                self._discard()
                if timed_out.is_set():
                    raise RawFileError(
                        f"{Path(path)} was given up: its decoder took longer than {timeout_s:g} s; the file may be "
                        "damaged, or needs a longer time limit."
                    ) from None
                raise RawFileError(
                    f"{Path(path)} crashed its decoder ({_ending(child.returncode)}); the file is probably damaged."
                ) from None
            except BaseException:  # such as KeyboardInterrupt: the answer to this request must not meet the next
                child.kill()
                self._discard()
                raise
            finally:
                watchdog.cancel()
                watchdog.join()
            if timed_out.is_set():  # at the very moment the answer came
                self._discard()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def close(self) -> None:
        """End the child. Closing twice is fine, and :meth:`open` starts a new one."""
        with self._lock:
            self._discard()

    def __enter__(self) -> DecodeWorker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @staticmethod
    def _start() -> subprocess.Popen[bytes]:
        child = subprocess.Popen(  # noqa: S603 - our own interpreter and code
            [sys.executable, "-c", _START.format(path=sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        _widen(child.stdout)
        return child

    def _discard(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()
        try:
            child.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _widen(pipe: IO[bytes] | None) -> None:
    if sys.platform == "linux" and pipe is not None:
        import fcntl

        with contextlib.suppress(OSError):  # beyond the user's limit: slower, not wrong
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _ending(status: int) -> str:
    if status < 0:
        try:
            return signal.Signals(-status).name
        except ValueError:
            return f"signal {-status}"
    return f"exit status {status}"


# Messages: the pickle's length and the number of arrays, the arrays' lengths, the pickle, the arrays.


def _send(pipe: IO[bytes], message: object) -> None:
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    arrays = [buffer.raw() for buffer in buffers]
    lengths = [array.nbytes for array in arrays]
    _write_all(pipe, struct.pack(f"<QQ{len(lengths)}Q", len(head), len(lengths), *lengths) + head)
    for array in arrays:
        _write_all(pipe, array)


def _write_all(pipe: IO[bytes], data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[pipe.write(view) :]


def _receive(pipe: IO[bytes]) -> Any:
    length, count = struct.unpack("<QQ", _read_exactly(pipe, 16))
    lengths = struct.unpack(f"<{count}Q", _read_exactly(pipe, 8 * count))
    head = _read_exactly(pipe, length)
    arrays = [_read_exactly(pipe, n) for n in lengths]
    return pickle.loads(head, buffers=arrays)  # noqa: S301 - from our own child


def _read_exactly(pipe: IO[bytes], length: int) -> memoryview:
    view = np.empty(length, np.uint8).data
    rest = view
    while rest:
        count = pipe.readinto(rest)  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        rest = rest[count:]
    return view


# The child


def serve() -> None:
    """Main loop of the child process; never returns."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    # Whatever prints must not get between the messages.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes the pipe
    requests: queue.SimpleQueue[tuple[str, str, dict[str, Any]]] = queue.SimpleQueue()

    def listen() -> None:
        pipe = os.fdopen(0, "rb", buffering=0)
        try:
            while True:
                requests.put(_receive(pipe))
        except BaseException:  # noqa: BLE001 - the parent is gone, so there is nobody to tell
            os._exit(0)  # also out of a decoder that hangs

    threading.Thread(target=listen, daemon=True).start()
    warnings.simplefilter("ignore")
    import rawpy  # noqa: F401 - while the parent prepares its first request

    from rawzoo import picture
    from rawzoo.raw import reader

    readers: dict[str, Callable[..., object]] = {"raw": reader.open, "picture": picture.open_picture}
    while True:
        kind, path, options = requests.get()
        answer: object
        try:
            answer = readers[kind](path, **options)
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent raises it
            answer = _portable(error, path)
        _send(answers, answer)
        del answer


def _portable(error: Exception, path: str) -> Exception:
    """The exception, or one of ours where it does not survive pickling."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:  # noqa: BLE001
        return RawFileError(f"{path} cannot be read ({type(error).__name__}: {error}).")
    return error
