"""Camera tuning: what a calibration of one sensor says about its colours, and Raspberry Pi's files of them.

Chromaticities are pairs (r, b) = (R/G, B/G) of grey; white balance gains are their reciprocals.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rawzoo.errors import RawzooError, UsageError
from rawzoo.raw import color
from rawzoo.raw.image import Metadata, RawImage

Array = npt.NDArray[np.float64]

#: A tuning file has 100 KB.
_MAX_BYTES = 16 << 20
_LUX_UNKNOWN = 400.0
_FOLDER = "RAWZOO_AWB_TUNINGS"


@dataclass(frozen=True)
class Shading:
    """Lens shading: tables of Cr = R/G and Cb = B/G over a grid for some temperatures, and of luminance."""

    red_temperatures: Array
    red: Array  # [temperatures, rows, columns]
    blue_temperatures: Array
    blue: Array
    luminance: Array  # [rows, columns]

    def gains(self, kelvin: float) -> Array:
        """``[3, rows, columns]``: gains of R, G, B that undo the shading; the least of each is 1."""
        red, blue = (
            _between(self.red_temperatures, self.red, kelvin),
            _between(self.blue_temperatures, self.blue, kelvin),
        )
        tables = np.stack([red * self.luminance, self.luminance, blue * self.luminance])
        return np.asarray(tables / tables.min(axis=(1, 2), keepdims=True))


@dataclass(frozen=True)
class LuxReference:
    """One measured scene: mean luma Y on a 16-bit scale, exposure, and lux."""

    lux: float
    luma: float
    shutter_us: float
    gain: float
    aperture: float

    def lux_of(self, luma: float, shot: Metadata) -> float:
        """Lux of another scene; what its metadata does not say counts as equal to the reference."""
        shutter = self.shutter_us if shot.shutter_s is None else 1e6 * shot.shutter_s
        gain = self.gain if shot.iso is None else shot.iso / 100.0
        aperture = self.aperture if shot.aperture is None else shot.aperture
        # The reference takes the aperture to the first power.
        relative = (self.shutter_us / shutter) * (self.gain / gain) * (self.aperture / aperture)
        return self.lux * (luma / self.luma) * relative


@dataclass(frozen=True)
class Tuning:
    """The colours of one camera.

    Attributes:
        name: in words.
        temperatures, chromaticities: the curve: kelvin, rising, ``[N]``, and (r, b) of grey ``[N, 2]``.
        matrix_temperatures, matrices: white-balanced camera RGB to linear sRGB, ``[M]`` and ``[M, 3, 3]``.
        shading: None for none.
        lux: None when the brightness of scenes cannot be told.
        transverse: how far gains may lie from the curve on its negative and positive side, in (r, b).
        gamma: 16-bit (in, out) pairs of the tone curve ``[K, 2]``, or None.
    """

    name: str
    temperatures: Array
    chromaticities: Array
    matrix_temperatures: Array
    matrices: Array
    shading: Shading | None = None
    lux: LuxReference | None = None
    transverse: tuple[float, float] = (0.01, 0.01)
    delta_limit: float = 0.15
    gamma: Array | None = None

    def chromaticity(self, kelvin: float) -> Array:
        """(r, b) of grey: linear between the points of the curve, constant beyond its ends."""
        return np.array([np.interp(kelvin, self.temperatures, self.chromaticities[:, i]) for i in range(2)])

    def gains(self, kelvin: float) -> tuple[float, float, float]:
        """White balance gains of R, G, B at a point of the curve, green = 1."""
        red, blue = self.chromaticity(kelvin).tolist()
        return 1.0 / red, 1.0, 1.0 / blue

    def across(self, kelvin: float) -> Array | None:
        """Unit vector in (r, b) at right angles to the curve, towards green; None where the curve stands still."""
        red, blue = self.chromaticity(kelvin + 10.0) - self.chromaticity(kelvin - 10.0)
        length = math.hypot(red, blue)
        return None if length == 0.0 else np.array([blue, -red]) / length

    def matrix(self, kelvin: float) -> Array:
        """White-balanced camera RGB to linear sRGB, ``[3, 3]``."""
        return _between(self.matrix_temperatures, self.matrices, kelvin)

    def lux_of(self, luma: float, shot: Metadata) -> float:
        """Lux of the scene; 400, as libcamera takes it, where that cannot be told."""
        return _LUX_UNKNOWN if self.lux is None else self.lux.lux_of(luma, shot)

    def invert(self, chromaticity: npt.ArrayLike) -> tuple[float, float]:
        """Temperature of a chromaticity, and its distance from the curve, positive towards green.

        A ternary search, to 1 K, for the temperature at which the distance along the curve vanishes; where there is
        none, :meth:`invert_fast`.
        """
        point = np.asarray(chromaticity, dtype=float)

        def along(kelvin: float) -> float:
            across = self.across(kelvin)
            if across is None:
                return 1e6
            rest = point - self.chromaticity(kelvin)
            rest = rest - (rest @ across) * across
            return float(rest @ rest)

        low, high = float(self.temperatures[0]), float(self.temperatures[-1])
        while high - low > 1.0:
            third = (high - low) / 3.0
            if along(low + third) < along(high - third):
                high -= third
            else:
                low += third
        kelvin = (low + high) / 2.0
        if along(kelvin) > 0.01:
            kelvin = self.invert_fast(point)
        across = self.across(kelvin)
        distance = 0.0 if across is None else float((point - self.chromaticity(kelvin)) @ across)
        return kelvin, distance

    def invert_fast(self, chromaticity: npt.ArrayLike) -> float:
        """Mean of the temperatures that r alone and b alone stand for."""
        red, blue = np.asarray(chromaticity, dtype=float)
        by_red = np.interp(red, self.chromaticities[::-1, 0], self.temperatures[::-1])
        by_blue = np.interp(blue, self.chromaticities[:, 1], self.temperatures)
        return float((by_red + by_blue) / 2.0)

    def candidates(self, kelvin: float) -> Array:
        """The curve's point and points across it, ``[3..12, 2]``, from the negative to the positive side."""
        negative, positive = self.transverse
        count = min(max(math.floor((negative + positive) * 100.0 + 0.5) + 1, 3), 12)
        across = self.across(kelvin)
        if across is None:
            return self.chromaticity(kelvin)[None]
        return np.asarray(self.chromaticity(kelvin) + np.linspace(-negative, positive, count)[:, None] * across)


