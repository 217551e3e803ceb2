"""RawImage: everything a raw file says about one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

import numpy as np

from rawzoo.errors import UsageError
from rawzoo.raw import cfa as cfa_patterns

Kind = Literal["bayer", "xtrans", "mono", "linear"]


class Box(NamedTuple):
    """A rectangle of pixels; bottom and right are exclusive."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)


class ColorMatrix(NamedTuple):
    """A DNG ColorMatrix: ``xyz_to_camera`` (3x3, row-major) measured under an EXIF LightSource (21 = D65, 17 = A)."""

    illuminant: int
    xyz_to_camera: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Metadata:
    """What the camera wrote about the shot. None: the file does not say."""

    make: str | None = None
    model: str | None = None
    lens: str | None = None
    iso: float | None = None
    shutter_s: float | None = None
    aperture: float | None = None
    focal_length_mm: float | None = None
    time: datetime | None = None


@dataclass(frozen=True, eq=False)
class RawImage:
    """One raw picture at full precision.

    Attributes:
        data: the whole sensor array as stored, masked borders included. ``[H, W]`` uint16 or float32 for ``bayer``,
            ``xtrans`` and ``mono``; ``[H, W, 3]`` for ``linear`` (already demosaiced, camera RGB).
        kind: what ``data`` holds.
        cfa: pattern at the top-left of the active area (see :mod:`rawzoo.raw.cfa`); None for mono and linear.
        black_level: per channel, in units of ``data``. Channels: Bayer R, Gr, Gb, B; X-Trans and linear R, G, B;
            mono one.
        white_level: per channel, in units of ``data``: the value at which the sensor saturates.
        active_area: the light-sensitive part of ``data``.
        default_crop: what the maker shows, relative to the active area.
        orientation: EXIF orientation, 1 to 8; 1 is upright.
        as_shot_neutral: camera RGB of the scene's white, largest element 1; None when the file does not say.
        daylight_neutral: camera RGB of D65 white, largest element 1; None when nothing is known.
        color_matrices: none, one or two XYZ-to-camera matrices; none means camera colour is unknown.
        noise_profile: per channel (scale, offset) of the DNG noise model, for values in 0..1 between black and white:
            variance = scale * value + offset. One pair applies to every channel. None when the file does not say.
        noise_reduction: share of the noise that was taken away already, 0 to 1 (DNG NoiseReductionApplied). None when
            the file does not say.
        baseline_exposure: EV to add for a picture of normal brightness (DNG BaselineExposure).
        metadata: make, model, exposure.
        exif: EXIF of the source as one self-contained TIFF block (what follows ``Exif\\0\\0`` in a JPEG), or empty.
        warnings: what the file got wrong and what was assumed instead, one sentence each.
        source: file name for messages; empty for arrays.
    """

    data: np.ndarray
    kind: Kind
    cfa: str | None
    black_level: tuple[float, ...]
    white_level: tuple[float, ...]
    active_area: Box
    default_crop: Box
    orientation: int = 1
    as_shot_neutral: tuple[float, float, float] | None = None
    daylight_neutral: tuple[float, float, float] | None = None
    color_matrices: tuple[ColorMatrix, ...] = ()
    noise_profile: tuple[tuple[float, float], ...] | None = None
    noise_reduction: float | None = None
    baseline_exposure: float = 0.0
    metadata: Metadata = field(default_factory=Metadata)
    exif: bytes = b""
    warnings: tuple[str, ...] = ()
    source: str = ""

    @property
    def mosaic(self) -> np.ndarray:
        """The active area of ``data``, a view; ``[H, W]`` or, for ``linear``, ``[H, W, 3]``."""
        return self.data[self.active_area.slices]

    @property
    def height(self) -> int:
        """Rows of the active area."""
        return self.active_area.height

    @property
    def width(self) -> int:
        """Columns of the active area."""
        return self.active_area.width

    @classmethod
    def from_array(
        cls,
        mosaic: np.ndarray,
        *,
        cfa: str | None = None,
        black_level: float | Sequence[float] = 0.0,
        white_level: float | Sequence[float],
        as_shot_neutral: Sequence[float] | None = None,
        color_matrices: Sequence[ColorMatrix] = (),
        noise_profile: Sequence[tuple[float, float]] | None = None,
        orientation: int = 1,
        metadata: Metadata | None = None,
        source: str = "",
    ) -> RawImage:
        """Raw data that did not come from a raw file.

        Args:
            mosaic: uint8, uint16 or floating ``[H, W]`` (mosaic or monochrome) or ``[H, W, 3]`` (linear camera RGB).
            cfa: pattern of a mosaic; None means monochrome for two axes and linear for three.
            black_level, white_level: one value, or one per channel (Bayer R, Gr, Gb, B; X-Trans and linear R, G, B),
                in units of ``mosaic``.
            as_shot_neutral: camera RGB of white, any scale.

        Raises:
            UsageError: a shape, dtype, pattern or level that does not make sense.
        """
        array = np.asarray(mosaic)
        if array.dtype == np.uint8:
            array = array.astype(np.uint16)
        elif array.dtype.kind == "f":
            array = array.astype(np.float32, copy=False)
        elif array.dtype != np.uint16:
            raise UsageError(f"raw data must be uint8, uint16 or floating point, not {array.dtype}.")
        if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3) or 0 in array.shape:
            raise UsageError(f"raw data must have shape [H, W] or [H, W, 3], not {list(array.shape)}.")
        kind: Kind
        if array.ndim == 3:
            if cfa is not None:
                raise UsageError("an array of shape [H, W, 3] is already demosaiced and takes no CFA pattern.")
            kind, count = "linear", 3
        elif cfa is None:
            kind, count = "mono", 1
        else:
            kind = "bayer" if cfa_patterns.period(cfa) == 2 else "xtrans"
            count = len(cfa_patterns.channels(cfa))
        black = _per_channel("black_level", black_level, count)
        white = _per_channel("white_level", white_level, count)
        for low, high in zip(black, white, strict=True):
            if not low < high:
                raise UsageError(f"white level {high:g} must be above black level {low:g}.")
        if orientation not in range(1, 9):
            raise UsageError(f"orientation must be 1 to 8 (EXIF), not {orientation!r}.")
        neutral = None
        if as_shot_neutral is not None:
            values = np.asarray(as_shot_neutral, dtype=float)
            if values.shape != (3,) or not np.all(np.isfinite(values)) or np.any(values <= 0):
                raise UsageError(f"as_shot_neutral must be three positive numbers, not {as_shot_neutral!r}.")
            r, g, b = (values / values.max()).tolist()
            neutral = (r, g, b)
        height, width = array.shape[:2]
        whole = Box(0, 0, height, width)
        return cls(
            data=array,
            kind=kind,
            cfa=cfa,
            black_level=black,
            white_level=white,
            active_area=whole,
            default_crop=whole,
            orientation=orientation,
            as_shot_neutral=neutral,
            color_matrices=tuple(color_matrices),
            noise_profile=None if noise_profile is None else tuple((float(s), float(o)) for s, o in noise_profile),
            metadata=metadata or Metadata(),
            source=source,
        )


def _per_channel(name: str, value: float | Sequence[float], count: int) -> tuple[float, ...]:
    values = np.atleast_1d(np.asarray(value, dtype=float))
    if values.size == 1:
        values = np.repeat(values, count)
    if values.shape != (count,) or not np.all(np.isfinite(values)):
        raise UsageError(f"{name} must be one finite number or {count} of them, not {value!r}.")
    return tuple(values.tolist())
