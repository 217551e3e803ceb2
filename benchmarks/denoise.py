"""How well rawzoo's denoisers do against classical raw development, on photographs turned into noisy mosaics.

    python benchmarks/denoise.py PHOTOS... --models naf-small,naf-tiny --output denoise.json

PHOTOS are picture files or folders of them; ``--held-out SHARE`` takes only those that ``data.validation: SHARE`` of a
recipe keeps from training. Each is made raw by rawzoo.raw.synthetic: linear, in the balanced colours of a camera, RGGB,
true Poisson and Gaussian noise of variance a x + b. Everybody gets the same balanced mosaic; the models also get a and
b. Figures are means over photographs of the PSNR of square roots of white-balanced camera RGB (beside it linear PSNR,
and SSIM of its sRGB rendering without a matrix), the centre of each photograph, border of 8 cropped. Models are also
told half and twice the noise, and run on flat patches.

Rivals: LibRaw's AHD, DHT and AAHD, DDFAPD on linear and on square-root values; each also with OpenCV's non-local means
at the strength, of a grid, that is best for this level on these very photographs (a kind reading). BM3D, where it is
installed, works on the variance-stabilised planes of the mosaic, before DDFAPD on square roots. With ``--xtrans`` they
are LibRaw's three passes and Markesteijn on square roots, and the models go the way of rawzoo.develop.
"""

from __future__ import annotations

import argparse
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
import peers
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from skimage.metrics import structural_similarity

import rawzoo
from rawzoo import ops
from rawzoo.inference.predictor import Predictor
from rawzoo.pipeline import camera_rgb_rows
from rawzoo.raw import cfa as cfa_patterns
from rawzoo.raw import noise, synthetic
from rawzoo.raw.image import RawImage
from rawzoo.tasks.demosaic import demosaic
from rawzoo.training.datasets import split

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
CROP, BORDER = 384, 8
BAYER, XTRANS = "RGGB", cfa_patterns.XTRANS_PATTERN
BM3D = "BM3D + DDFAPD on roots"


@dataclass(frozen=True)
class Sample:
    """One photograph at one noise level.

    Attributes:
        clean: ``[H, W, 3]``, white-balanced camera RGB, 0..1.
        mosaic: ``[H, W]``, balanced, noisy, unclipped.
        noise: (a, b) of each channel of the CFA in units of the balanced mosaic.
        gains: white balance of R, G, B.
    """

    name: str
    a: float
    clean: Array
    mosaic: Array
    noise: tuple[tuple[float, float], ...]
    gains: tuple[float, ...]
    cfa: str = BAYER


def sample(path: Path, a: float, vivid: bool = False, cfa: str = BAYER) -> Sample:
    """Camera, white balance and noise depend on the file's name and the level only."""
    with Image.open(path) as image:
        picture = np.asarray(image.convert("RGB"))
    period = cfa_patterns.period(cfa)
    height, width = (min(CROP, n) // period * period for n in picture.shape[:2])
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    crop = picture[top : top + height, left : left + width].transpose(2, 0, 1)
    camera = synthetic.random_exposures(1, synthetic.Settings(vivid=float(vivid)), _generator(path.name))
    scene = synthetic.linear(torch.from_numpy(crop.copy()))[None]
    b = noise.profile_at_iso(a / noise.FULL_FRAME_SCALE)[1] if a else 0.0
    recorded = synthetic.expose(scene, camera.at_noise(a, b), cfa, _generator(f"{path.name} {a:g}"))
    clean = np.ascontiguousarray(recorded.target[0].permute(1, 2, 0).numpy())
    pairs = tuple((float(x), float(y)) for x, y in recorded.noise[0])
    gains = tuple(camera.gains[0].tolist())
    return Sample(path.name, a, clean, recorded.mosaic[0, 0].numpy(), pairs, gains, cfa)


def _generator(name: str) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))


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


def ddfapd(mosaic: Array, encode: str | None) -> Array:
    options = {} if encode is None else {"encode": encode}
    return np.asarray(ops.demosaic(mosaic, BAYER, "menon", layout="interleaved", **options))


def libraw_xtrans(mosaic: Array) -> Array:
    """LibRaw fails on X-Trans files of fewer than some 600 pixels, so it gets more."""
    height, width = mosaic.shape
    larger = np.pad(mosaic, ((0, max(600 - height, 0)), (0, max(600 - width, 0))), mode="wrap")
    return peers.libraw_demosaic(larger, "AHD", XTRANS)[:height, :width]


