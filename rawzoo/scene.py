"""A still life rendered in linear light: the demo's own picture, so that it needs none from outside.

A small ray tracer in NumPy (planes, spheres and upright cards; a soft key light, a bulb, one reflection) around things
that try a demosaicer: a colour chart, a zone plate, a star, slanted edges, small type, woven cloth, smooth gradients,
and a light that clips.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from rawzoo.raw.color import srgb_decode

Array = npt.NDArray[Any]  # float32 unless said otherwise


def _f32(values: npt.ArrayLike) -> Array:
    return np.asarray(values, np.float32)


#: The 24 patches of the classic colour chart in reading order: 8-bit sRGB as its maker publishes them.
CHART_SRGB = (
    (115, 82, 68), (194, 150, 130), (98, 122, 157), (87, 108, 67), (133, 128, 177), (103, 189, 170),
    (214, 126, 44), (80, 91, 166), (193, 90, 99), (94, 60, 108), (157, 188, 64), (224, 163, 46),
    (56, 61, 150), (70, 148, 73), (175, 54, 60), (231, 199, 31), (187, 86, 149), (8, 133, 161),
    (243, 243, 242), (200, 200, 200), (160, 160, 160), (122, 122, 121), (85, 85, 85), (52, 52, 52),
)  # fmt: skip

# Height of the picture at the objects, in scene units; everything else is in the same units.
_VIEW = 1.06
_EYE = _f32([0.0, 1.25, 4.0])
_TARGET = _f32([0.0, 0.315, 0.0])

_KEY = _f32([-2.6, 3.6, 3.4])
_KEY_SIZE = 0.09  # angular radius, radians: how soft its shadows are
_KEY_COLOR = _f32([0.86, 0.85, 0.83])
_SKY = _f32([0.135, 0.145, 0.16])
_BULB = _f32([0.055, 0.70, -0.48])
_BULB_RADIUS = 0.034
_BULB_COLOR = _f32([0.120, 0.066, 0.026])  # irradiance at distance 1
_BULB_RADIANCE = _f32([34.0, 25.0, 14.0])


def render_scene(height: int = 1024, width: int = 1536) -> Array:
    """The still life.

    Args:
        height, width: in pixels; the view is composed for 2:3.

    Returns:
        float32 ``[height, width, 3]``, linear light with sRGB primaries; 1.0 is a white sheet in the key light, and
        the bulb goes beyond.
    """
    things = _things(height)
    scale = _VIEW / height
    forward = _unit(_TARGET - _EYE)
    right = _unit(np.cross(forward, _f32([0, 1, 0])))
    up = np.cross(right, forward)
    distance = np.float32(np.linalg.norm(_TARGET - _EYE))

    def strip(top: int) -> Array:
        rows = min(strip_rows, height - top)
        # Four rays per pixel.
        y = (height / 2 - top - (np.arange(2 * rows, dtype=np.float32) + 0.5) / 2) * np.float32(scale)
        x = ((np.arange(2 * width, dtype=np.float32) + 0.5) / 2 - width / 2) * np.float32(scale)
        rays = forward * distance + y[:, None, None] * up + x[:, None] * right
        color = _trace(things, np.broadcast_to(_EYE, (rays.size // 3, 3)), _unit(rays.reshape(-1, 3)), bounces=1)
        color *= (1 - 0.45 * (x**2 + y[:, None] ** 2)).reshape(-1, 1)  # the lens darkens the corners
        return _f32(color.reshape(rows, 2, width, 2, 3).mean(axis=(1, 3)))

    strip_rows = 16
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        picture = np.concatenate(list(pool.map(strip, range(0, height, strip_rows))))
    return _through_lens(picture)


#: Albedo ``[N, 3]`` of a card at ``(u, v)``, 0..1 from its top left corner.
Paint = Callable[[Array, Array], Array]


@dataclass(frozen=True)
class _Sphere:
    center: Array
    radius: float
    color: Array
    gloss: float = 0.0  # reflectance straight on
    light: Array | None = None  # radiance of a lamp

    def hit(self, origin: Array, ray: Array) -> Array:
        """Distance along each ray, infinite where it misses."""
        to = self.center - origin
        along = _dot(to, ray)
        half = self.radius**2 - (_dot(to, to) - along**2)
        t = along - np.sqrt(np.maximum(half, 0))
        return np.where((half > 0) & (t > 1e-3), t, np.float32(np.inf))

    def surface(self, at: Array) -> tuple[Array, Array]:
        """Albedo and normal."""
        return np.broadcast_to(self.color, at.shape), (at - self.center) / np.float32(self.radius)

    def lit(self, at: Array, ray: Array, distance: Array, size: Array) -> Array:
        """How much of a round light is seen past this: a light of angular radius ``size`` in direction ``ray``."""
        to = self.center - at
        length = np.sqrt(_dot(to, to))
        angle = np.arccos(np.clip(_dot(to, ray) / length, -1, 1))
        edge = np.arcsin(np.minimum(self.radius / length, 1))
        shade = _step((angle - edge) / size)
        # Neither behind the light nor on its own surface, which its normal shades.
        return np.where((length > distance) | (length < self.radius * 1.01), np.float32(1), shade)

    def openness(self, at: Array, normal: Array) -> Array:
        """Fraction of the sky that is left: a sphere covers cos * (r / d)^2 of a surface's view."""
        to = self.center - at
        square = _dot(to, to)
        cover = np.maximum(_dot(to, normal), 0) * self.radius**2 / (square * np.sqrt(square))
        return np.where(square < (self.radius * 1.01) ** 2, np.float32(1), 1 - np.minimum(cover, 1))


