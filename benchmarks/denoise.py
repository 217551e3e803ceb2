"""How well rawzoo's denoisers do against classical raw development, on photographs turned into noisy mosaics.

    python benchmarks/denoise.py PHOTOS... --models naf-small,naf-tiny --output denoise.json

PHOTOS are picture files or folders of them. Each is decoded to linear, divided by white balance gains of its own, mosaiced
RGGB, and given true Poisson and Gaussian noise with variance a x + b. Everybody gets the same balanced mosaic; the
models also get a and b. Figures are means over photographs of the PSNR of square roots of white-balanced camera RGB
(beside it linear PSNR, and SSIM of the sRGB rendering), the centre of each photograph, border of 8 cropped.

Rivals: LibRaw's AHD, DHT and AAHD, DDFAPD on linear and on square-root values; each also with OpenCV's non-local means
at the strength, of a grid, that is best for this level on these very photographs (a kind reading). BM3D, where it is
installed, works on the variance-stabilised planes of the mosaic, before DDFAPD on square roots.
"""

from __future__ import annotations

import argparse
import io
import json
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import rawpy
import tifffile
import torch
from peers import optional
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from skimage.metrics import structural_similarity

import rawzoo
from rawzoo import ops
from rawzoo.tasks.demosaic import demosaic

Array = npt.NDArray[np.float32]

#: a of the noise, and about which ISO of a full-frame body it is.
LEVELS = {0.0: "noise-free", 2e-4: "1600", 1e-3: "6400", 4e-3: "25600", 1.6e-2: "102400"}
#: Strengths of non-local means, 8 bit, around the best ones: on R, G, B and on Lab.
STRENGTHS = {
    2e-4: {"RGB": (2, 3, 4, 6), "Lab": (1, 2, 3)},
    1e-3: {"RGB": (3, 4, 6, 8), "Lab": (2, 3, 4, 6)},
    4e-3: {"RGB": (8, 11, 14), "Lab": (6, 8, 11)},
    1.6e-2: {"RGB": (17, 20, 24, 30), "Lab": (20, 24, 30)},
}
CROP, BORDER, CFA = 384, 8, "RGGB"
BM3D = "BM3D + DDFAPD on roots"


def read_noise_variance(a: float) -> float:
    """b that goes with a: read noise of about 0.8 electrons at low and 1.3 at high ISO."""
    return float((1.8 * a**1.09) ** 2)


@dataclass(frozen=True)
class Sample:
    """One photograph at one noise level.

    Attributes:
        clean: ``[H, W, 3]``, white-balanced camera RGB, 0..1.
        mosaic: ``[H, W]``, balanced, noisy, unclipped.
        noise: (a, b) of R, G, B in units of the balanced mosaic.
    """

    name: str
    a: float
    clean: Array
    mosaic: Array
    noise: tuple[tuple[float, float], ...]


def sample(path: Path, a: float) -> Sample:
    """The noise depends on the file's name and the level only."""
    with Image.open(path) as image:
        v = np.asarray(image.convert("RGB")) / np.float32(255)
    height, width = (min(CROP, n // 2 * 2) for n in v.shape[:2])
    top, left = (v.shape[0] - height) // 2, (v.shape[1] - width) // 2
    v = v[top : top + height, left : left + width]
    clean = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4).astype(np.float32)
    rng = np.random.default_rng((zlib.crc32(path.name.encode()), round(a * 1e6)))
    gains = np.array([rng.uniform(1.4, 2.6), 1.0, rng.uniform(1.3, 2.2)])
    channel = np.array([[0, 1], [1, 2]])[np.indices((height, width))[0] % 2, np.indices((height, width))[1] % 2]
    sensor = np.take_along_axis(clean, channel[..., None], 2)[..., 0] / gains[channel]
    b = read_noise_variance(a)
    if a:
        sensor = rng.poisson(sensor / a) * a + rng.normal(0.0, np.sqrt(b), sensor.shape)
    noise = tuple((float(a * g), float(b * g * g)) for g in gains)
    return Sample(path.name, a, clean, (sensor * gains[channel]).astype(np.float32), noise)


def figures(rgb: npt.ArrayLike, clean: Array) -> dict[str, float]:
    """PSNR of square roots, linear PSNR, SSIM of the sRGB rendering."""
    found, wanted = (np.clip(np.asarray(x, np.float64), 0, 1)[BORDER:-BORDER, BORDER:-BORDER] for x in (rgb, clean))
    rendered = [np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055) for x in (found, wanted)]
    return {
        "root": _psnr(np.sqrt(found), np.sqrt(wanted)),
        "linear": _psnr(found, wanted),
        "ssim": float(structural_similarity(rendered[0], rendered[1], channel_axis=2, data_range=1.0)),
    }


