"""What awb_nn's converter makes of a raw picture whose white balance is known: an image to train on, and its labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rawzoo.errors import UsageError
from rawzoo.raw import cfa as cfa_patterns
from rawzoo.raw.image import RawImage
from rawzoo_awb import resize, statistics
from rawzoo_awb.tuning import Tuning

#: Rows and columns of the grids.
GRIDS = {"pisp": (32, 32), "vc4": (12, 16)}

# The converter raises lux by this.
_LUX_FACTOR = 1.05


@dataclass(frozen=True)
class Example:
    """An image and its labels.

    Attributes:
        image: uint16 ``[rows, columns, 3]``, rendered for 5000 K.
        temperature: kelvin of the labelled gains.
        lux: of the scene.
        camera_temperature: kelvin of the white balance in the file; None where it has none.
    """

    image: statistics.UInt16
    temperature: float
    lux: float
    camera_temperature: float | None

    def name(self, *fields: str) -> str:
        """File name: the given fields (user, sensor, id), then temperature, lux, camera temperature."""
        labels = (self.temperature, self.lux, self.camera_temperature or 0.0)
        return ",".join([*fields, *(str(round(value)) for value in labels)]) + ".png"


def convert(raw: RawImage, tuning: Tuning, target: str, gains: Sequence[float]) -> Example:
    """Make an example of a Bayer mosaic.

    Args:
        target: ``pisp`` or ``vc4``.
        gains: of red and blue, green = 1: the true white balance.
    """
    red, blue = gains
    temperature, _ = tuning.invert((1.0 / red, 1.0 / blue))
    lit = statistics.stack(raw)
    if target == "vc4":
        lit = statistics.stack(_unshaded(raw, tuning, temperature), black=0.0)
    lux = _LUX_FACTOR * tuning.lux_of(statistics.luma(lit, (red, 1.0, blue)), raw.metadata)
    camera = None
    if raw.as_shot_neutral is not None:
        r, g, b = raw.as_shot_neutral
        camera, _ = tuning.invert((r / g, b / g))
    grid = resize.area(statistics.stack(raw), *GRIDS[target])
    image = statistics.render(grid, tuning, statistics.RENDERED_KELVIN)
    return Example(image, temperature, lux, camera)


def colour_test(raw: RawImage, tuning: Tuning, target: str, gains: Sequence[float]) -> statistics.UInt16:
    """The grid as the labelled gains render it, with the tuning's tone curve: for people to look at."""
    red, blue = gains
    temperature, _ = tuning.invert((1.0 / red, 1.0 / blue))
    grid = resize.area(statistics.stack(raw), *GRIDS[target])
    return apply_gamma(statistics.render(grid, tuning, temperature, (red, 1.0, blue)), tuning)


def apply_gamma(image: statistics.UInt16, tuning: Tuning) -> statistics.UInt16:
    """The tuning's tone curve, truncated to 16 bit."""
    if tuning.gamma is None:
        raise UsageError(f"tuning {tuning.name} has no gamma curve.")
    return np.asarray(np.interp(image, tuning.gamma[:, 0], tuning.gamma[:, 1], right=65535.0).astype(np.uint16))


def rectangle_gains(raw: RawImage, left: int, top: int, right: int, bottom: int) -> tuple[float, float]:
    """Gains of red and blue that make the median of a rectangle of a Bayer mosaic grey; coordinates become even."""
    left, top, right, bottom = (n // 2 * 2 for n in (left, top, right, bottom))
    means = _plane_medians(raw, slice(top, bottom), slice(left, right))
    red, green, blue = (means - raw.black_level[0]) / raw.white_level[0]
    if min(red, green, blue) <= 0:
        raise UsageError(f"{raw.source or 'this raw image'}: the rectangle is black in one colour or empty.")
    return float(green / red), float(green / blue)


def _plane_medians(raw: RawImage, rows: slice, columns: slice) -> npt.NDArray[np.float64]:
    assert raw.cfa is not None
    part = raw.mosaic[rows, columns]
    tile = cfa_patterns.color_tile(raw.cfa)
    medians: list[list[float]] = [[], [], []]
    for (y, x), color in np.ndenumerate(tile):
        cells = part[y::2, x::2]
        medians[color].append(float(np.median(cells)) if cells.size else 0.0)
    return np.array([np.mean(values) for values in medians])


def _unshaded(raw: RawImage, tuning: Tuning, kelvin: float) -> RawImage:
    """The mosaic without black and without lens shading."""
    if raw.cfa is None or cfa_patterns.period(raw.cfa) != 2:
        raise UsageError(f"{raw.source or 'this raw image'}: examples are made of Bayer mosaics.")
    white = raw.white_level[0]
    mosaic = np.clip(raw.mosaic.astype(np.float64) - raw.black_level[0], 0.0, white)
    if tuning.shading is not None:
        tables = tuning.shading.gains(kelvin)
        for (y, x), color in np.ndenumerate(cfa_patterns.color_tile(raw.cfa)):
            plane = mosaic[y::2, x::2]
            plane *= resize.linear(tables[color], *plane.shape)
    data = raw.data.copy()
    data[raw.active_area.slices] = np.clip(mosaic, 0.0, white).astype(np.uint16)
    return replace(raw, data=data)
