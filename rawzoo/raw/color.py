"""Colour: white balance, camera RGB to output spaces, transfer functions.

Matrices are float64 ``[3, 3]`` and act on column vectors. Camera RGB is white-balanced unless a name says otherwise.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rawzoo.errors import UsageError
from rawzoo.raw.image import ColorMatrix, RawImage

Matrix = npt.NDArray[np.float64]

#: CIE xy of the primaries (red, green, blue) of the output spaces; all have the white D65 (IEC 61966-2-1,
#: SMPTE EG 432-1, ITU-R BT.2020).
PRIMARIES = {
    "srgb": ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    "display-p3": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    "rec2020-linear": ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
}

D65_XY = (0.3127, 0.3290)
D50_XY = (0.3457, 0.3585)

#: Correlated colour temperature in kelvin of the EXIF LightSource codes that DNG allows as calibration illuminants.
ILLUMINANT_KELVIN = {
    1: 5500.0, 2: 4200.0, 3: 2850.0, 4: 5500.0, 9: 5500.0, 10: 6500.0, 11: 7500.0, 12: 6430.0, 13: 5000.0,
    14: 4150.0, 15: 3450.0, 16: 2940.0, 17: 2856.0, 18: 4874.0, 19: 6774.0, 20: 5503.0, 21: 6504.0, 22: 7504.0,
    23: 5003.0, 24: 3200.0,
}  # fmt: skip

_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def xy_to_xyz(xy: tuple[float, float]) -> Matrix:
    """XYZ of a chromaticity, Y = 1."""
    x, y = xy
    return np.array([x / y, 1.0, (1.0 - x - y) / y])


def rgb_to_xyz(space: str) -> Matrix:
    """Linear RGB of an output space to XYZ under D65."""
    columns = np.stack([xy_to_xyz(p) for p in PRIMARIES[space]], axis=1)
    return columns * np.linalg.solve(columns, xy_to_xyz(D65_XY))


def adaptation(source_xy: tuple[float, float], target_xy: tuple[float, float]) -> Matrix:
    """Bradford chromatic adaptation of XYZ from one white to another (Lam 1985; ICC v4 annex E)."""
    source, target = _BRADFORD @ xy_to_xyz(source_xy), _BRADFORD @ xy_to_xyz(target_xy)
    return np.asarray(np.linalg.inv(_BRADFORD) @ np.diag(target / source) @ _BRADFORD)


def temperature_to_xy(kelvin: float, tint: float = 0.0) -> tuple[float, float]:
    """Chromaticity of a colour temperature.

    The Planckian locus below 4000 K and CIE daylight above, blended between 4000 and 5000 K so that a slider moves
    smoothly; ``tint`` moves across the locus in CIE 1960 uv by tint/3000, positive towards green as the scene's
    light, so that the picture turns magenta (the DNG SDK's unit).

    Raises:
        UsageError: the temperature is outside 1667..25000 K, the range of the published approximations
            (Kim et al. 2002 for the Planckian locus, CIE 15 for daylight).
    """
    if not 1667.0 <= kelvin <= 25000.0:
        raise UsageError(f"colour temperature {kelvin:g} K is outside 1667 to 25000 K.")
    t = 1000.0 / kelvin
    daylight = np.array([0.0, 0.0])
    if kelvin > 4000.0:
        a, b, c, d = (-4.6070, 2.9678, 0.09911, 0.244063) if kelvin <= 7000.0 else (-2.0064, 1.9018, 0.24748, 0.237040)
        x = a * t**3 + b * t**2 + c * t + d
        daylight = np.array([x, -3.0 * x * x + 2.870 * x - 0.275])
    planckian = np.array(_planckian_xy(kelvin))
    mix = float(np.clip((kelvin - 4000.0) / 1000.0, 0.0, 1.0))
    xy = mix * daylight + (1.0 - mix) * planckian
    if tint:
        u, v = _xy_to_uv(xy)
        # The normal to the locus, from two neighbouring temperatures.
        u1, v1 = _xy_to_uv(np.array(_planckian_xy(max(kelvin * 0.99, 1667.0))))
        u2, v2 = _xy_to_uv(np.array(_planckian_xy(min(kelvin * 1.01, 25000.0))))
        normal = np.array([v1 - v2, u2 - u1])
        normal *= np.sign(normal[1]) / np.linalg.norm(normal)
        u, v = np.array([u, v]) + normal * tint / 3000.0
        xy = np.array([1.5 * u, v]) / (u - 4.0 * v + 2.0)
    return float(xy[0]), float(xy[1])


def _planckian_xy(kelvin: float) -> tuple[float, float]:
    t = 1000.0 / kelvin
    if kelvin <= 4000.0:
        x = -0.2661239 * t**3 - 0.2343589 * t**2 + 0.8776956 * t + 0.179910
    else:
        x = -3.0258469 * t**3 + 2.1070379 * t**2 + 0.2226347 * t + 0.240390
    if kelvin <= 2222.0:
        y = -1.1063814 * x**3 - 1.34811020 * x**2 + 2.18555832 * x - 0.20219683
    elif kelvin <= 4000.0:
        y = -0.9549476 * x**3 - 1.37418593 * x**2 + 2.09137015 * x - 0.16748867
    else:
        y = 3.0817580 * x**3 - 5.87338670 * x**2 + 3.75112997 * x - 0.37001483
    return x, y


def _xy_to_uv(xy: npt.NDArray[np.float64]) -> tuple[float, float]:
    x, y = xy
    d = -2.0 * x + 12.0 * y + 3.0
    return 4.0 * x / d, 6.0 * y / d


def xy_to_temperature(xy: tuple[float, float]) -> float:
    """Correlated colour temperature in kelvin (McCamy 1992), clamped to 2000..15000, where the formula is good."""
    n = (xy[0] - 0.3320) / (0.1858 - xy[1])
    return float(np.clip(449.0 * n**3 + 3525.0 * n**2 + 6823.3 * n + 5520.33, 2000.0, 15000.0))


def matrix_at(matrices: tuple[ColorMatrix, ...], kelvin: float) -> Matrix:
    """XYZ-to-camera matrix for a temperature: the DNG rule, linear in 1/T between the two calibrations."""
    if len(matrices) == 1:
        return np.array(matrices[0].xyz_to_camera)
    first, second = sorted(matrices[:2], key=lambda m: ILLUMINANT_KELVIN.get(m.illuminant, 6504.0))
    low, high = (ILLUMINANT_KELVIN.get(m.illuminant, 6504.0) for m in (first, second))
    weight = 1.0 if low == high else float(np.clip((1 / kelvin - 1 / high) / (1 / low - 1 / high), 0.0, 1.0))
    return weight * np.array(first.xyz_to_camera) + (1.0 - weight) * np.array(second.xyz_to_camera)


def neutral_to_xy(matrices: tuple[ColorMatrix, ...], neutral: npt.ArrayLike) -> tuple[float, float]:
    """Chromaticity of the light that gives this camera neutral (DNG specification, "camera neutral to xy")."""
    xy = D50_XY
    for _ in range(30):
        xyz = np.linalg.solve(matrix_at(matrices, xy_to_temperature(xy)), np.asarray(neutral, dtype=float))
        total = xyz.sum()
        if not np.isfinite(total) or total <= 0:
            return D65_XY
        new = (float(xyz[0] / total), float(xyz[1] / total))
        if abs(new[0] - xy[0]) + abs(new[1] - xy[1]) < 1e-7:
            break
        xy = new
    return xy


def camera_to_linear(raw: RawImage, neutral: npt.ArrayLike, space: str) -> Matrix:
    """White-balanced camera RGB to linear RGB of an output space; (1, 1, 1) stays (1, 1, 1).

    The matrix is taken at the scene's colour temperature, seen under its own calibration white, and its rows are
    normalised so that the balanced white is the white of the output. With one D65 matrix this is what dcraw and
    LibRaw do. A camera of unknown colour is taken to see sRGB.
    """
    to_space = np.linalg.solve(rgb_to_xyz(space), rgb_to_xyz("srgb"))
    if not raw.color_matrices:
        return np.asarray(to_space)
    if len(raw.color_matrices) == 1:
        kelvin = ILLUMINANT_KELVIN.get(raw.color_matrices[0].illuminant, 6504.0)
        white = D65_XY if abs(kelvin - 6504.0) < 50.0 else temperature_to_xy(kelvin)
    else:
        white = neutral_to_xy(raw.color_matrices, neutral)
        kelvin = xy_to_temperature(white)
    srgb_to_camera = matrix_at(raw.color_matrices, kelvin) @ adaptation(D65_XY, white) @ rgb_to_xyz("srgb")
    srgb_to_camera /= srgb_to_camera.sum(axis=1, keepdims=True)
    if not np.all(np.isfinite(srgb_to_camera)) or np.linalg.cond(srgb_to_camera) > 1e4:
        return np.asarray(to_space)
    return np.asarray(to_space @ np.linalg.inv(srgb_to_camera))


def white_balance_neutral(raw: RawImage, choice: str) -> tuple[npt.NDArray[np.float64], str]:
    """Camera RGB of the light that a white balance choice stands for, green = 1, and what was used, in words.

    Args:
        choice: ``as-shot`` (grey-world where the file says nothing), ``daylight``, ``grey-world``,
            a temperature in kelvin with an optional tint (``5200`` or ``5200,+8``), or three gains ``R,G,B``.

    Raises:
        UsageError: a choice that is none of these, or one that the file cannot serve (a temperature needs a colour
            matrix).
    """
    if raw.kind == "mono":
        return np.ones(3), "none (monochrome)"
    if choice == "as-shot":
        if raw.as_shot_neutral is not None:
            return _green_one(raw.as_shot_neutral), "as shot"
        return grey_world_neutral(raw), "grey-world (the file has no white balance)"
    if choice == "daylight":
        if raw.daylight_neutral is not None:
            return _green_one(raw.daylight_neutral), "daylight"
        if raw.color_matrices:
            return _green_one(matrix_at(raw.color_matrices, 6504.0) @ xy_to_xyz(D65_XY)), "daylight"
        raise UsageError(f"{raw.source or 'this raw image'}: daylight is unknown for this camera; use grey-world.")
    if choice == "grey-world":
        return grey_world_neutral(raw), "grey-world"
    try:
        numbers = [float(part) for part in choice.rstrip("K").split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 3 and all(np.isfinite(n) and n > 0 for n in numbers):
        return _green_one(1.0 / np.array(numbers)), "given gains"
    if len(numbers) in (1, 2):
        if not raw.color_matrices:
            raise UsageError(
                f"{raw.source or 'this raw image'}: a colour temperature needs a colour matrix, which this file lacks; "
                "use grey-world or three gains."
            )
        xy = temperature_to_xy(*numbers)
        neutral = matrix_at(raw.color_matrices, xy_to_temperature(xy)) @ xy_to_xyz(xy)
        if np.any(neutral <= 0):
            raise UsageError(f"this camera's matrix gives no usable neutral for white balance {choice!r}.")
        return _green_one(neutral), f"{numbers[0]:g} K"
    raise UsageError(
        f"white balance {choice!r} is none of as-shot, daylight, grey-world, a temperature such as 5200 or 5200,+8, "
        "or three gains such as 2.1,1,1.6."
    )


def _green_one(neutral: npt.ArrayLike) -> npt.NDArray[np.float64]:
    values = np.asarray(neutral, dtype=float)
    return np.asarray(values / values[1])


def grey_world_neutral(raw: RawImage) -> npt.NDArray[np.float64]:
    """Mean camera RGB over the cells in which no channel is near saturation, green = 1 (Buchsbaum 1980)."""
    from rawzoo.raw.cfa import color_tile, period

    mosaic = raw.mosaic
    if raw.kind == "linear":
        black, white = np.array(raw.black_level), np.array(raw.white_level)
        sample = mosaic[:: max(1, raw.height // 1024), :: max(1, raw.width // 1024)].reshape(-1, 3)
        values = (sample - black) / (white - black)
    else:
        assert raw.cfa is not None
        n, tile = period(raw.cfa), color_tile(raw.cfa)
        h, w = raw.height // n, raw.width // n
        step = max(1, max(h, w) // 1024)
        # [cells, n * n]: one row a CFA tile
        cells = mosaic[: h * n, : w * n].reshape(h, n, w, n)[::step, :, ::step].swapaxes(1, 2).reshape(-1, n * n)
        black, white = np.array(np.mean(raw.black_level)), np.array(np.min(raw.white_level))
        values = np.stack(
            [(cells[:, tile.ravel() == c].mean(axis=1) - black) / (white - black) for c in range(3)], axis=1
        )
    good = values[(values.max(axis=1) < 0.9) & (values.min(axis=1) > 0.0)] if len(values) else values
    if len(good) < 16 or np.any(good.mean(axis=0) <= 0):
        return np.ones(3)
    return _green_one(good.mean(axis=0))


def srgb_encode(linear: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """sRGB transfer function (IEC 61966-2-1), linear 0..1 to encoded 0..1; Display P3 shares it."""
    x = np.clip(np.asarray(linear, dtype=float), 0.0, 1.0)
    return np.asarray(np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 0.0031308) ** (1 / 2.4) - 0.055))


def srgb_decode(encoded: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Inverse of :func:`srgb_encode`."""
    y = np.clip(np.asarray(encoded, dtype=float), 0.0, 1.0)
    return np.asarray(np.where(y <= 0.04045, y / 12.92, ((np.maximum(y, 0.04045) + 0.055) / 1.055) ** 2.4))