def _psnr(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    return float(-10 * np.log10(max(np.mean((x - y) ** 2), 1e-12)))


# --- rivals ----------------------------------------------------------------------------------------------------------


def libraw(mosaic: Array, algorithm: str) -> Array:
    """A balanced mosaic through LibRaw, which knows neither values below black nor above white."""
    identity = tuple(int(v) for x in np.eye(3).ravel() for v in (x * 10000, 10000))
    tags = [
        (33421, "H", 2, (2, 2), True), (33422, "B", 4, bytes([0, 1, 1, 2]), True), (50706, "B", 4, b"\1\4\0\0", True),
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


def ddfapd(mosaic: Array, encode: str | None) -> Array:
    options = {} if encode is None else {"encode": encode}
    return np.asarray(ops.demosaic(mosaic, CFA, "menon", layout="interleaved", **options))


DEMOSAICED: dict[str, Callable[[Array], Array]] = {
    "AHD": lambda mosaic: libraw(mosaic, "AHD"),
    "DHT": lambda mosaic: libraw(mosaic, "DHT"),
    "AAHD": lambda mosaic: libraw(mosaic, "AAHD"),
    "DDFAPD": lambda mosaic: ddfapd(mosaic, None),
    "DDFAPD on roots": lambda mosaic: ddfapd(mosaic, "sqrt"),
}


def non_local_means(rgb: Array, space: str, strength: float) -> Array:
    """OpenCV's, 8 bit, on square roots: three channels at once, or lightness and colour of Lab."""
    encoded = np.round(np.sqrt(np.clip(rgb, 0, 1)) * 255).astype(np.uint8)
    if space == "RGB":
        cleaned = cv2.fastNlMeansDenoising(encoded, None, strength)
    else:
        cleaned = cv2.fastNlMeansDenoisingColored(np.ascontiguousarray(encoded[..., ::-1]), None, strength, strength)
        cleaned = cleaned[..., ::-1]
    return (cleaned / np.float32(255)) ** 2


def bm3d(it: Sample) -> Array:
    """BM3D of each stabilised plane of the mosaic, then DDFAPD on square roots."""
    package = optional("bm3d")
    out = it.mosaic.copy()
    for row, column, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        plane, (a, b) = it.mosaic[row::2, column::2], it.noise[channel]
        noise = {"gain": a, "sigma": b**0.5}
        stabilised = np.asarray(ops.anscombe(np.ascontiguousarray(plane), **noise))
        cleaned = package.bm3d(stabilised.astype(np.float64), sigma_psd=1.0).astype(np.float32)
        out[row::2, column::2] = ops.inverse_anscombe(np.ascontiguousarray(cleaned), **noise, method="exact")
    return ddfapd(out, "sqrt")


def rivals(it: Sample) -> Iterator[tuple[str, dict[str, float]]]:
    for name, method in DEMOSAICED.items():
        rgb = method(it.mosaic)
        yield name, figures(rgb, it.clean)
        for space, strengths in STRENGTHS.get(it.a, {}).items():
            for strength in strengths:
                yield f"{name} + NLM {space} {strength}", figures(non_local_means(rgb, space, strength), it.clean)
    if it.a and optional("bm3d"):
        yield BM3D, figures(bm3d(it), it.clean)


def _rivals(job: tuple[Path, float]) -> dict[str, dict[str, float]]:
    cv2.setNumThreads(1)
    return dict(rivals(sample(*job)))


# --- table -----------------------------------------------------------------------------------------------------------


def photographs(paths: list[Path]) -> list[Path]:
    files = [f for path in paths for f in (sorted(path.iterdir()) if path.is_dir() else [path])]
    return [f for f in files if f.suffix.lower() in (".webp", ".png", ".jpg", ".jpeg", ".tif")]


def mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", nargs="+", type=Path)
    parser.add_argument("--models", default="", help="NAME or NAME=WEIGHTS.safetensors, several with commas")
    parser.add_argument(
        "--rivals", type=Path, help="JSON of an earlier run on the same photographs, to save their time"
    )
    parser.add_argument("--output", type=Path, default=Path("denoise.json"))
    options = parser.parse_args()
    files = photographs(options.photographs)
    jobs = [(file, a) for a in LEVELS for file in files]
    names = [file.name for file in files]

    if options.rivals:
        record = json.loads(options.rivals.read_text())
        if record["photographs"] != names:
            raise SystemExit(f"{options.rivals} is about other photographs.")
        results: list[dict[str, Any]] = record["results"]
    else:
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:
            results = list(track(pool.map(_rivals, jobs), "rivals", len(jobs)))
    for text in filter(None, options.models.split(",")):
        name, _, weights = text.partition("=")
        predictor = rawzoo.load(name, weights=weights or None)
        for job, found in zip(track(jobs, name), results, strict=True):
            it = sample(*job)
            rgb = demosaic(predictor, torch.from_numpy(it.mosaic), CFA, noise=it.noise)
            found[text] = figures(rgb.permute(1, 2, 0).numpy(), it.clean)
    options.output.write_text(json.dumps({"photographs": names, "results": results}))
    show(results, len(files), [text for text in options.models.split(",") if text])


def show(results: list[dict[str, Any]], count: int, models: list[str]) -> None:
    table = Table("a", "about ISO", "best rival", "its roots / linear / SSIM", "model", "roots / linear / SSIM", "gain",
                  "worst photograph", "over BM3D")  # fmt: skip
    for index, (a, iso) in enumerate(LEVELS.items()):
        rows = results[index * count : (index + 1) * count]
        means = {name: mean([row[name] for row in rows]) for name in rows[0]}
        others = [name for name in means if name != BM3D and name not in models and "naf" not in name]
        best = max(others, key=lambda name: means[name]["root"])
        for model in models:
            worst = min(row[model]["root"] - row[best]["root"] for row in rows)
            over = f"{means[model]['root'] - means[BM3D]['root']:+.2f}" if BM3D in means else ""
            table.add_row(f"{a:g}", iso, best, _text(means[best]), model, _text(means[model]),
                          f"{means[model]['root'] - means[best]['root']:+.2f}", f"{worst:+.2f}", over)  # fmt: skip
        if not models:
            table.add_row(f"{a:g}", iso, best, _text(means[best]), "", _text(means[BM3D]) if BM3D in means else "")
    Console().print(table)


def _text(row: dict[str, float]) -> str:
    return f"{row['root']:.2f} / {row['linear']:.2f} / {row['ssim']:.3f}"


if __name__ == "__main__":
    main()
