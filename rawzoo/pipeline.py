"""The picture pipeline: white balance -> demosaic or network -> output colours -> tone -> upright picture."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rawzoo import developer, ops
from rawzoo.errors import PluginError, RawWarning, UsageError
from rawzoo.picture import Picture, upright
from rawzoo.raw import cfa as cfa_patterns
from rawzoo.raw import color, noise, noise_level
from rawzoo.raw.image import Box, RawImage
from rawzoo.raw.noise_level import NoiseLevel

if TYPE_CHECKING:
    from rawzoo.inference.predictor import Predictor
    from rawzoo.zoo.card import ModelCard

SPACES = ("srgb", "display-p3", "rec2020-linear", "camera")
TONES = ("natural", "none")

_STRIP_ROWS = 128

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Look:
    """How a picture is to look; the defaults are a natural sRGB picture.

    Attributes:
        white_balance: see :func:`white_balance_neutral`.
        exposure: EV on top of the file's own baseline exposure.
        tone: ``natural`` (contrast and a soft shoulder) or ``none`` (only the output space's transfer function).
        space: ``srgb``, ``display-p3``, ``rec2020-linear``, or ``camera``: white-balanced linear camera RGB, 1.0
            (65535) = sensor white of green, untouched by exposure, tone and matrix.
    """

    white_balance: str = "as-shot"
    exposure: float = 0.0
    tone: str = "natural"
    space: str = "srgb"

    def __post_init__(self) -> None:
        if self.space not in SPACES:
            raise UsageError(f"output space {self.space!r} is none of {', '.join(SPACES)}.")
        if self.tone not in TONES:
            raise UsageError(f"tone {self.tone!r} is none of {', '.join(TONES)}.")
        if not -10.0 <= self.exposure <= 10.0:
            raise UsageError(f"exposure {self.exposure:g} is outside -10 to 10 EV.")
        if self.space == "camera" and self.exposure:
            raise UsageError("space camera is untouched sensor data and takes no exposure.")

    @property
    def linear(self) -> bool:
        return self.space in ("camera", "rec2020-linear")


@dataclass(frozen=True)
class Denoise:
    """How much of the noise a denoiser is to take.

    Attributes:
        strength: factor of the noise's standard deviation that a model conditioned on noise is told, 0 to 4. With 0 it
            only demosaics.
        grain: how much of the brightness that the model took away is given back, 0 to 1. Noise of colour stays away.
    """

    strength: float = 1.0
    grain: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.strength <= 4.0:
            raise UsageError(f"strength {self.strength:g} is outside 0 to 4.")
        if not 0.0 <= self.grain <= 1.0:
            raise UsageError(f"grain {self.grain:g} is outside 0 to 1.")

    def check(self, card: ModelCard) -> None:
        """Raises UsageError where a model has no use for what was asked."""
        if self.strength != 1.0 and "noise" not in card.conditioning:
            raise UsageError(f"model {card.name} is not told the noise level, so it takes no strength.")
        if self.grain and developer.is_classical(card):
            raise UsageError(f"model {card.name} takes no noise away, so there is no grain to give back.")

    def taken(self, raw: RawImage, card: ModelCard) -> float | None:
        """``noise_reduction`` of what a model makes of a raw image."""
        return min(self.strength, 1.0) if "noise" in card.conditioning else raw.noise_reduction


def develop(
    raw: RawImage,
    model: str | Predictor | None = None,
    *,
    white_balance: str = "as-shot",
    exposure: float = 0.0,
    tone: str = "natural",
    space: str = "srgb",
    dtype: str = "uint8",
    strength: float = 1.0,
    grain: float = 0.0,
    device: str = "cpu",
    tile: int | None = None,
    progress: Progress | None = None,
) -> npt.NDArray[Any]:
    """Make a picture.

    Args:
        raw: what to develop.
        model: name of a model of task ``demosaic`` or a loaded :class:`Predictor`; None or ``"none"`` for the
            default classical demosaicer; ``"auto"`` for a denoiser where the image is noisy enough to gain by one
            (:class:`rawzoo.developer.Developer`). Files without a mosaic (monochrome, linear) take no model.
        white_balance, exposure, tone, space: see :class:`Look`.
        dtype: ``uint8``, ``uint16``, or ``float32`` for the linear spaces: not clipped at all, noise below black and
            highlights above white included.
        strength, grain: see :class:`Denoise`; of no effect where ``"auto"`` finds nothing to denoise.
        device, tile: for models given by name; see :func:`rawzoo.load`.
        progress: called with the finished fraction, 0 to 1.

    Returns:
        ``[H, W, 3]`` in the output space, default crop applied, upright.

    Raises:
        UsageError: an option that does not make sense for this image.
    """
    look = Look(white_balance, exposure, tone, space)
    denoise = Denoise(strength, grain)
    if dtype not in ("uint8", "uint16", "float32"):
        raise UsageError(f"dtype {dtype!r} is none of uint8, uint16, float32.")
    if dtype == "float32" and not look.linear:
        raise UsageError("float32 output is linear: it goes with space camera or rec2020-linear.")
    raw, model, denoise = _settled(raw, model, denoise, device, tile)
    if raw.cfa is not None:
        denoise.check(developer.card_for(raw, model))
    neutral, _ = white_balance_neutral(raw, look.white_balance)
    gains = tuple((1.0 / neutral).tolist())
    # Above the level at which the first balanced channel saturates, colour is unknown; clipping all of them there
    # keeps highlights white instead of magenta.
    clip = None if dtype == "float32" else min(gains)
    matrix = np.eye(3) if look.space == "camera" else color.camera_to_linear(raw, neutral, look.space)
    if look.space != "camera" and clip is not None:
        matrix = matrix / clip
    curve = None if dtype == "float32" else tone_table(raw.baseline_exposure, look)
    if dtype == "float32" and look.space != "camera":
        matrix = matrix * 2.0 ** (raw.baseline_exposure + look.exposure) / min(gains)

    fused = _fused_options(raw, model)
    if fused is not None:
        assert raw.cfa is not None
        picture = ops.develop(
            raw.mosaic, raw.cfa, raw.black_level, raw.white_level, gains, clip, matrix, curve, dtype=dtype, **fused
        )
    else:
        picture = np.empty((raw.height, raw.width, 3), dtype)
        finished = camera_rgb_rows(raw, model, gains, clip, denoise, device=device, tile=tile, progress=progress)
        for start, stop, rows in finished:
            ops.render(rows, matrix, curve, dtype=dtype, out=picture[start:stop])
    return upright(picture[raw.default_crop.slices], raw.orientation)


def render(
    model: str | Predictor,
    raw: RawImage,
    *,
    strength: float = 1.0,
    grain: float = 0.0,
    progress: Progress | None = None,
) -> Picture:
    """The job of the task ``demosaic``: :func:`develop` as it is by default but for the denoising, 16 bit deep."""
    pixels = develop(raw, model, dtype="uint16", strength=strength, grain=grain, progress=progress)
    return Picture.from_array(pixels, exif=raw.exif, source=raw.source)


def white_balance_neutral(raw: RawImage, choice: str) -> tuple[npt.NDArray[np.float64], str]:
    """Camera RGB of the light that a white balance choice stands for, green = 1, and what was used, in words.

    Args:
        choice: one of :func:`rawzoo.raw.color.white_balance_neutral`; or the name of a model of task
            ``white-balance``, ``MODEL[@WEIGHTS][:TUNING]``, if need be with the name of its weights and with the
            tuning of the camera: ``awb-pisp``, ``awb-pisp:imx477``, ``awb-pisp@mine:my-camera.json``.

    Raises:
        UsageError: a choice that is none of these, or one that the file cannot serve.
        RawzooError: see :func:`rawzoo.tasks.white_balance.estimate`.
    """
    if raw.kind == "mono" or color.is_white_balance(choice):
        return color.white_balance_neutral(raw, choice)
    from rawzoo.tasks.white_balance import TASK, estimate
    from rawzoo.zoo import registry

    named, _, tuning = choice.partition(":")
    model, _, weights = named.partition("@")
    if model not in [card.name for card in registry.models()]:
        known = ", ".join(card.name for card in registry.models(TASK)) or "none is installed"
        raise UsageError(
            f"white balance {choice!r} is none of {color.WHITE_BALANCES}, or a model of task {TASK} ({known})."
        )
    found = estimate(raw, model, weights=weights or None, tuning=tuning or None)
    return found.neutral, f"{named}: {found}"


def camera_rgb_rows(
    raw: RawImage,
    model: str | Predictor | None,
    gains: tuple[float, ...],
    clip: float | None,
    denoise: Denoise = Denoise(),
    *,
    device: str = "cpu",
    tile: int | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[int, int, npt.NDArray[np.float32]]]:
    """White-balanced linear camera RGB of the active area, a few rows at a time.

    Args:
        gains: white balance gains of R, G, B with green = 1.
        clip: upper bound of the balanced values before demosaicing, or None.
        denoise: for a model, which has to suit it.
        progress: called with the finished fraction, where a model runs.

    Yields:
        ``(start, stop, rows)``: rows ``[start, stop)`` of the picture as float32 ``[3, stop - start, W]``.
    """
    if raw.kind in ("mono", "linear"):
        if model not in (None, "none"):
            raise UsageError(
                f"{raw.source or 'this raw image'} holds no mosaic ({raw.kind}), so model {developer.name_of(model)} "
                "has nothing to demosaic; develop it without a model."
            )
        yield from _plain_rows(raw, gains, clip)
        return

    assert raw.cfa is not None
    from rawzoo.tasks import demosaic

    predictor = _predictor(raw, model, device, tile)
    denoise.check(predictor.card)
    if demosaic.resamples(predictor.card, raw.cfa):
        raw = resampled(raw)
    assert raw.cfa is not None
    cfa, mosaic = raw.cfa, raw.mosaic

    def source(start: int, stop: int) -> npt.NDArray[np.float32]:
        pattern = cfa_patterns.shift(cfa, start, 0)
        return ops.white_balance(mosaic[start:stop], pattern, raw.black_level, raw.white_level, gains, clip)

    if predictor.card.adapter:
        finished = _adapted_rows(predictor, raw, gains, clip, progress)
    else:
        profile = _noise(raw, gains, denoise.strength) if "noise" in predictor.card.conditioning else None
        streamed = demosaic.stream(predictor, source, raw.height, raw.width, cfa, noise=profile, progress=progress)
        finished = ((start, stop, rows.numpy()) for start, stop, rows in streamed)
    for start, stop, rows in finished:
        if denoise.grain:
            rows = _with_grain(rows, _classical_rows(raw, source, start, stop), denoise.grain)
        yield start, stop, rows


def demosaiced(
    raw: RawImage,
    model: str | Predictor | None = None,
    denoise: Denoise = Denoise(),
    *,
    device: str = "cpu",
    tile: int | None = None,
    progress: Progress | None = None,
) -> RawImage:
    """The same shot as a ``linear`` raw image: demosaiced, still sensor data, to be written as a LinearRaw DNG.

    White balance, exposure and tone are left to whoever opens it; levels are 16 bit with room below black for noise.
    A file that holds no mosaic comes back as it is. Arguments as for :func:`develop`.
    """
    raw, model, denoise = _settled(raw, model, denoise, device, tile)
    if raw.cfa is None:
        return raw
    neutral, _ = color.white_balance_neutral(raw, "as-shot")
    gains = tuple((1.0 / neutral).tolist())
    black, white = 1024.0, 65535.0
    data = np.empty((raw.height, raw.width, 3), np.uint16)
    scale = (neutral * (white - black)).astype(np.float32)
    finished = camera_rgb_rows(raw, model, gains, None, denoise, device=device, tile=tile, progress=progress)
    for start, stop, rows in finished:
        values = np.moveaxis(rows, 0, 2) * scale + np.float32(black + 0.5)
        data[start:stop] = np.clip(values, 0.0, white)
    whole = Box(0, 0, raw.height, raw.width)
    card, profile = developer.card_for(raw, model), raw.noise_profile
    if profile is not None and (len(profile) > 1 or not developer.is_classical(card)):
        profile = None  # after a denoiser nobody knows what noise is left
    return replace(
        raw, data=data, kind="linear", cfa=None, black_level=(black,) * 3, white_level=(white,) * 3, active_area=whole,
        noise_profile=profile, noise_reduction=denoise.taken(raw, card),
    )  # fmt: skip


def denoised(
    raw: RawImage,
    model: str | Predictor | None,
    denoise: Denoise = Denoise(),
    *,
    device: str = "cpu",
    tile: int | None = None,
    progress: Progress | None = None,
) -> RawImage:
    """The same mosaic without its noise: a model's camera RGB sampled as the sensor does, to be written as a CFA DNG.

    Pattern, levels, white balance and margins are those of the source; values end at the white level. Where a
    classical demosaicer is the model, the image comes back as it is, for that takes no noise away; so does one that
    holds no mosaic. Arguments as for :func:`develop`.
    """
    raw, model, denoise = _settled(raw, model, denoise, device, tile)
    if raw.cfa is None or developer.is_classical(card := developer.card_for(raw, model)):
        return raw
    denoise.check(card)
    neutral, _ = color.white_balance_neutral(raw, "as-shot")
    gains = tuple((1.0 / neutral).tolist())
    channels, colors = cfa_patterns.channel_tile(raw.cfa), cfa_patterns.color_tile(raw.cfa)
    data = raw.data.copy()
    mosaic = data[raw.active_area.slices]
    period = len(channels)
    finished = camera_rgb_rows(raw, model, gains, None, denoise, device=device, tile=tile, progress=progress)
    for start, stop, rows in finished:
        for y, x in np.ndindex(period, period):
            first = (y - start) % period
            black, white = (levels[channels[y, x]] for levels in (raw.black_level, raw.white_level))
            values = rows[colors[y, x], first::period, x::period] / gains[colors[y, x]] * (white - black) + black
            if data.dtype != np.float32:
                values = np.rint(np.clip(values, 0.0, white))
            mosaic[start + first : stop : period, x::period] = values
    return replace(raw, data=data, noise_profile=None, noise_reduction=denoise.taken(raw, card))


def resampled(raw: RawImage, cfa: str = "RGGB") -> RawImage:
    """The mosaic that a sensor of another CFA pattern would have made of the same shot: demosaiced, then sampled.

    Demosaicing averages, so there is less noise in it, of coarser grain. Its noise profile is that of the source all
    the same: told so, naf-small gained 0.1 dB at a = 1e-3 and 0.5 dB at 1.6e-2 over what can be measured in it.

    Returns:
        The active area as float32, 0 black and 1 white.
    """
    neutral, _ = color.white_balance_neutral(raw, "as-shot")
    gains = tuple((1.0 / neutral).tolist())
    tile = cfa_patterns.color_tile(cfa)
    period = len(tile)
    data = np.empty((raw.height, raw.width), np.float32)
    classical = developer.default_developer(raw)
    for start, stop, rows in camera_rgb_rows(raw, classical, gains, None):
        for y, x in np.ndindex(period, period):
            colour, first = tile[y, x], (y - start) % period
            data[start + first : stop : period, x::period] = rows[colour, first::period, x::period] / gains[colour]
    level = noise_level.of(raw)
    _warn_of(level, raw)
    pairs = level.profile if len(level.profile) == 1 else tuple(level.profile[c] for c in (0, 1, 1, 2))
    found = RawImage.from_array(data, cfa=cfa, white_level=1.0, as_shot_neutral=raw.as_shot_neutral)
    return replace(found, noise_profile=pairs, noise_reduction=raw.noise_reduction, source=raw.source)


def _settled(
    raw: RawImage, model: str | Predictor | None, denoise: Denoise, device: str, tile: int | None
) -> tuple[RawImage, str | Predictor | None, Denoise]:
    """What ``auto`` comes to for this image."""
    if model != developer.AUTO:
        return raw, model, denoise
    choice = developer.Developer(device=device, tile=tile).choose(raw)
    if choice.denoises:
        _warn_of(choice.noise, raw)
    return choice.told(raw), choice.model, denoise if choice.denoises else Denoise()


def _noise(raw: RawImage, gains: tuple[float, ...], strength: float) -> noise.Profile:
    """What a model is told of the noise of the balanced mosaic; a warning says so where that had to be assumed."""
    assert raw.cfa is not None
    level = noise_level.of(raw)
    _warn_of(level, raw)
    return [(strength**2 * a, strength**2 * b) for a, b in noise.balanced(level.profile, gains, raw.cfa)]


def _warn_of(level: NoiseLevel | None, raw: RawImage) -> None:
    if level is not None and level.assumed:
        warnings.warn(f"{raw.source or 'this raw image'}: noise {level.source}.", RawWarning, stacklevel=4)


def _classical_rows(
    raw: RawImage, source: Callable[[int, int], npt.NDArray[np.float32]], start: int, stop: int
) -> npt.NDArray[np.float32]:
    """What the classical demosaicer makes of these rows; ``[3, stop - start, W]``."""
    assert raw.cfa is not None
    card = developer.card_for(raw, None)
    assert card.halo is not None
    top, bottom = max(start - card.halo, 0), min(stop + card.halo, raw.height)
    rgb = ops.demosaic(source(top, bottom), cfa_patterns.shift(raw.cfa, top, 0), **card.config)
    return np.asarray(rgb[:, start - top : stop - top])


def _with_grain(
    clean: npt.NDArray[np.float32], grainy: npt.NDArray[np.float32], grain: float
) -> npt.NDArray[np.float32]:
    """Part of the difference in brightness, green weighing as much as red and blue together, added to all channels."""
    weights = np.array([0.25 * grain, 0.5 * grain, 0.25 * grain], np.float32)
    return clean + np.tensordot(weights, grainy - clean, axes=1)


def _plain_rows(
    raw: RawImage, gains: tuple[float, ...], clip: float | None
) -> Iterator[tuple[int, int, npt.NDArray[np.float32]]]:
    black, white = np.array(raw.black_level, np.float32), np.array(raw.white_level, np.float32)
    scale = np.array(gains if raw.kind == "linear" else 1.0, np.float32) / (white - black)
    for start in range(0, raw.height, _STRIP_ROWS):
        stop = min(start + _STRIP_ROWS, raw.height)
        rows = raw.mosaic[start:stop]
        values = (np.atleast_3d(rows).astype(np.float32) - black) * scale
        if clip is not None:
            np.minimum(values, clip, out=values)
        planar = np.moveaxis(values, 2, 0)
        yield start, stop, np.ascontiguousarray(np.broadcast_to(planar, (3, *planar.shape[1:])))


def _adapted_rows(
    predictor: Predictor, raw: RawImage, gains: tuple[float, ...], clip: float | None, progress: Progress | None
) -> Iterator[tuple[int, int, npt.NDArray[np.float32]]]:
    """Of a model that is fed otherwise than with the balanced mosaic."""
    from rawzoo.tasks.demosaic import Adapter
    from rawzoo.zoo import registry

    adapter: Adapter = registry.adapter(predictor.card)
    rgb = adapter(predictor, raw, progress=progress).numpy()
    if rgb.shape != (3, raw.height, raw.width):
        raise PluginError(
            f"model {predictor.card.name!r}: its adapter gave {list(rgb.shape)} for a mosaic of {raw.height} x "
            f"{raw.width}; [3, {raw.height}, {raw.width}] is due."
        )
    gain = np.array(gains, np.float32)[:, None, None]
    for start in range(0, raw.height, _STRIP_ROWS):
        stop = min(start + _STRIP_ROWS, raw.height)
        rows = rgb[:, start:stop] * gain
        yield start, stop, rows if clip is None else np.minimum(rows, np.float32(clip))


def _fused_options(raw: RawImage, model: str | Predictor | None) -> dict[str, Any] | None:
    """Method and encoding for the fused op, which needs no torch, when the model is one of rawzoo's own demosaicers."""
    if raw.cfa is None:
        return None
    card = developer.card_for(raw, model)
    return dict(card.config) if developer.is_classical(card) else None


def _predictor(raw: RawImage, model: str | Predictor | None, device: str, tile: int | None) -> Predictor:
    from rawzoo.zoo import registry

    card = developer.card_for(raw, model)
    if model is None or isinstance(model, str):
        return registry.load(card.name, device=device, tile=tile)
    return model


def tone_table(baseline_exposure: float, look: Look) -> npt.NDArray[np.float32] | None:
    """Linear 0..1 to encoded 0..1, as a table for :func:`rawzoo.ops.develop`; None for space ``camera``."""
    if look.space == "camera":
        return None
    return _tone_table(2.0 ** (baseline_exposure + look.exposure), look.tone, look.linear)


@lru_cache(maxsize=16)
def _tone_table(gain: float, tone: str, linear: bool) -> npt.NDArray[np.float32]:
    x = np.linspace(0.0, 1.0, 1 << 16) * gain
    y = natural_tone(x, max(gain, 1.0)) if tone == "natural" and not linear else np.minimum(x, 1.0)
    table = (y if linear else color.srgb_encode(y)).astype(np.float32)
    table.setflags(write=False)
    return table


def natural_tone(x: npt.ArrayLike, white: float = 1.0) -> npt.NDArray[np.float64]:
    """The default tone curve: linear scene light to linear display light.

    Naka and Rushton's response, x^p / (x^p + a), scaled so that ``white`` gives 1: a gentle toe, more contrast and
    light around middle grey (0.13 of sensor white, where meters put it, becomes 0.19 of display white), and a
    shoulder that reaches white without a hard edge.
    """
    p, a = 1.2, 0.68
    power = np.maximum(np.asarray(x, dtype=float), 0.0) ** p
    return np.asarray(np.minimum(power / (power + a) * (white**p + a) / white**p, 1.0))