def _between(temperatures: Array, values: Array, kelvin: float) -> Array:
    """Linear interpolation of ``values[i]``, constant beyond the ends."""
    kelvin = min(max(kelvin, temperatures[0]), temperatures[-1])
    i = min(max(int(np.searchsorted(temperatures, kelvin, side="right")) - 1, 0), max(len(temperatures) - 2, 0))
    if len(temperatures) == 1:
        return np.asarray(values[0])
    weight = (kelvin - temperatures[i]) / (temperatures[i + 1] - temperatures[i])
    return np.asarray(values[i] * (1.0 - weight) + values[i + 1] * weight)


def from_file(path: str | Path) -> Tuning:
    """Read a camera tuning file of libcamera's Raspberry Pi pipelines (version 2.0, ``pisp`` or ``bcm2835``).

    Raises:
        RawzooError: the file cannot be read or lacks something; the message says what.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise RawzooError(f"tuning file {path} cannot be read: {error.strerror}.") from error
    if len(data) > _MAX_BYTES:
        raise RawzooError(f"tuning file {path} is larger than any tuning file; it must be something else.")
    return parse(data, str(path), path.stem)


def parse(data: bytes | str, source: str, name: str) -> Tuning:
    """:func:`from_file` for the text of a file; ``source`` is for messages."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RawzooError(f"tuning file {source} is not valid JSON: {error}.") from error
    try:
        return _tuning(content, name)
    except _WrongError as error:
        raise RawzooError(f"tuning file {source} cannot be used: {error}.") from None


class _WrongError(Exception):
    """What is wrong with a tuning file."""


