"""What people use today for the same work, and the copies that bound it. Each is None, with a note, where missing."""

from __future__ import annotations

import ctypes
import glob
import io
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import rawpy
import tifffile
import torch

from rawzoo.raw import cfa as cfa_patterns

Call = Callable[[], Any]


def optional(module: str) -> Any:
    """A module, or None where it is not installed."""
    try:
        return import_module(module)
    except ImportError:
        return None


# --- copies ----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _non_temporal() -> Any:
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        return None
    library = Path(tempfile.mkdtemp(prefix="rawzoo-bench-")) / "copy.so"
    source = Path(__file__).with_name("copy.cpp")
    command = [compiler, "-O3", "-shared", "-fPIC", "-pthread", str(source), "-o", str(library)]
    if subprocess.run(command, stderr=subprocess.DEVNULL).returncode:
        return None  # not x86
    function = ctypes.CDLL(str(library)).copy_non_temporal
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    function.restype = None
    return function


@lru_cache(maxsize=4)
def _buffers(size: int) -> tuple[np.ndarray, np.ndarray]:
    source, target = (np.empty(size + 64, np.uint8) for _ in range(2))
    source[:], target[:] = 1, 0
    aligned = [a[-a.ctypes.data % 64 :][:size] for a in (source, target)]
    return aligned[0], aligned[1]