DEMOSAICED: dict[str, Callable[[Array], Array]] = {
    "AHD": lambda mosaic: peers.libraw_demosaic(mosaic, "AHD"),
    "DHT": lambda mosaic: peers.libraw_demosaic(mosaic, "DHT"),
    "AAHD": lambda mosaic: peers.libraw_demosaic(mosaic, "AAHD"),
    "DDFAPD": lambda mosaic: ddfapd(mosaic, None),
    "DDFAPD on roots": lambda mosaic: ddfapd(mosaic, "sqrt"),
}
OF_XTRANS: dict[str, Callable[[Array], Array]] = {
    "LibRaw, 3 passes": libraw_xtrans,
    "Markesteijn on roots": lambda mosaic: np.asarray(
        ops.demosaic(mosaic, XTRANS, "markesteijn", encode="sqrt", layout="interleaved")
    ),
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
    package = peers.optional("bm3d")
    out = it.mosaic.copy()
    for row, column, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 2), (1, 1, 3)):
        plane, (a, b) = it.mosaic[row::2, column::2], it.noise[channel]
        level = {"gain": a, "sigma": b**0.5}
        stabilised = np.asarray(ops.anscombe(np.ascontiguousarray(plane), **level))
        cleaned = package.bm3d(stabilised.astype(np.float64), sigma_psd=1.0).astype(np.float32)
        out[row::2, column::2] = ops.inverse_anscombe(np.ascontiguousarray(cleaned), **level, method="exact")
    return ddfapd(out, "sqrt")


def rivals(it: Sample) -> Iterator[tuple[str, dict[str, float]]]:
    for name, method in (DEMOSAICED if it.cfa == BAYER else OF_XTRANS).items():
        rgb = method(it.mosaic)
        yield name, figures(rgb, it.clean)
        for space, strengths in STRENGTHS.get(it.a, {}).items():
            for strength in strengths:
                yield f"{name} + NLM {space} {strength}", figures(non_local_means(rgb, space, strength), it.clean)
    if it.a and it.cfa == BAYER and peers.optional("bm3d"):
        yield BM3D, figures(bm3d(it), it.clean)


def _rivals(job: tuple[Path, float, bool, str]) -> dict[str, dict[str, float]]:
    cv2.setNumThreads(1)
    return dict(rivals(sample(*job)))


# --- table -----------------------------------------------------------------------------------------------------------


def photographs(paths: list[Path], held_out: float) -> list[Path]:
    files = [f for path in paths for f in (sorted(path.iterdir()) if path.is_dir() else [path])]
    files = [f for f in files if f.suffix.lower() in (".webp", ".png", ".jpg", ".jpeg", ".tif")]
    return [files[i] for i in split([f"{f.parent.name}/{f.name}" for f in files], held_out)[1]] if held_out else files


def run(predictor: Predictor, it: Sample, factor: float = 1.0) -> Array:
    told = [(factor * a, factor * b) for a, b in it.noise]
    if it.cfa == BAYER:
        rgb = demosaic(predictor, torch.from_numpy(it.mosaic), it.cfa, noise=told)
        return np.asarray(rgb.permute(1, 2, 0))
    color = cfa_patterns.color_tile(it.cfa)[tuple(i % 6 for i in np.indices(it.mosaic.shape))]
    neutral = 1 / np.array(it.gains, np.float32)
    raw = RawImage.from_array(it.mosaic * neutral[color], cfa=it.cfa, white_level=1.0, as_shot_neutral=tuple(neutral))
    rows = [rows for _, _, rows in camera_rgb_rows(raw, predictor, it.gains, None)]
    return np.concatenate(rows, axis=1).transpose(1, 2, 0)


def flats(predictor: Predictor) -> dict[str, dict[str, float]]:
    """How far the mean of grey patches of 1 % to 95 % of white moves, of the colour that moves most, by level: in
    percent of the patch's value, and of white. Compared with the mean of the noisy samples."""
    found: dict[str, dict[str, float]] = {}
    camera = synthetic.random_exposures(1, synthetic.Settings(), _generator("flat"))
    gains, inner = camera.gains[0].numpy(), (slice(32, -32),) * 2
    channel = np.tile([[0, 1], [1, 2]], (256, 256))
    for a in LEVELS:
        b = noise.profile_at_iso(a / noise.FULL_FRAME_SCALE)[1] if a else 0.0
        of_value = of_white = 0.0
        for value in (0.01, 0.02, 0.05, 0.1, 0.18, 0.5, 0.95):
            clean = value / gains[channel]
            noisy = noise.add_noise(clean, [(a, b)], np.random.default_rng(0)) if a else clean
            mosaic = (noisy * gains[channel]).astype(np.float32)
            told = tuple((float(a * g), float(b * g * g)) for g in gains[[0, 1, 1, 2]])
            rgb = run(predictor, Sample("flat", a, np.empty(0, np.float32), mosaic, told, tuple(gains.tolist())))[inner]
            for c in range(3):
                off = abs(
                    rgb[..., c].mean(dtype=np.float64) - mosaic[inner][channel[inner] == c].mean(dtype=np.float64)
                )
                of_value, of_white = max(of_value, 100 * off / value), max(of_white, 100 * off)
        found[f"{a:g}"] = {"of value": of_value, "of white": of_white}
    return found


def mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", nargs="+", type=Path)
    parser.add_argument("--held-out", type=float, default=0.0, metavar="SHARE")
    parser.add_argument("--vivid", action="store_true", help="take the photographs' own, more saturated, colours")
    parser.add_argument("--xtrans", action="store_true", help="an X-Trans sensor")
    parser.add_argument("--models", default="", help="NAME or NAME=WEIGHTS.safetensors, several with commas")
    parser.add_argument(
        "--rivals", type=Path, help="JSON of an earlier run on the same photographs, to save their time"
    )
    parser.add_argument("--output", type=Path, default=Path("denoise.json"))
    options = parser.parse_args()
    files = photographs(options.photographs, options.held_out)
    cfa = XTRANS if options.xtrans else BAYER
    jobs = [(file, a, options.vivid, cfa) for a in LEVELS for file in files]
    names = [file.name for file in files]

    if options.rivals:
        record = json.loads(options.rivals.read_text())
        if record["photographs"] != names:
            raise SystemExit(f"{options.rivals} is about other photographs.")
        results: list[dict[str, Any]] = record["results"]
    else:
        with ProcessPoolExecutor(None, get_context("spawn")) as pool:
            results = list(track(pool.map(_rivals, jobs), "rivals", len(jobs)))
    flat: dict[str, Any] = {}
    for text in filter(None, options.models.split(",")):
        name, _, weights = text.partition("=")
        predictor = rawzoo.load(name, weights=weights or None)
        for job, found in zip(track(jobs, name), results, strict=True):
            it = sample(*job)
            # What the models are told of X-Trans is measured.
            for factor in (1.0, 0.5, 2.0) if it.a and cfa == BAYER else (1.0,):
                key = text if factor == 1 else f"{text} told x{factor:g}"
                found[key] = figures(run(predictor, it, factor), it.clean)
        if cfa == BAYER:
            flat[text] = flats(predictor)
    options.output.write_text(json.dumps({"photographs": names, "results": results, "flats": flat}))
    show(results, len(files), [text for text in options.models.split(",") if text], flat)


def show(results: list[dict[str, Any]], count: int, models: list[str], flat: dict[str, Any]) -> None:
    table = Table("a", "about ISO", "best rival", "its roots / linear / SSIM", "model", "roots / linear / SSIM", "gain",
                  "worst photograph", "over BM3D", "told x0.5, x2", "flat, % of value, of white")  # fmt: skip
    for index, (a, iso) in enumerate(LEVELS.items()):
        rows = results[index * count : (index + 1) * count]
        rivals = {name: mean([row[name] for row in rows]) for name in rows[0] if name not in ("", BM3D)}
        rivals = {name: row for name, row in rivals.items() if name.partition(" + ")[0] in {**DEMOSAICED, **OF_XTRANS}}
        best = max(rivals, key=lambda name: rivals[name]["root"])
        for model in models or [BM3D]:
            if model not in rows[0]:
                continue
            own = mean([row[model] for row in rows])
            gain = own["root"] - rivals[best]["root"]
            worst = min(row[model]["root"] - row[best]["root"] for row in rows)
            over = f"{own['root'] - mean([row[BM3D] for row in rows])['root']:+.2f}" if BM3D in rows[0] else ""
            told = [f"{model} told x{factor:g}" for factor in (0.5, 2.0)]
            wrong = [f"{mean([r[key] for r in rows])['root'] - own['root']:+.2f}" for key in told if key in rows[0]]
            flatness = flat.get(model, {}).get(f"{a:g}", {})
            table.add_row(f"{a:g}", iso, best, _text(rivals[best]), model, _text(own), f"{gain:+.2f}", f"{worst:+.2f}",
                          over, ", ".join(wrong), ", ".join(f"{v:.2f}" for v in flatness.values()))  # fmt: skip
    Console(width=200).print(table)


def _text(row: dict[str, float]) -> str:
    return f"{row['root']:.2f} / {row['linear']:.2f} / {row['ssim']:.3f}"


if __name__ == "__main__":
    main()