def _tuning(content: Any, name: str) -> Tuning:
    if not isinstance(content, dict) or not isinstance(content.get("algorithms"), list):
        raise _WrongError("it has no list of algorithms (version 2.0 is needed)")
    if content.get("target") not in ("pisp", "bcm2835"):
        raise _WrongError(f"its target is {content.get('target')!r}, not pisp or bcm2835")
    awb, ccm, alsc, lux = (_algorithm(content["algorithms"], part) for part in ("awb", "ccm", "alsc", "lux"))
    curve = _numbers(awb, "ct_curve", (-1, 3))
    sensitivity = [_number(awb, "sensitivity_r"), _number(awb, "sensitivity_b")]
    if len(curve) < 2 or np.any(np.diff(curve[:, 0]) <= 0) or np.any(curve <= 0):
        raise _WrongError("ct_curve must be positive and its temperatures must rise")
    matrices = _list(ccm, "ccms")
    gamma = _algorithm(content["algorithms"], "contrast", required=False)
    return Tuning(
        name=name,
        temperatures=curve[:, 0],
        chromaticities=curve[:, 1:] * sensitivity,
        matrix_temperatures=_rising([_number(m, "ct") for m in matrices], "ccms"),
        matrices=np.stack([_numbers(m, "ccm", (3, 3)) for m in matrices]),
        shading=_shading(alsc),
        lux=LuxReference(
            lux=_number(lux, "reference_lux"),
            luma=_number(lux, "reference_Y"),
            shutter_us=_number(lux, "reference_shutter_speed"),
            gain=_number(lux, "reference_gain"),
            aperture=_number(lux, "reference_aperture"),
        ),
        transverse=(_number(awb, "transverse_neg", 0.01), _number(awb, "transverse_pos", 0.01)),
        delta_limit=_number(awb, "delta_limit", 0.15),
        gamma=_numbers(gamma, "gamma_curve", (-1, 2)) if gamma and "gamma_curve" in gamma else None,
    )


def _shading(alsc: dict[str, Any]) -> Shading:
    luminance = _numbers(alsc, "luminance_lut", None)
    grids = {1024: (32, 32), 192: (12, 16)}
    if luminance.size not in grids:
        raise _WrongError(f"luminance_lut has {luminance.size} entries, neither 32x32 nor 12x16")
    grid = grids[luminance.size]
    strength = _number(alsc, "luminance_strength", 1.0)
    tables: dict[str, tuple[Array, Array]] = {}
    for key in ("calibrations_Cr", "calibrations_Cb"):
        entries = _list(alsc, key)
        tables[key] = (
            _rising([_number(entry, "ct") for entry in entries], key),
            np.stack([_numbers(entry, "table", grid) for entry in entries]),
        )
    luminance = (luminance.reshape(grid) - 1.0) * strength + 1.0
    if luminance.min() <= 0 or any(values.min() <= 0 for _, values in tables.values()):
        raise _WrongError("its shading tables must be positive")
    return Shading(*tables["calibrations_Cr"], *tables["calibrations_Cb"], luminance)


def _algorithm(algorithms: list[Any], part: str, *, required: bool = True) -> dict[str, Any]:
    """The first algorithm whose name ends with ``.part``: rpi.awb, disable.rpi.awb and rpi.nn.awb are all ``awb``."""
    for entry in algorithms:
        for key, value in entry.items() if isinstance(entry, dict) else ():
            if key.endswith(f".{part}") and isinstance(value, dict):
                return value
    if required:
        raise _WrongError(f"it has no algorithm {part!r}")
    return {}


def _number(values: Any, key: str, default: float | None = None) -> float:
    found = values.get(key, default) if isinstance(values, dict) else None
    if not isinstance(found, (int, float)) or isinstance(found, bool) or not 0 < found < 1e12:
        raise _WrongError(f"{key} must be a positive number, not {found!r}")
    return float(found)


def _numbers(values: Any, key: str, shape: tuple[int, ...] | None) -> Array:
    found = values.get(key) if isinstance(values, dict) else None
    try:
        array = np.array(found, dtype=float)
        array = array if shape is None else array.reshape(shape)
    except (TypeError, ValueError, OverflowError):
        array = np.array(np.nan)
    if array.ndim == 0 or array.size == 0 or not np.all(np.isfinite(array)):
        count = "" if shape is None else f" that fill {' x '.join('N' if n < 0 else str(n) for n in shape)}"
        raise _WrongError(f"{key} must be a list of numbers{count}")
    return array


def _list(values: dict[str, Any], key: str) -> Sequence[Any]:
    found = values.get(key)
    if not isinstance(found, list) or not found:
        raise _WrongError(f"{key} must be a list with at least one entry")
    return found