def copies(traffic: int, threads: int) -> dict[str, Call | None]:
    """Copies that read and write as many bytes together as an op with this traffic (input plus output)."""
    source, target = _buffers(traffic // 2)
    stream = _non_temporal()
    nt = stream and (lambda: stream(source.ctypes.data, target.ctypes.data, len(source), threads))
    # memcpy has no threads: with two, each copies half through torch, whose copy of a tensor is parallel.
    if threads == 1:
        return {"memcpy": lambda: np.copyto(target, source), "NT copy": nt}
    tensors = [torch.from_numpy(a) for a in (source, target)]
    return {"memcpy": lambda: tensors[1].copy_(tensors[0]), "NT copy": nt}


# --- plain torch -----------------------------------------------------------------------------------------------------


def torch_pack(mosaic: torch.Tensor, black: float, scales: list[float], dtype: torch.dtype) -> torch.Tensor:
    """RGGB to R, Gr, Gb, B as one writes it down."""
    x = mosaic.to(torch.float32)
    return torch.stack([(x[i // 2 :: 2, i % 2 :: 2] - black) * scales[i] for i in range(4)]).to(dtype)


def torch_anscombe(x: torch.Tensor, gain: float, sigma: float, offset: float) -> torch.Tensor:
    return 2 * torch.sqrt(torch.clamp((x - offset) / gain + 0.375 + (sigma / gain) ** 2, min=0))


def torch_inverse_anscombe(y: torch.Tensor, gain: float, sigma: float, offset: float, method: str) -> torch.Tensor:
    if method == "algebraic":
        square = 0.25 * y * y - 0.375
    else:
        d = y.clamp(min=2 * 0.375**0.5)
        c = 1.5**0.5
        square = 0.25 * d**2 + 0.25 * c / d - 1.375 / d**2 + 0.625 * c / d**3 - 0.125
    return (square - (sigma / gain) ** 2) * gain + offset


# --- demosaicing -----------------------------------------------------------------------------------------------------

_MALVAR = (
    # green at red or blue; red at green in a red row; red at green in a blue row; red at blue (all divided by 8)
    ((0, 0, -1, 0, 0), (0, 0, 2, 0, 0), (-1, 2, 4, 2, -1), (0, 0, 2, 0, 0), (0, 0, -1, 0, 0)),
    ((0, 0, 0.5, 0, 0), (0, -1, 0, -1, 0), (-1, 4, 5, 4, -1), (0, -1, 0, -1, 0), (0, 0, 0.5, 0, 0)),
    ((0, 0, -1, 0, 0), (0, -1, 4, -1, 0), (0.5, 0, 5, 0, 0.5), (0, -1, 4, -1, 0), (0, 0, -1, 0, 0)),
    ((0, 0, -1.5, 0, 0), (0, 2, 0, 2, 0), (-1.5, 0, 6, 0, -1.5), (0, 2, 0, 2, 0), (0, 0, -1.5, 0, 0)),
)
_MALVAR_WEIGHTS = torch.tensor(_MALVAR)[:, None] / 8


def malvar_conv2d(mosaic: torch.Tensor) -> torch.Tensor:
    """Malvar 2004 of an RGGB mosaic as one convolution, float32 ``[H, W]`` to ``[3, H, W]``."""
    padded = torch.nn.functional.pad(mosaic[None, None], (2, 2, 2, 2), mode="reflect")
    green, row, column, opposite = torch.nn.functional.conv2d(padded, _MALVAR_WEIGHTS)[0]
    rgb = mosaic.expand(3, -1, -1).clone()
    rgb[1, ::2, ::2], rgb[1, 1::2, 1::2] = green[::2, ::2], green[1::2, 1::2]
    rgb[0, ::2, 1::2], rgb[2, ::2, 1::2] = row[::2, 1::2], column[::2, 1::2]
    rgb[0, 1::2, ::2], rgb[2, 1::2, ::2] = column[1::2, ::2], row[1::2, ::2]
    rgb[0, 1::2, 1::2], rgb[2, ::2, ::2] = opposite[1::2, 1::2], opposite[::2, ::2]
    return rgb


def opencv(mosaic: np.ndarray, kind: str) -> Call | None:
    """``bilinear`` or ``EA`` (edge-aware) of an RGGB uint16 mosaic to interleaved uint16."""
    cv2 = optional("cv2")
    if cv2 is None:
        return None
    code = cv2.COLOR_BayerRGGB2RGB if kind == "bilinear" else cv2.COLOR_BayerRGGB2RGB_EA
    out = np.empty((*mosaic.shape, 3), np.uint16)
    return lambda: cv2.demosaicing(mosaic, code, out)


def colour(mosaic: np.ndarray, kind: str) -> Call | None:
    """colour-demosaicing: ``bilinear``, ``Malvar2004`` or ``Menon2007`` of an RGGB mosaic, float64 inside."""
    package = optional("colour_demosaicing")
    if package is None:
        return None
    function = getattr(package, f"demosaicing_CFA_Bayer_{kind}")
    source = mosaic.astype(float)
    return lambda: function(source, "RGGB")


def kornia_bilinear(mosaic: np.ndarray) -> Call | None:
    """kornia's raw_to_rgb of an RGGB mosaic, float32 (it has no integer mode)."""
    kornia = optional("kornia")
    if kornia is None:
        return None
    source = torch.from_numpy(mosaic.astype(np.float32))[None, None]
    return lambda: kornia.color.raw_to_rgb(source, kornia.color.CFA.BG)


# --- threads --------------------------------------------------------------------------------------------------------


def set_threads(threads: int) -> None:
    """Threads that rawzoo (which asks torch), torch, OpenCV and LibRaw may use."""
    torch.set_num_threads(threads)
    if cv2 := optional("cv2"):
        cv2.setNumThreads(threads)
    # LibRaw: the OpenMP runtime that the rawpy wheel brings; without it, LibRaw keeps its own number.
    for path in glob.glob(str(Path(rawpy.__file__).parents[1] / "rawpy.libs" / "libgomp*")):
        ctypes.CDLL(path).omp_set_num_threads(threads)


# --- LibRaw ----------------------------------------------------------------------------------------------------------

_PROGRESS = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_int)
_BEFORE_INTERPOLATION, _CONVERT = 1 << 10, 1 << 18  # LIBRAW_PROGRESS_PRE_INTERPOLATE, _CONVERT_RGB


@lru_cache(maxsize=1)
def _libraw() -> Any:
    try:
        library = ctypes.CDLL(str(next(Path(rawpy.__file__).parent.glob("libraw_r.so*"))))
    except (StopIteration, OSError):
        return None
    library.libraw_init.restype = ctypes.c_void_p
    return library


class LibRawDemosaic:
    """LibRaw's demosaic stage alone: the time between its own progress calls before interpolation and after it."""

    def __init__(self, path: Path, quality: int) -> None:
        self.libraw = _libraw()
        self.path, self.quality = str(path).encode(), quality

    def seconds(self) -> float:
        library, stages = self.libraw, []
        callback = _PROGRESS(lambda _data, stage, step, _steps: stages.append((stage, step, time.perf_counter())) or 0)
        handle = ctypes.c_void_p(library.libraw_init(0))
        try:
            if library.libraw_open_file(handle, self.path) or library.libraw_unpack(handle):
                raise RuntimeError("LibRaw cannot open the file.")
            library.libraw_set_demosaic(handle, self.quality)
            library.libraw_set_no_auto_bright(handle, 1)
            library.libraw_set_progress_handler(handle, callback, None)
            if library.libraw_dcraw_process(handle):
                raise RuntimeError("LibRaw cannot process the file.")
        finally:
            library.libraw_close(handle)
        before = max(t for stage, _, t in stages if stage == _BEFORE_INTERPOLATION)
        return min(t for stage, _, t in stages if stage == _CONVERT) - before


def libraw_stage(path: Path, quality: int) -> LibRawDemosaic | None:
    """LibRaw's demosaicer of a number (0 bilinear, 2 PPG or X-Trans 1 pass, 3 AHD or X-Trans 3 passes, 12 AAHD)."""
    return LibRawDemosaic(path, quality) if _libraw() else None


def libraw_demosaic(mosaic: np.ndarray, algorithm: str, cfa: str = "RGGB") -> np.ndarray:
    """A balanced mosaic through LibRaw, which knows neither values below 0 nor above 1: float32 camera RGB."""
    period = cfa_patterns.period(cfa)
    identity = tuple(int(v) for x in np.eye(3).ravel() for v in (x * 10000, 10000))
    tags = [
        (33421, "H", 2, (period, period), True),
        (33422, "B", period**2, bytes(cfa_patterns.color_tile(cfa).ravel().tolist()), True),
        (50706, "B", 4, b"\1\4\0\0", True),
        (50708, "s", 0, "x", True), (50714, "I", 1, 0, True), (50717, "I", 1, 65535, True),
        (50721, "2i", 9, identity, True), (50728, "2I", 3, (1, 1) * 3, True),
    ]  # fmt: skip
    file = io.BytesIO()
    codes = np.clip(np.round(mosaic * 65535), 0, 65535).astype(np.uint16)
    tifffile.imwrite(file, codes, photometric=32803, metadata=None, software=False, extratags=tags)
    file.seek(0)
    with rawpy.imread(file) as raw:
        picture = raw.postprocess(
            demosaic_algorithm=rawpy.DemosaicAlgorithm[algorithm], use_camera_wb=True, no_auto_bright=True,
            adjust_maximum_thr=0, gamma=(1, 1), output_bps=16, output_color=rawpy.ColorSpace.raw, user_sat=65535,
        )  # fmt: skip
    return picture / np.float32(65535)


def rawpy_develop(path: Path, algorithm: str) -> Call:
    """File to sRGB uint8 through rawpy: open, unpack, process."""

    def call() -> np.ndarray:
        with rawpy.imread(str(path)) as raw:
            chosen = rawpy.DemosaicAlgorithm[algorithm]
            return raw.postprocess(use_camera_wb=True, no_auto_bright=True, demosaic_algorithm=chosen)

    return call
