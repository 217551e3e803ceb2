"""The demo: a scene of rawzoo's own becomes a noisy raw file, and every developer makes a picture of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rawzoo import compare, developer, pipeline
from rawzoo.errors import WeightsError
from rawzoo.output import write_picture
from rawzoo.raw import cfa as cfa_patterns
from rawzoo.raw import color, noise
from rawzoo.raw.dng import write_dng
from rawzoo.raw.image import Box, ColorMatrix, Metadata, RawImage
from rawzoo.raw.reader import open as open_raw
from rawzoo.scene import render_scene
from rawzoo.sheet import Column, comparison_sheet
from rawzoo.tasks.demosaic import accepts
from rawzoo.zoo import registry
from rawzoo.zoo.weights import imported_weights

_CFA = "RGGB"
_BLACK, _WHITE = 512, 16383  # 14 bit

# A camera of the demo's own, XYZ to camera RGB under D65, like real ones: daylight takes gains of 2.7 and 1.3.
_MATRIX = ColorMatrix(21, ((0.70, -0.20, -0.06), (-0.45, 1.25, 0.22), (-0.08, 0.22, 0.62)))

# ISO 800 on an APS-C sensor: about 5000 electrons are white, and reading adds the noise of 3.
_NOISE_PROFILE = noise.profile_from_electrons(full_well=5000.0, read_noise=3.0)

# Green of the brightest sheet of paper possible in the key light, as a fraction of sensor white.
_EXPOSURE = 0.75

_log = logging.getLogger("rawzoo")


def _crop(top: int, left: int) -> Box:
    return Box(top, left, top + 88, left + 120)


#: What the sheet magnifies of the scene: zone plate, type, coloured edges, cloth, the bulb, dark patches.
CROPS = (_crop(336, 1096), _crop(668, 1230), _crop(478, 1196), _crop(430, 700), _crop(38, 755), _crop(640, 420))


def camera_rgb(scene: npt.NDArray[np.float32]) -> RawImage:
    """What a perfect sensor with all three colours at each pixel would record: no mosaic, no noise.

    Args:
        scene: float32 ``[H, W, 3]``, linear light, sRGB primaries; see :func:`rawzoo.scene.render_scene`.

    Returns:
        A ``linear`` raw image, not white-balanced, 0..1 between black and saturation.
    """
    to_camera = np.array(_MATRIX.xyz_to_camera) @ color.rgb_to_xyz("srgb")
    neutral = to_camera.sum(axis=1)  # of D65, the light of the scene
    values = scene @ (to_camera * (_EXPOSURE / neutral[1])).T.astype(np.float32)
    return RawImage.from_array(
        np.clip(values, 0.0, 1.0),
        white_level=1.0,
        as_shot_neutral=neutral,
        color_matrices=[_MATRIX],
        metadata=Metadata(make="rawzoo", model="demo", iso=800.0),
        source="the demo scene",
    )


def make_raw(perfect: RawImage, seed: int = 0) -> RawImage:
    """The same shot from a real sensor: an RGGB mosaic with photon and read noise, 14 bit.

    Args:
        perfect: from :func:`camera_rgb`.
        seed: of the noise.
    """
    height, width = perfect.height, perfect.width
    colors = np.tile(cfa_patterns.color_tile(_CFA), (height // 2 + 1, width // 2 + 1))[:height, :width]
    clean = np.take_along_axis(perfect.mosaic, colors[..., None], axis=2)[..., 0]
    noisy = noise.add_noise(clean, [_NOISE_PROFILE], np.random.default_rng(seed))
    return RawImage.from_array(
        noise.quantise(noisy, _BLACK, _WHITE),
        cfa=_CFA,
        black_level=_BLACK,
        white_level=_WHITE,
        as_shot_neutral=perfect.as_shot_neutral,
        color_matrices=perfect.color_matrices,
        noise_profile=[_NOISE_PROFILE],
        metadata=perfect.metadata,
        source=perfect.source,
    )


def run(folder: Path, say: Callable[[str], object] = lambda _: None) -> Path:
    """Render, photograph, develop, compare.

    Writes ``rawzoo-demo.dng``, ``truth.png``, one PNG for each developer and ``comparison.png``. A model that fails is
    left out with a logged warning; one whose weights users have to import, with a word at the end.

    Args:
        folder: made if it is not there.
        say: called with one line at each step.

    Returns:
        The comparison sheet.
    """
    folder.mkdir(parents=True, exist_ok=True)
    say("rendering the scene")
    perfect = camera_rgb(render_scene())
    truth = pipeline.develop(perfect)
    write_picture(folder / "truth.png", truth)

    dng = folder / "rawzoo-demo.dng"
    shot = make_raw(perfect)
    write_dng(dng, shot, compression="ljpeg", preview=pipeline.develop(shot))
    raw = open_raw(dng)
    say(f"{dng}: {raw.width} x {raw.height}, {raw.cfa}, 14 bit, ISO 800")

    developed: list[tuple[float, Column]] = []
    waiting = []
    for card in registry.models(task="demosaic"):
        if not accepts(card, _CFA):
            continue
        try:
            picture, seconds = compare.timed(raw, developer.prepare(card.name))
        except WeightsError as error:
            if card.weights or imported_weights(card.name):
                _log.warning("model %s left out: %s", card.name, error)
            else:
                waiting.append(card.name)
            continue
        except Exception as error:  # noqa: BLE001 - a plugin's model may fail in any way; the others are still shown
            _log.warning("model %s left out: %s", card.name, error)
            continue
        quality = psnr(picture, truth)
        note = f"{quality:.2f} dB   {compare.duration(seconds)}"
        path = folder / f"{card.name}.png"
        write_picture(path, picture)
        developed.append((quality, Column(card.name, picture, note)))
        say(f"{path}: {note}")
    if waiting:
        say(f"left out, without weights here: {', '.join(waiting)}; `rawzoo show NAME` says where to get them")

    # Worst to best: the last one is shown whole.
    columns = [column for _, column in sorted(developed, key=lambda entry: entry[0])]
    sheet = comparison_sheet(
        [Column("ground truth", truth, "the scene, no mosaic, no noise"), *columns],
        CROPS,
        heading="One raw file, every developer",
        caption=f"{raw.width} x {raw.height} pixels, {raw.cfa}, 14 bit, noise of ISO 800; natural tone, sRGB.\n"
        "PSNR of the whole 8-bit picture against the same scene without mosaic and noise, developed alike; "
        "time for one picture.",
    )
    path = folder / "comparison.png"
    write_picture(path, np.asarray(sheet))
    return path


def psnr(picture: npt.NDArray[np.uint8], truth: npt.NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio of 8-bit pictures, in dB; infinite for equal ones."""
    error = np.mean((picture.astype(np.float64) - truth) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255.0**2 / error))