def _rising(temperatures: Sequence[float], key: str) -> Array:
    if np.any(np.diff(temperatures) <= 0):
        raise _WrongError(f"the temperatures of {key} must rise")
    return np.array(temperatures, dtype=float)


def _known(target: str) -> dict[str, Path]:
    """Files of the folder of tunings, by the name of the sensor."""
    if not (folder := os.environ.get(_FOLDER)):
        return {}
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise UsageError(f"{_FOLDER} names {folder}, which is no folder; unset it, or name a folder of tunings.")
    return {file.stem: file for file in sorted(path.joinpath(target).glob("*.json"))}


def _where(target: str, known: Mapping[str, Path]) -> str:
    """What a user without the right tuning can do, as the end of a sentence."""
    sensors = f"{_FOLDER} has {', '.join(known)}" if known else f"set {_FOLDER} to a folder with {target}/SENSOR.json"
    return f"{sensors}; or name a tuning file, NAME.json"


def find(raw: RawImage, target: str, choice: str | None = None) -> Tuning:
    """The tuning for a raw image.

    Args:
        target: ``pisp`` or ``vc4``: whose tuning files.
        choice: a tuning file, ``.json``, or the name of a sensor (``imx477``) whose file is in the folder of tunings;
            None to go by the camera model in the file, and by the file's colour matrices where there is no tuning for
            it. The environment variable ``RAWZOO_AWB_TUNINGS`` names the folder, which holds ``TARGET/SENSOR.json`` as
            raspberrypi/awb_nn's does.

    Raises:
        UsageError: no tuning has that name, or nothing is known about the camera.
        RawzooError: the tuning file cannot be used.
    """
    if choice is not None and choice.endswith(".json"):
        return from_file(choice)
    known = _known(target)
    if choice is not None:
        if choice not in known:
            raise UsageError(f"there is no {target} tuning for {choice!r}; {_where(target, known)}.")
        return from_file(known[choice])
    words = re.findall(r"[a-z0-9_]+", (raw.metadata.model or "").lower())
    for sensor, path in known.items():
        if sensor in words:
            return from_file(path)
    if not raw.color_matrices:
        camera = f"camera {raw.metadata.model}" if raw.metadata.model else "a camera the file does not name"
        raise UsageError(
            f"{raw.source or 'this raw image'} is from {camera}, for which there is no {target} tuning, and has no "
            f"colour matrix to go by; {_where(target, known)}."
        )
    return from_matrices(raw)


def from_matrices(raw: RawImage) -> Tuning:
    """A tuning from the colour matrices of a raw file, for cameras without one.

    The curve is the camera's response to Planckian and daylight illuminants
    (:func:`rawzoo.raw.color.temperature_to_xy`), and there is no shading. Lux comes from the exposure: the sensor
    saturates at 78 / ISO lux seconds (ISO 12232), so that a luma Y of 0..1 means a luminance of
    ``L = Y * 78 / (ISO * 0.65) * N^2 / t`` cd/m^2, and 22.4 lux per cd/m^2 is what the references of Raspberry Pi's
    tunings for imx708 (f/1.8) and imx219 (f/2) amount to.
    """
    temperatures = 1e6 / np.arange(400.0, 120.0, -10.0)
    whites = [color.xy_to_xyz(color.temperature_to_xy(t)) for t in temperatures]
    neutrals = np.array(
        [color.matrix_at(raw.color_matrices, t) @ white for t, white in zip(temperatures, whites, strict=True)]
    )
    if np.any(neutrals <= 0):
        raise UsageError(f"{raw.source or 'this raw image'}: its colour matrix gives no usable colour temperatures.")
    shot = raw.metadata
    reference = None
    if shot.shutter_s and shot.iso and shot.aperture:
        reference = LuxReference(22.4 * 78 / 65 * shot.aperture**2, 65535.0, 1e6, 1.0, shot.aperture)
    return Tuning(
        name="the file's colour matrices (no tuning is known for this camera)",
        temperatures=temperatures,
        chromaticities=neutrals[:, [0, 2]] / neutrals[:, 1:2],
        # They change slowly, and are what takes time here.
        matrix_temperatures=temperatures[::5],
        matrices=np.stack([color.camera_to_linear(raw, neutral / neutral[1], "srgb") for neutral in neutrals[::5]]),
        lux=reference,
        transverse=(0.03, 0.03),
    )