@dataclass(frozen=True)
class _Card:
    """A rectangle whose front looks along ``normal``."""

    center: Array
    across: Array  # unit vectors
    down: Array
    width: float
    height: float
    paint: Paint

    @property
    def normal(self) -> Array:
        return np.cross(self.down, self.across).astype(np.float32)

    def _place(self, at: Array) -> tuple[Array, Array]:
        return _dot(at - self.center, self.across), _dot(at - self.center, self.down)

    def hit(self, origin: Array, ray: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            t = _dot(self.center - origin, self.normal) / _dot(ray, self.normal)
            x, y = self._place(origin + t[:, None] * ray)
            fine = (t > 1e-3) & (np.abs(x) < self.width / 2) & (np.abs(y) < self.height / 2)
        return np.where(fine, t, np.float32(np.inf))

    def surface(self, at: Array) -> tuple[Array, Array]:
        x, y = self._place(at)
        color = self.paint(x / np.float32(self.width) + np.float32(0.5), y / np.float32(self.height) + np.float32(0.5))
        return color, np.broadcast_to(self.normal, at.shape)

    def lit(self, at: Array, ray: Array, distance: Array, size: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            t = _dot(self.center - at, self.normal) / _dot(ray, self.normal)
        fine = (t > 1e-3) & (t < distance)
        t = np.where(fine, t, np.float32(1))
        x, y = self._place(at + t[:, None] * ray)
        blur = size * t + np.float32(1e-4)
        open_ = 1 - _step((self.width / 2 - np.abs(x)) / blur) * _step((self.height / 2 - np.abs(y)) / blur)
        return np.where(fine, open_, np.float32(1))

    def openness(self, at: Array, normal: Array) -> Array:
        """Fraction of the sky that is left near the card's foot, roughly: light comes in from the sides."""
        x, y = self._place(at)
        away = np.abs(_dot(at - self.center, self.normal))
        outside = np.maximum(np.abs(x) - self.width / 2, 0) + np.maximum(np.abs(y) - self.height / 2, 0)
        cover = 0.45 * np.exp(-(away + outside) / 0.07) * (1 - np.abs(_dot(normal, self.normal)))
        return _f32(1 - cover)


@dataclass(frozen=True)
class _Plane:
    point: Array
    normal: Array
    paint: Callable[[Array], Array]

    def hit(self, origin: Array, ray: Array) -> Array:
        with np.errstate(divide="ignore"):
            t = _dot(self.point - origin, self.normal) / _dot(ray, self.normal)
        return np.where(t > 1e-3, t, np.float32(np.inf))

    def surface(self, at: Array) -> tuple[Array, Array]:
        return self.paint(at), np.broadcast_to(self.normal, at.shape)


@dataclass(frozen=True)
class _Cord:
    """What the bulb hangs from: a thin upright strip that casts no shadow."""

    foot: Array

    def hit(self, origin: Array, ray: Array) -> Array:
        t = (self.foot[2] - origin[:, 2]) / ray[:, 2]
        at = origin + t[:, None] * ray
        fine = (t > 1e-3) & (np.abs(at[:, 0] - self.foot[0]) < 0.003) & (at[:, 1] > self.foot[1])
        return np.where(fine, t, np.float32(np.inf))

    def surface(self, at: Array) -> tuple[Array, Array]:
        return np.broadcast_to(_f32([0.03, 0.03, 0.03]), at.shape), np.broadcast_to(_f32([0, 0, 1]), at.shape)


_Thing = _Sphere | _Card | _Plane | _Cord


def _things(height: int) -> list[_Thing]:
    """Everything in the picture. ``height`` in pixels sets how finely the cards are printed."""

    def card(x: float, z: float, size: tuple[float, float], yaw: float, lean: float, paint: Paint) -> _Card:
        across = _f32([np.cos(yaw), 0, -np.sin(yaw)])
        back = _f32([-np.sin(yaw), 0, -np.cos(yaw)])
        down = _f32([0, -np.cos(lean), 0]) - back * np.float32(np.sin(lean))
        foot = _f32([x, 0.002, z])
        return _Card(foot - down * np.float32(size[1] / 2), across, down, size[0], size[1], paint)

    def sphere(x: float, z: float, radius: float, color: tuple[float, float, float], gloss: float) -> _Sphere:
        return _Sphere(_f32([x, radius, z]), radius, _f32(color), gloss)

    texels = 2.2 * height / _VIEW  # per scene unit: finer than the rays, so that printing adds no blur of its own
    return [
        _Plane(_f32([0, 0, 0]), _f32([0, 1, 0]), _table),
        _Plane(_f32([0, 0, -0.85]), _f32([0, 0, 1]), _wall),
        card(-0.470, -0.06, (0.585, 0.415), 0.10, 0.15, _chart),
        card(0.055, -0.20, (0.315, 0.455), 0.03, 0.07, partial(_sample, _book(0.315, 0.455, texels))),
        card(0.525, -0.02, (0.425, 0.545), -0.09, 0.13, partial(_sample, _print(0.425, 0.545, texels))),
        sphere(-0.135, 0.37, 0.094, (0.72, 0.70, 0.66), 0.05),
        sphere(0.090, 0.47, 0.066, (0.52, 0.035, 0.030), 0.05),
        sphere(0.250, 0.27, 0.076, (0.020, 0.19, 0.21), 0.05),
        sphere(-0.365, 0.50, 0.048, (0.62, 0.34, 0.03), 0.05),
        sphere(-0.015, 0.60, 0.030, (0.05, 0.05, 0.055), 0.55),
        _Sphere(_BULB, _BULB_RADIUS, np.zeros(3, np.float32), light=_BULB_RADIANCE),
        _Cord(_BULB),
    ]  # fmt: skip


def _trace(things: list[_Thing], origin: Array, ray: Array, bounces: int) -> Array:
    """Radiance ``[N, 3]`` seen along rays ``[N, 3]``."""
    distances = np.stack([thing.hit(origin, ray) for thing in things])
    nearest = distances.argmin(axis=0)
    color = np.zeros_like(ray)
    for index, thing in enumerate(things):
        seen = np.flatnonzero((nearest == index) & np.isfinite(distances[index]))
        if len(seen) == 0:
            continue
        if isinstance(thing, _Sphere) and thing.light is not None:
            color[seen] = thing.light
            continue
        along = ray[seen]
        at = origin[seen] + distances[index, seen, None] * along
        albedo, normal = thing.surface(at)
        color[seen] = albedo * _light(things, at, normal)
        if bounces and isinstance(thing, _Sphere):
            facing = -_dot(along, normal)
            mirrored = along + 2 * facing[:, None] * normal
            fresnel = thing.gloss + (1 - thing.gloss) * (1 - np.clip(facing, 0, 1)) ** 5  # Schlick 1994
            reflected = _trace(things, at + np.float32(1e-3) * normal, mirrored, bounces - 1)
            reflected += _softbox(at, mirrored)
            color[seen] += fresnel[:, None].astype(np.float32) * reflected
    return color


def _light(things: list[_Thing], at: Array, normal: Array) -> Array:
    """Irradiance / pi of a surface: key light, bulb and sky."""
    blockers = [thing for thing in things if isinstance(thing, _Sphere | _Card)]
    total = np.broadcast_to(_SKY, at.shape) * (0.65 + 0.35 * normal[:, 1:2])
    for thing in blockers:
        total = total * thing.openness(at, normal)[:, None]
    for position, color, size in ((_KEY, _KEY_COLOR, _KEY_SIZE), (_BULB, _BULB_COLOR, None)):
        to = position - at
        distance = np.sqrt(_dot(to, to))
        ray = to / distance[:, None]
        cosine = np.maximum(_dot(ray, normal), 0)
        if size is None:
            strength = cosine / np.maximum(distance, _BULB_RADIUS) ** 2
            radius = np.arctan(np.float32(_BULB_RADIUS) / distance)
        else:
            strength, radius = cosine, np.full_like(distance, size)
        for thing in blockers:
            if isinstance(thing, _Sphere) and thing.light is not None:
                continue
            strength = strength * thing.lit(at, ray, distance, radius)
        total = total + strength[:, None] * color
    return total.astype(np.float32)


def _softbox(at: Array, ray: Array) -> Array:
    """Radiance of the key light as glossy things mirror it: a square window with soft edges."""
    to = _unit(_KEY - at)
    x = _dot(ray, _unit(np.cross(to, _f32([0, 1, 0]))))
    y = ray[:, 1] - to[:, 1]
    inside = _step((0.16 - np.abs(x)) / 0.02) * _step((0.16 - np.abs(y)) / 0.02) * (_dot(ray, to) > 0)
    return inside[:, None] * _f32([9.0, 9.0, 8.8])


def _through_lens(picture: Array) -> Array:
    """A little blur (0.5 pixels RMS), and light scattered around what is brighter than white."""
    height, width = picture.shape[:2]
    for axis in (0, 1):
        margin = [(1, 1) if a == axis else (0, 0) for a in range(3)]
        padded = np.pad(picture, margin, mode="edge")
        before, after = np.delete(padded, [-2, -1], axis), np.delete(padded, [0, 1], axis)
        picture = _f32(0.125 * before + 0.75 * picture + 0.125 * after)
    # Two Gaussians of 0.012 and 0.045 picture heights RMS, applied in the frequency domain.
    bright = np.maximum(picture - 1, 0)
    fy = np.fft.fftfreq(2 * height)[:, None, None]
    fx = np.fft.rfftfreq(2 * width)[:, None]
    square = -2 * (np.pi * height) ** 2 * (fx**2 + fy**2)
    spread = 0.010 * np.exp(square * 0.012**2) + 0.006 * np.exp(square * 0.045**2)
    spectrum = np.fft.rfft2(bright, s=(2 * height, 2 * width), axes=(0, 1))
    glow = np.fft.irfft2(spectrum * spread, s=(2 * height, 2 * width), axes=(0, 1))[:height, :width]
    return _f32(np.maximum(picture + glow, 0))


def _table(at: Array) -> Array:
    """Oiled walnut: long, faint grain."""
    x, z = at[:, 0], at[:, 2]
    wave = 0.35 * np.sin(5 * x + 2.1) + 0.2 * np.sin(13 * x + z * 3)
    rings = np.sin(38 * z + 5 * wave) + 0.5 * np.sin(91 * z + 9 * wave + 2 * x) + 0.35 * np.sin(233 * z + 14 * wave)
    tone = np.float32(1) + np.float32(0.10) * rings.astype(np.float32)
    return _f32(tone[:, None] * _f32([0.150, 0.088, 0.052]))


def _wall(at: Array) -> Array:
    """Smooth plaster between blue grey and warm grey."""
    mix = np.clip(0.5 + 0.38 * at[:, 0], 0, 1)[:, None]
    return ((1 - mix) * _f32([0.235, 0.285, 0.335]) + mix * _f32([0.36, 0.335, 0.315])).astype(np.float32)


def _chart(u: Array, v: Array) -> Array:
    """The colour chart: 6 x 4 patches on black."""
    patches = srgb_decode(_f32(CHART_SRGB) / 255).astype(np.float32).reshape(4, 6, 3)
    border = 0.035
    x = (u - border) / (1 - 2 * border) * 6
    y = (v - border * 1.4) / (1 - 2.8 * border) * 4
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    inside = (column >= 0) & (column < 6) & (row >= 0) & (row < 4)
    inside &= (np.abs(x - column - 0.5) < 0.435) & (np.abs(y - row - 0.5) < 0.435)
    color = patches[np.clip(row, 0, 3), np.clip(column, 0, 5)]
    return np.where(inside[:, None], color, _f32([0.022, 0.022, 0.022]))


def _book(width: float, height: float, texels: float) -> Array:
    """A cloth-bound book: plain weave, gold type. ``[h, w, 3]`` albedo."""
    w, h = round(width * texels), round(height * texels)
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    thread = np.float32(texels * 0.0036)  # about 3.4 pixels of the picture
    over = np.cos(np.pi * x / thread) * np.cos(np.pi * y / thread) > 0
    warp, weft = np.abs(np.sin(np.pi * x / thread)), np.abs(np.sin(np.pi * y / thread))
    relief = np.where(over, 0.45 + 0.75 * warp, 0.40 + 0.62 * weft)
    cloth = relief[..., None] * np.where(over[..., None], _f32([0.030, 0.105, 0.090]), _f32([0.022, 0.075, 0.078]))
    ink = Image.new("L", (w, h))
    draw = ImageDraw.Draw(ink)

    def line(text: str, size: float, top: float) -> None:
        draw.text((w / 2, top * h), text, fill=255, font=ImageFont.load_default(size * w), anchor="mt")

    line("LIGHT", 0.20, 0.13)
    line("and the mosaic", 0.085, 0.30)
    line("NOTES ON RAW PICTURES", 0.047, 0.80)
    line("volume one \u00b7 red, green, blue", 0.037, 0.86)
    inset = 0.055 * w
    draw.rectangle((inset, inset, w - inset, h - inset), outline=255, width=max(round(0.008 * w), 1))
    alpha = np.asarray(ink, np.float32)[..., None] / 255
    return _f32(cloth * (1 - alpha) + alpha * _f32([0.62, 0.44, 0.16]))


def _print(width: float, height: float, texels: float) -> Array:
    """A printed test card: zone plate, star, slanted edges, ramps, type. ``[h, w, 3]`` albedo."""
    w, h = round(width * texels), round(height * texels)
    paper = np.full((h, w, 3), 0.84, np.float32)
    black = 0.025
    unit = w / 100  # the layout is in hundredths of the card's width

    def area(left: float, top: float, wide: float, high: float) -> tuple[Array, Array, Array]:
        """View of a rectangle and its pixel centres."""
        view = paper[round(top * unit) : round((top + high) * unit), round(left * unit) : round((left + wide) * unit)]
        y, x = np.mgrid[0 : view.shape[0], 0 : view.shape[1]].astype(np.float32) + np.float32(0.5)
        return view, y, x

    # Zone plate: from nothing at the centre to half a cycle per pixel of the picture at the edge.
    view, y, x = area(6, 6, 42, 42)
    half = view.shape[0] / 2
    radius = np.hypot(y - half, x - half)
    picture_pixel = 2.2
    wave = np.cos(np.pi * 0.5 / picture_pixel * radius**2 / half)
    fade = _step((half - radius) / (0.02 * half))
    view[:] = (0.43 + 0.40 * wave * fade)[..., None]

    # Star of 36 rays.
    view, y, x = area(52, 6, 42, 42)
    half = view.shape[0] / 2
    radius = np.hypot(y - half, x - half)
    angle = np.arctan2(y - half, x - half)
    arc = np.maximum(radius, 1) * np.sin(18 * angle) / 18 * 2  # signed distance to the nearest edge of a ray, in texels
    ray = np.where(radius < half * 0.985, _step(arc / 1.0), 1)
    view[:] = (black + (0.84 - black) * ray)[..., None]

    # Slanted edges, 5 degrees: grey on grey, and the colours whose edges demosaicers find hardest.
    pairs = (
        ((0.05,) * 3, (0.70,) * 3),
        ((0.60, 0.05, 0.04), (0.05, 0.10, 0.50)),
        ((0.03, 0.30, 0.12), (0.65, 0.12, 0.35)),
    )
    for index, (first, second) in enumerate(pairs):
        view, y, x = area(6 + 30.2 * index, 52, 27.6, 15)
        side = x - view.shape[1] / 2 + (y - view.shape[0] / 2) * np.tan(np.radians(5))
        mix = _step(side / 1.0)[..., None]
        view[:] = (1 - mix) * _f32(first) + mix * _f32(second)

    # Ramps: grey, then hues.
    view, _, x = area(6, 71, 88, 6)
    view[:] = srgb_decode(x / view.shape[1])[..., None] * 0.84
    view, _, x = area(6, 78.5, 88, 6)
    phase = x[..., None] / view.shape[1] * 2 * np.pi - _f32([0, 2 * np.pi / 3, 4 * np.pi / 3])
    view[:] = srgb_decode(0.55 + 0.35 * np.cos(phase)) * 0.84

    ink = Image.new("L", (w, h))
    draw = ImageDraw.Draw(ink)
    top = 88.5
    for text in (
        "Quick zephyrs blow",
        "vexing daft Jim. 0123456789",
        "Every sample has one colour, two are guessed",
        "The quick brown fox jumps over the lazy dog & back",
        "Sphinx of black quartz, judge my vow. Pack my box with five dozen liquor jugs",
    ):
        size = 88 * unit / ImageFont.load_default(100).getlength(text) * 100  # each line fills the width
        draw.text((6 * unit, top * unit), text, fill=255, font=ImageFont.load_default(size), anchor="lt")
        top += 1.2 * size / unit
    alpha = np.asarray(ink, np.float32)[..., None] / 255
    return (paper * (1 - alpha) + alpha * black).astype(np.float32)


def _sample(texture: Array, u: Array, v: Array) -> Array:
    """Bilinear look-up, ``[N, 3]``."""
    height, width = texture.shape[:2]
    x = np.clip(u * width - np.float32(0.5), 0, width - 1.001)
    y = np.clip(v * height - np.float32(0.5), 0, height - 1.001)
    left, top = x.astype(int), y.astype(int)
    fx, fy = (x - left)[:, None].astype(np.float32), (y - top)[:, None].astype(np.float32)
    upper = texture[top, left] * (1 - fx) + texture[top, left + 1] * fx
    lower = texture[top + 1, left] * (1 - fx) + texture[top + 1, left + 1] * fx
    return _f32(upper * (1 - fy) + lower * fy)


def _step(x: Array) -> Array:
    """0 below -1, 1 above 1, smooth between."""
    t = np.clip(x * 0.5 + 0.5, 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def _dot(a: Array, b: Array) -> Array:
    product: Array = np.einsum("...i,...i->...", a, b, dtype=np.float32)
    return product


def _unit(a: Array) -> Array:
    return (a / np.sqrt(_dot(a, a))[..., None]).astype(np.float32)
